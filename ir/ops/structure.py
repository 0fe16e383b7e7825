"""Canonical operations that move values: ends, views, padding, concatenation, selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.ops.base import Op, Padding, Pair, Types, feature_map, require
from r2b.ir.types import DType, TensorType


@dataclass(frozen=True, eq=False)
class Input(Op):
    """The frames.

    Parameters
    ----------
    shape : tuple of int
        ``(1, C, H, W)``; the 1 stands for any number of frames.
    """

    shape: tuple[int, ...]
    arity: ClassVar[tuple[int, ...]] = (0,)

    def _infer(self, operands: Types) -> TensorType:
        return TensorType(self.shape)


@dataclass(frozen=True, eq=False)
class Output(Op):
    """A result of the network: ``y = x``."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0]


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """All dimensions but the first become one: N x (C*H*W), in the order C, H, W."""

    def _infer(self, operands: Types) -> TensorType:
        require(operands[0].batched, f"Flatten takes a tensor per frame, not {operands[0]}")
        return operands[0].with_shape((1, int(np.prod(operands[0].shape[1:]))))


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """The image with a border of one value.

    Of a bipolar operand and a value of -1 or +1 the result is bipolar; of a bipolar operand and 0
    it has the three values -1, 0 and +1, and is real.

    Parameters
    ----------
    padding : (top, left, bottom, right)
    value : float
    """

    padding: Padding
    value: float = 0.0

    def _infer(self, operands: Types) -> TensorType:
        channels, height, width = feature_map(operands[0], "Pad")
        require(all(size >= 0 for size in self.padding), "Pad must not cut the image")
        top, left, bottom, right = self.padding
        two_valued = operands[0].dtype is DType.BIPOLAR and self.value in (-1.0, 1.0)
        dtype = DType.BIPOLAR if two_valued else DType.FLOAT
        return TensorType((1, channels, height + top + bottom, width + left + right), dtype)


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Operands one behind the other along dimension 1, the channels.

    The result is bipolar if all operands are.
    """

    def result_type(self, operands: Types) -> TensorType:
        """Give the type of the result for any number of operands."""
        require(len(operands) > 0, "Concat takes one operand or more")
        first = operands[0]
        for operand in operands:
            alike = operand.batched and len(operand.shape) == len(first.shape) >= 2
            require(
                alike and operand.shape[2:] == first.shape[2:],
                f"the operands of Concat must agree but for channels, not {first} and {operand}",
            )
        channels = sum(operand.shape[1] for operand in operands)
        bipolar = all(operand.dtype is DType.BIPOLAR for operand in operands)
        dtype = DType.BIPOLAR if bipolar else DType.FLOAT
        return TensorType((1, channels, *first.shape[2:]), dtype)


@dataclass(frozen=True, eq=False)
class Select(Op):
    """Some channels of some positions: ``y[n,i,r,c] = x[n, channels[i], r0 + r*sr, c0 + c*sc]``.

    A channel of -1 is 0 everywhere. Without such channels, and of a bipolar operand, the result is
    bipolar.

    Parameters
    ----------
    channels : tuple of int
        Channel of the operand for each of the result; any order, any number of times.
    start : (r0, c0)
    step : (sr, sc)
    size : (rows, columns)
        Of the result.
    """

    channels: tuple[int, ...]
    start: Pair = (0, 0)
    step: Pair = (1, 1)
    size: Pair = (1, 1)

    def _infer(self, operands: Types) -> TensorType:
        channels, height, width = feature_map(operands[0], "Select")
        known = all(-1 <= channel < channels for channel in self.channels)
        require(bool(self.channels) and known, f"Select takes channels of {operands[0]}, or -1")
        for start, step, size, whole in zip(
            self.start, self.step, self.size, (height, width), strict=True
        ):
            inside = start >= 0 and step >= 1 and size >= 1 and start + (size - 1) * step < whole
            require(inside, f"Select must stay inside the image of {operands[0]}")
        two_valued = operands[0].dtype is DType.BIPOLAR and -1 not in self.channels
        dtype = DType.BIPOLAR if two_valued else DType.FLOAT
        return TensorType((1, len(self.channels), *self.size), dtype)

    def after(self, inner: Select) -> Select:
        """Give the one selection that does what `inner` and then this one do."""
        return Select(
            tuple(inner.channels[channel] if channel >= 0 else -1 for channel in self.channels),
            (
                inner.start[0] + inner.step[0] * self.start[0],
                inner.start[1] + inner.step[1] * self.start[1],
            ),
            (inner.step[0] * self.step[0], inner.step[1] * self.step[1]),
            self.size,
        )
