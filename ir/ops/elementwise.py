"""Canonical operations that act on one element at a time, or on one channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from r2b.ir.ops.base import FloatArray, Op, Types, check_per_channel, feature_map, require
from r2b.ir.types import DType, TensorType

# ------------------------------------------------------------------------------------- per channel


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """Affine map per channel: ``y = a*x + b``, ``a = gamma/sqrt(var+eps)``, ``b = beta - a*mean``.

    Stands for batch normalisation in evaluation and for every other affine map per channel (a
    learnable threshold, a normalisation of the input): see :meth:`affine`.

    Parameters
    ----------
    gamma, beta, mean, var : float64 of C values
    eps : float
    """

    gamma: FloatArray
    beta: FloatArray
    mean: FloatArray
    var: FloatArray
    eps: float = 1e-5
    _real_arrays = ("gamma", "beta", "mean", "var")

    @classmethod
    def affine(cls, multiplier: FloatArray, offset: FloatArray) -> BatchNorm:
        """Build the operation whose multiplier and offset are exactly those given."""
        zeros, ones = np.zeros_like(multiplier), np.ones_like(multiplier)
        return cls(multiplier, offset, zeros, ones, 0.0)

    @property
    def multiplier(self) -> FloatArray:
        """The factor a of each channel."""
        return self.gamma / np.sqrt(self.var + self.eps)

    @property
    def offset(self) -> FloatArray:
        """The summand b of each channel."""
        return self.beta - self.multiplier * self.mean

    def _infer(self, operands: Types) -> TensorType:
        for name in ("gamma", "beta", "mean", "var"):
            check_per_channel(getattr(self, name), operands[0].channels, f"{name} of BatchNorm")
        require(bool(np.all(self.var + self.eps > 0)), "var + eps of BatchNorm must be positive")
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class PRelu(Op):
    """``y = x`` for x > 0, else ``slope[c] * x``.

    Parameters
    ----------
    slope : float64 of C values
    """

    slope: FloatArray
    _real_arrays = ("slope",)

    def _infer(self, operands: Types) -> TensorType:
        check_per_channel(self.slope, operands[0].channels, "the slope of PRelu")
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """``y[n,c,h,w] = x[n,c,h,w] * f[n,c,h,w]``, f broadcast where its C, H or W is 1.

    A factor per channel and frame is a gate (N x C x 1 x 1), one per pixel and frame is the K of
    XNOR-Net (N x 1 x H x W).
    """

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        shape = (1, *feature_map(operands[0], "Scale"))
        factor = operands[1]
        fits = factor.batched and len(factor.shape) == 4
        fits = fits and all(f in (1, x) for f, x in zip(factor.shape, shape, strict=True))
        require(fits, f"the factor of Scale must broadcast to {operands[0]}, not {factor}")
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class SpatialScale(Op):
    """``y[n,c,h,w] = x[n,c,h,w] * factor[c,h,w]``: scales that vary over the image (XNOR-Net++).

    Parameters
    ----------
    factor : float64, C x H x W
    """

    factor: FloatArray
    _real_arrays = ("factor",)

    def _infer(self, operands: Types) -> TensorType:
        found = feature_map(operands[0], "SpatialScale")
        require(
            self.factor.shape == found,
            f"the factor of SpatialScale must be {found}, not {self.factor.shape}",
        )
        return operands[0].with_dtype(DType.FLOAT)


# ------------------------------------------------------------------------------------ element-wise


class _Elementwise(Op):
    """Base of operations that keep the shape and give real values."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Relu(_Elementwise):
    """``y = max(x, 0)``."""


@dataclass(frozen=True, eq=False)
class Hardtanh(_Elementwise):
    """``y = min(max(x, lo), hi)``; a missing bound is infinite."""

    lo: float = -1.0
    hi: float = 1.0


@dataclass(frozen=True, eq=False)
class Sigmoid(_Elementwise):
    """``y = 1 / (1 + exp(-x))``."""


@dataclass(frozen=True, eq=False)
class Sign(Op):
    """``y = +1`` for x > 0, ``-1`` for x < 0, ``zero`` for x = 0.

    The result has type bipolar also for ``zero = 0``: then whoever uses it has to show that x is
    never 0, or to ask the user.

    Parameters
    ----------
    zero : -1, 0 or +1
        What the source gives for 0.
    form : str
        How the source writes it, for reports; two signs in other forms are equal.
    """

    zero: Literal[-1, 0, 1] = 1
    form: str = field(default="", compare=False)

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.BIPOLAR)


@dataclass(frozen=True, eq=False)
class Add(_Elementwise):
    """``y = x0 + x1`` of equal shapes."""

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        left, right = operands
        require(
            (left.shape, left.batched) == (right.shape, right.batched),
            f"the operands of Add must have one shape, not {left} and {right}",
        )
        return left.with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Activation(_Elementwise):
    """``y = f(x)``, a function of one number that is none of the others.

    Parameters
    ----------
    kind : str
        ``tanh``; ``hardsigmoid`` = min(max(x + 3, 0), 6) / 6; ``hardswish`` = x * hardsigmoid(x);
        ``silu`` = x / (1 + exp(-x)); ``elu`` = x for x > 0, else exp(x) - 1; ``softplus`` =
        log(1 + exp(x)); ``gelu`` = x * (1 + erf(x / sqrt 2)) / 2.
    """

    kind: Literal["tanh", "hardsigmoid", "hardswish", "silu", "elu", "softplus", "gelu"]


@dataclass(frozen=True, eq=False)
class Softmax(_Elementwise):
    """``y[n,c] = exp(x[n,c]) / sum_k exp(x[n,k])``, or its logarithm; keeps the order of classes.

    Supported at the end of a network, where the Program leaves it out.

    Parameters
    ----------
    log : bool
    """

    log: bool = False
