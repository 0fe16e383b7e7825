"""What every operation of the Graph has, and the types of windows, convolutions and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from r2b.ir.types import DType, TensorType

FloatArray = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Types = Sequence[TensorType]

NO_PADDING: Padding = (0, 0, 0, 0)


class Op:
    """Base of all operations.

    Attributes
    ----------
    arity : tuple of int
        Numbers of operands that are allowed.
    raw : bool
        Belongs to the vocabulary before canonicalisation only.
    """

    arity: ClassVar[tuple[int, ...]] = (1,)
    raw: ClassVar[bool] = False
    _real_arrays: ClassVar[tuple[str, ...]] = ()
    _bipolar_arrays: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Make the fields that hold arrays read-only copies, of float64 or int8."""
        for name in self._real_arrays:
            self._freeze(name, np.float64)
        for name in self._bipolar_arrays:
            self._freeze(name, np.int8)

    def result_type(self, operands: Types) -> TensorType:
        """Give the type of the result; raise `ValueError` if the operands do not fit."""
        if len(operands) not in self.arity:
            wanted = " or ".join(str(count) for count in self.arity)
            raise ValueError(f"{type(self).__name__} takes {wanted} operands, not {len(operands)}")
        return self._infer(operands)

    def _infer(self, operands: Types) -> TensorType:
        raise NotImplementedError(type(self).__name__)

    def _freeze(self, name: str, dtype: npt.DTypeLike) -> None:
        if getattr(self, name) is not None:
            array = np.array(getattr(self, name), dtype=dtype, order="C")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __eq__(self, other: object) -> bool:
        """Compare class and the fields that count, arrays by their elements."""
        if type(self) is not type(other):
            return False
        known = fields(self)  # pyright: ignore[reportArgumentType]
        names = [field.name for field in known if field.compare]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        """Agree with equality; arrays are left out."""
        return hash(type(self).__name__)


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def require(condition: bool, message: str) -> None:
    """Raise `ValueError` with a message where a condition does not hold."""
    if not condition:
        raise ValueError(message)


def feature_map(operand: TensorType, op: str) -> tuple[int, int, int]:
    """Return C, H, W of a feature map."""
    require(
        operand.batched and len(operand.shape) == 4,
        f"{op} takes a feature map N x C x H x W, not {operand}",
    )
    return operand.shape[1], operand.shape[2], operand.shape[3]


def check_per_channel(array: npt.NDArray[np.generic], channels: int, what: str) -> None:
    """Check that an array holds one value per channel."""
    require(
        array.shape == (channels,),
        f"{what} must hold one value for each of {channels} channels, not {array.shape}",
    )


def check_binary(weight: npt.NDArray[np.int8], op: str) -> None:
    """Check that all weights of an operation are -1 or +1."""
    require(bool(np.all(np.abs(weight) == 1)), f"the weights of {op} must be -1 or +1")


def window_size(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """Height and width of the result of a sliding window over an image of height, width `size`."""
    result: list[int] = []
    for axis in range(2):
        padded = size[axis] + padding[axis] + padding[axis + 2]
        span = dilation[axis] * (kernel[axis] - 1) + 1
        require(padded >= span, f"the window of {span} is larger than the padded image of {padded}")
        result.append((padded - span) // stride[axis] + 1)
    return result[0], result[1]


def conv_type(
    operand: TensorType,
    weight: tuple[int, ...],
    geometry: tuple[Pair, Padding, Pair, int],
    op: str,
) -> TensorType:
    """Type of the result of a convolution; geometry is stride, padding, dilation and groups."""
    stride, padding, dilation, groups = geometry
    channels, height, width = feature_map(operand, op)
    require(len(weight) == 4, f"{op} needs a weight of four dimensions, not {weight}")
    require(
        channels == weight[1] * groups,
        f"{op} with a weight for {weight[1] * groups} input channels was given {channels}",
    )
    require(weight[0] % groups == 0, f"{groups} groups must divide the {weight[0]} output channels")
    kernel = (weight[2], weight[3])
    size = window_size((height, width), kernel, stride, padding, dilation)
    return TensorType((1, weight[0], *size))


def linear_type(operand: TensorType, weight: tuple[int, ...]) -> TensorType:
    """Type of the result of a fully connected layer."""
    require(len(weight) == 2, f"Linear needs a weight of two dimensions, not {weight}")
    require(
        operand.shape[-1] == weight[1],
        f"Linear with a weight for {weight[1]} inputs was given {operand}",
    )
    shape = (*operand.shape[:-1], weight[0])
    return TensorType(shape, batched=operand.batched)


def broadcast_type(operands: Types, dtype: DType) -> TensorType:
    """Type of an element-wise result; a constant must leave the frame dimension alone."""
    shapes = [operand.shape for operand in operands]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = " and ".join(str(operand) for operand in operands)
        raise ValueError(f"the shapes of {listed} do not broadcast") from error
    batched = any(operand.batched for operand in operands)
    if batched:
        aligned = all(len(operand.shape) == len(shape) for operand in operands if operand.batched)
        require(aligned and shape[0] == 1, "broadcasting must leave the frame dimension alone")
    return TensorType(shape, dtype, batched)
