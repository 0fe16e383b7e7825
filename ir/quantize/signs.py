"""Integer thresholds for a sign behind per-channel operations, proved value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.arith import threshold
from r2b.ir.graph import Node
from r2b.ir.interpreter import evaluate
from r2b.ir.quantize.encode import IntArray, Interval
from r2b.ir.quantize.epilogue import Pending

BoolArray = npt.NDArray[np.bool_]


class NoThresholdError(Exception):
    """A sign's operand rises and falls over the values of a channel; caught by the quantizer."""


ENUMERATED = 1 << 17
"""Ranges up to here are tried value by value; wider ones (accumulators of real convolutions whose
sign alone is used) by bisection, where every operation rises or falls throughout."""
CHUNK = 1 << 22
"""Values that are tried at once."""


@dataclass(frozen=True)
class Threshold:
    """``bit = (v >= theta) ^ flip`` per channel."""

    theta: IntArray
    flip: IntArray


@dataclass(frozen=True)
class SignFunction:
    """The source's sign as a function of the integer v.

    Parameters
    ----------
    pending : Pending
        Real value of v.
    views : sequence of Node
        Operations between that value and the sign.
    sign : Node
    """

    pending: Pending
    views: Sequence[Node]
    sign: Node

    def real(self, values: IntArray) -> npt.NDArray[np.float64]:
        """Operand of the sign for values K x C."""
        pending, column = self.pending, values.astype(np.float64)
        upper = np.zeros_like(column, bool) if pending.knot is None else column >= pending.knot
        slope, offset = (
            np.where(upper, rows[1], rows[0]) for rows in (pending.slope, pending.offset)
        )
        result = column * slope + offset
        for view in self.views:
            result = evaluate(view.op, [result])
        return result

    def bits(self, values: IntArray) -> BoolArray:
        """Bit of the sign for values K x C; where the source gives 0, that of +1."""
        real = self.real(values)
        assert isinstance(self.sign.op, ops.Sign)
        return np.where(real == 0, self.sign.op.zero >= 0, real > 0)


def find_threshold(function: SignFunction, interval: Interval) -> Threshold:
    """Find theta and flip that give the function's bit for *every* value of the interval.

    Raises
    ------
    NoThresholdError
        The bit changes more than once over the values, or might.
    """
    low, high = int(interval.low.min()), int(interval.high.max())
    channels = len(interval.low)
    if high - low >= ENUMERATED:
        return _bisect(function, low, high, channels)
    return _enumerate(function, low, high, channels)


def _enumerate(function: SignFunction, low: int, high: int, channels: int) -> Threshold:
    """Look at every value: the largest of a first run, then a proof over all of them."""
    count = np.zeros(channels, np.int64)
    values = np.arange(low, high + 1)[:, None]
    step = max(1, CHUNK // channels)
    first = function.bits(np.full((1, channels), low))[0]
    for part in _chunks(values, step):
        bits = function.bits(np.broadcast_to(part, (len(part), channels)))
        count += (bits == first).sum(axis=0)
    found = _threshold(first, low + count, low, high)
    for part in _chunks(values, step):
        bits = function.bits(np.broadcast_to(part, (len(part), channels)))
        if np.any(threshold(part, found.theta, found.flip) != bits):
            raise NoThresholdError
    return found


def _chunks(values: IntArray, step: int) -> list[IntArray]:
    return [values[start : start + step] for start in range(0, len(values), step)]


def _bisect(function: SignFunction, low: int, high: int, channels: int) -> Threshold:
    """Find the one change of a function that rises or falls throughout."""
    if not _is_monotone(function):
        raise NoThresholdError
    first = function.bits(np.full((1, channels), low))[0]
    same = np.full(channels, low, np.int64)
    other = np.full(channels, high + 1, np.int64)
    while np.any(other - same > 1):
        middle = (same + other) // 2
        equal = function.bits(middle[None])[0] == first
        same, other = np.where(equal, middle, same), np.where(equal, other, middle)
    return _threshold(first, other, low, high)


def _is_monotone(function: SignFunction) -> bool:
    rows = np.sign(function.pending.slope)
    bends = function.pending.knot is not None and np.any(rows[0] * rows[1] < 0)
    falls = any(isinstance(v.op, ops.PRelu) and np.any(v.op.slope < 0) for v in function.views)
    return not bends and not falls


def _threshold(first: BoolArray, change: IntArray, low: int, high: int) -> Threshold:
    """Threshold at the change; a constant is the smallest value, flipped or not."""
    constant = change > high
    theta = np.where(constant, low, change)
    flip = np.where(constant, ~first, first)
    return Threshold(theta.astype(np.int64), flip.astype(np.int64))


def reaches_zero(function: SignFunction, interval: Interval, step: int = 1) -> bool:
    """Tell whether the operand is exactly 0 for a value of the interval, its lowest plus steps."""
    low, high = int(interval.low.min()), int(interval.high.max())
    channels = len(interval.low)
    values = np.arange(low, min(high, low + ENUMERATED) + 1, step)[:, None]
    parts = _chunks(values, max(1, CHUNK // channels))
    return any(
        bool(np.any(function.real(np.broadcast_to(part, (len(part), channels))) == 0))
        for part in parts
    )
