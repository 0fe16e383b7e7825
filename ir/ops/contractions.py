"""Canonical operations that sum products: convolutions and fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from r2b.ir.ops.base import (
    NO_PADDING,
    FloatArray,
    Int8Array,
    Op,
    Padding,
    Pair,
    Types,
    check_binary,
    check_per_channel,
    conv_type,
    linear_type,
    require,
)
from r2b.ir.types import DType, TensorType


@dataclass(frozen=True, eq=False)
class Conv2d(Op):
    """Real convolution: ``y[n,o,p] = bias[o] + sum_{i,t} weight[o,i,t] * x[n,i,p*stride+t-pad]``.

    Parameters
    ----------
    weight : float64, Co x Ci/groups x kh x kw
    bias : float64 of Co values, or None
    stride, dilation : pair of int
    padding : (top, left, bottom, right)
        Taps outside the image contribute 0.
    groups : int
    """

    weight: FloatArray
    bias: FloatArray | None = None
    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    _real_arrays = ("weight", "bias")

    def _infer(self, operands: Types) -> TensorType:
        if self.bias is not None:
            check_per_channel(self.bias, self.weight.shape[0], "the bias of Conv2d")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return conv_type(operands[0], self.weight.shape, geometry, "Conv2d")


@dataclass(frozen=True, eq=False)
class BinaryConv2d(Op):
    """``y[n,o,p] = scale[o] * sum_{i,t} weight[o,i,t] * x[n,i,p*stride+t-pad]``.

    Binary convolution: the operand is bipolar. A bias of the source stands behind as a
    :class:`BatchNorm` of multiplier 1.

    Parameters
    ----------
    weight : int8, -1 or +1, Co x Ci/groups x kh x kw
    scale : float64 of Co values
        Of any sign; all 1 where the source has none.
    stride, dilation : pair of int
    padding : (top, left, bottom, right)
    groups : int
    padding_value : -1, 0 or +1
        What a tap in the padding meets; 0 contributes nothing.
    """

    weight: Int8Array
    scale: FloatArray
    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    padding_value: Literal[-1, 0, 1] = 0
    _real_arrays = ("scale",)
    _bipolar_arrays = ("weight",)

    def _infer(self, operands: Types) -> TensorType:
        require(
            operands[0].dtype is DType.BIPOLAR,
            f"the operand of BinaryConv2d must be bipolar, not {operands[0]}",
        )
        check_binary(self.weight, "BinaryConv2d")
        check_per_channel(self.scale, self.weight.shape[0], "the scale of BinaryConv2d")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return conv_type(operands[0], self.weight.shape, geometry, "BinaryConv2d")


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """Fully connected layer: ``y[n,o] = bias[o] + sum_i weight[o,i] * x[n,i]``.

    Parameters
    ----------
    weight : float64, Co x Ci
    bias : float64 of Co values, or None
    """

    weight: FloatArray
    bias: FloatArray | None = None
    _real_arrays = ("weight", "bias")

    def _infer(self, operands: Types) -> TensorType:
        if self.bias is not None:
            check_per_channel(self.bias, self.weight.shape[0], "the bias of Linear")
        return linear_type(operands[0], self.weight.shape)


@dataclass(frozen=True, eq=False)
class BinaryLinear(Op):
    """``y[n,o] = scale[o] * sum_i weight[o,i] * x[n,i]`` of a bipolar operand N x Ci.

    A bias of the source stands behind as a :class:`BatchNorm` of multiplier 1.

    Parameters
    ----------
    weight : int8, -1 or +1, Co x Ci
    scale : float64 of Co values
        Of any sign; all 1 where the source has none.
    """

    weight: Int8Array
    scale: FloatArray
    _real_arrays = ("scale",)
    _bipolar_arrays = ("weight",)

    def _infer(self, operands: Types) -> TensorType:
        require(
            operands[0].dtype is DType.BIPOLAR and len(operands[0].shape) == 2,
            f"the operand of BinaryLinear must be bipolar N x C, not {operands[0]}",
        )
        check_binary(self.weight, "BinaryLinear")
        check_per_channel(self.scale, self.weight.shape[0], "the scale of BinaryLinear")
        return linear_type(operands[0], self.weight.shape)
