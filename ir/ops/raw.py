"""Operations that exist only before canonicalisation, as ATen has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from r2b.ir.ops.base import (
    NO_PADDING,
    Op,
    Padding,
    Pair,
    Types,
    broadcast_type,
    conv_type,
    feature_map,
    linear_type,
    require,
)
from r2b.ir.types import DType, TensorType


class RawOp(Op):
    """Base of the operations that exist only before canonicalisation."""

    raw: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Constant(RawOp):
    """A parameter, a buffer or a number; the same for every frame.

    Parameters
    ----------
    value : float64 or bool
    origin : str
        Name of the parameter in the model, empty for a number.
    """

    value: npt.NDArray[np.float64 | np.bool_]
    origin: str = ""
    arity: ClassVar[tuple[int, ...]] = (0,)

    def __post_init__(self) -> None:
        """Make the value a read-only copy."""
        is_bool = np.asarray(self.value).dtype == np.bool_
        self._freeze("value", np.bool_ if is_bool else np.float64)

    def _infer(self, operands: Types) -> TensorType:
        dtype = DType.BOOL if self.value.dtype == np.bool_ else DType.FLOAT
        return TensorType(self.value.shape, dtype, batched=False)


@dataclass(frozen=True, eq=False)
class Arithmetic(RawOp):
    """``y = x0 . x1`` with broadcasting.

    Parameters
    ----------
    kind : "add", "sub", "mul", "div", "maximum", "minimum" or "pow"
    """

    kind: Literal["add", "sub", "mul", "div", "maximum", "minimum", "pow"]
    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        return broadcast_type(operands, DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Compare(RawOp):
    """``y = (x0 . x1)`` with broadcasting, a truth value.

    Parameters
    ----------
    kind : "ge", "gt", "le", "lt", "eq" or "ne"
    """

    kind: Literal["ge", "gt", "le", "lt", "eq", "ne"]
    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        return broadcast_type(operands, DType.BOOL)


@dataclass(frozen=True, eq=False)
class Where(RawOp):
    """``y = x1`` where x0 is true, else ``x2``."""

    arity: ClassVar[tuple[int, ...]] = (3,)

    def _infer(self, operands: Types) -> TensorType:
        return broadcast_type(operands, DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Unary(RawOp):
    """``y = f(x)``.

    Parameters
    ----------
    kind : "neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp" or "tanh"
    """

    kind: Literal["neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp", "tanh"]

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Identity(RawOp):
    """``y = x``.

    Parameters
    ----------
    kind : str
        What the source wrote: "detach", "dropout", "contiguous", ...; a "detach" marks the
        arithmetic of a straight-through estimator.
    """

    kind: str = "identity"

    def _infer(self, operands: Types) -> TensorType:
        return operands[0]


@dataclass(frozen=True, eq=False)
class ToFloat(RawOp):
    """``y = 1`` where x is true, else 0; a real x is left as it is."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Mean(RawOp):
    """Mean over the dimensions `axes`, which become 1 (``keepdim``) or vanish."""

    axes: tuple[int, ...]
    keepdim: bool = False

    def _infer(self, operands: Types) -> TensorType:
        operand = operands[0]
        require(not (operand.batched and 0 in self.axes), "a mean over the frames is not allowed")
        shape = tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(operand.shape)
            if self.keepdim or axis not in self.axes
        )
        return TensorType(shape, DType.FLOAT, operand.batched)


@dataclass(frozen=True, eq=False)
class Reshape(RawOp):
    """The same elements in the same order in another shape; 1 in front stands for the frames."""

    shape: tuple[int, ...]

    def _infer(self, operands: Types) -> TensorType:
        sizes = (int(np.prod(self.shape)), int(np.prod(operands[0].shape)))
        require(sizes[0] == sizes[1], f"{operands[0]} cannot be viewed as {self.shape}")
        return operands[0].with_shape(self.shape)


@dataclass(frozen=True, eq=False)
class Expand(RawOp):
    """The operand repeated along its dimensions of size 1 to the given shape."""

    shape: tuple[int, ...]

    def _infer(self, operands: Types) -> TensorType:
        target = TensorType(self.shape, operands[0].dtype, operands[0].batched)
        found = broadcast_type((operands[0], target), operands[0].dtype)
        require(found == target, f"{operands[0]} cannot be expanded to {self.shape}")
        return target


@dataclass(frozen=True, eq=False)
class Convolution(RawOp):
    """:class:`Conv2d` with operands x, weight and, possibly, bias."""

    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    arity: ClassVar[tuple[int, ...]] = (2, 3)

    def _infer(self, operands: Types) -> TensorType:
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return conv_type(operands[0], operands[1].shape, geometry, "Convolution")


@dataclass(frozen=True, eq=False)
class Dense(RawOp):
    """:class:`Linear` with operands x, weight and, possibly, bias."""

    arity: ClassVar[tuple[int, ...]] = (2, 3)

    def _infer(self, operands: Types) -> TensorType:
        return linear_type(operands[0], operands[1].shape)


@dataclass(frozen=True, eq=False)
class Normalization(RawOp):
    """:class:`BatchNorm` with operands x, gamma, beta, mean and var."""

    eps: float = 1e-5
    arity: ClassVar[tuple[int, ...]] = (5,)

    def _infer(self, operands: Types) -> TensorType:
        for operand in operands[1:]:
            require(
                operand.shape == (operands[0].channels,),
                f"Normalization needs one value per channel of {operands[0]}, not {operand}",
            )
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class ParametricRelu(RawOp):
    """:class:`PRelu` with operands x and slope (of one value, or one per channel)."""

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        require(
            operands[1].shape in ((), (1,), (operands[0].channels,)),
            f"the slope must be one value, or one per channel of {operands[0]}, not {operands[1]}",
        )
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class AdaptiveAvgPool2d(RawOp):
    """Mean over H x W windows that share the image out over ``size`` results."""

    size: Pair

    def _infer(self, operands: Types) -> TensorType:
        channels, height, width = feature_map(operands[0], "AdaptiveAvgPool2d")
        require(
            height % self.size[0] == 0 and width % self.size[1] == 0,
            f"AdaptiveAvgPool2d of {height}x{width} to {self.size[0]}x{self.size[1]} is not even",
        )
        return TensorType((1, channels, *self.size))


@dataclass(frozen=True, eq=False)
class Opaque(RawOp):
    """An operation of PyTorch that the Graph has no word for; its value is not known here.

    It may stand where it cancels (the soft part of a straight-through estimator); one that is left
    after canonicalisation is reported to the user.

    Parameters
    ----------
    target : str
        What PyTorch calls it, for example ``aten.erf.default``.
    reason : str
        Why it is not supported, where there is more to say than that there is no word for it.
    type : TensorType
        Of the result.
    arguments : str
        The arguments that are not operands, as text: two operations with other ones differ.
    """

    target: str
    reason: str
    type: TensorType
    arguments: str = ""

    def result_type(self, operands: Types) -> TensorType:
        """Give the recorded type, for any number of operands."""
        return self.type
