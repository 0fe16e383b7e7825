"""Canonical operations over windows and whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from r2b.ir.ops.base import (
    NO_PADDING,
    FloatArray,
    Op,
    Padding,
    Pair,
    Types,
    check_per_channel,
    feature_map,
    linear_type,
    window_size,
)
from r2b.ir.types import DType, TensorType


@dataclass(frozen=True, eq=False)
class MaxPool2d(Op):
    """Largest value of each window; positions in the padding are skipped."""

    kernel: Pair
    stride: Pair
    padding: Padding = NO_PADDING

    def _infer(self, operands: Types) -> TensorType:
        return _pool_type(self, operands[0])


@dataclass(frozen=True, eq=False)
class AvgPool2d(Op):
    """Sum of each window over a divisor.

    Parameters
    ----------
    kernel, stride : pair of int
    padding : (top, left, bottom, right)
        Positions in the padding add 0.
    count_include_pad : bool
        The divisor is kh*kw; if False, the number of positions inside the image.
    """

    kernel: Pair
    stride: Pair
    padding: Padding = NO_PADDING
    count_include_pad: bool = True

    def _infer(self, operands: Types) -> TensorType:
        return _pool_type(self, operands[0]).with_dtype(DType.FLOAT)


def _pool_type(op: MaxPool2d | AvgPool2d, operand: TensorType) -> TensorType:
    channels, height, width = feature_map(operand, type(op).__name__)
    size = window_size((height, width), op.kernel, op.stride, op.padding, (1, 1))
    return operand.with_shape((1, channels, *size))


@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Op):
    """``y[n,c,0,0] = mean over H, W of x[n,c]``."""

    def _infer(self, operands: Types) -> TensorType:
        channels, _, _ = feature_map(operands[0], "GlobalAvgPool")
        return TensorType((1, channels, 1, 1))


@dataclass(frozen=True, eq=False)
class Gate(Op):
    """``y[n,:,0,0] = f(fc2 relu(fc1 m + fc1_bias) + fc2_bias)``, ``m[c] = mean_HW x[n,c]``.

    The operand is the tensor that is averaged. A :class:`Scale` applies the result.

    Parameters
    ----------
    fc1 : float64, H x Ci
    fc1_bias : float64 of H values, or None
    fc2 : float64, Co x H
    fc2_bias : float64 of Co values, or None
    function : "sigmoid" or "hardsigmoid"
        The f of the formula; the latter is min(max(x + 3, 0), 6) / 6.
    """

    fc1: FloatArray
    fc1_bias: FloatArray | None
    fc2: FloatArray
    fc2_bias: FloatArray | None
    function: Literal["sigmoid", "hardsigmoid"] = "sigmoid"
    _real_arrays = ("fc1", "fc1_bias", "fc2", "fc2_bias")

    def _infer(self, operands: Types) -> TensorType:
        channels, _, _ = feature_map(operands[0], "Gate")
        hidden = linear_type(TensorType((1, channels)), self.fc1.shape)
        result = linear_type(hidden, self.fc2.shape)
        for bias, rows in ((self.fc1_bias, hidden.channels), (self.fc2_bias, result.channels)):
            if bias is not None:
                check_per_channel(bias, rows, "the bias of Gate")
        return TensorType((1, result.channels, 1, 1))
