"""Builds a stage's epilogue: real functions of the accumulator, collected and then encoded.

What follows the contraction is collected as a **pending** function of the integer at hand, affine
with at most one knot: a batch norm changes its slopes and offsets, a PReLU puts its knot. It
becomes one epilogue step only where an integer is needed: before a skip, a maximum, a table, a
product or a second knot, and at the end. So every value is rounded once. A step whose result is not
stored has a finer scale than a stored one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from r2b.ir import ops
from r2b.ir.arith import bounds, rs
from r2b.ir.program import (
    MULTIPLIER_BITS,
    Affine,
    Multiply,
    Saturate,
    Skip,
    SpatialScale,
    Step,
    Table,
)
from r2b.ir.quantize.encode import (
    PRODUCT_BITS,
    FloatArray,
    IntArray,
    Interval,
    encode,
    image_with_knot,
    require_width,
)

LARGEST_FACTOR = 2.0 ** (MULTIPLIER_BITS - 2) - 2
"""Largest factor of a step at the smallest shift, 1."""
LARGEST_INDEX = 8192.0
"""Largest factor of a step whose result is the index of a table: twice the entries of one."""
SPREAD = 256.0
"""A channel's factor is at most this many times the median channel's."""
MAJOR_SPREAD = 2048.0
"""The same for the channel with the largest values."""
FINENESS = 16.0
"""Steps of an integer inside an epilogue to one step of a stored tensor."""
PRODUCT_KEPT = 28
"""Bits that are kept of a product; a multiplier of MULTIPLIER_BITS then fits behind it."""
SMALL_PRODUCT = 20
"""A product of fewer bits would lose too much to the smallest shift."""


@dataclass(frozen=True)
class Pending:
    """``y = slope[i] * v + offset[i]``, ``i = (v >= knot)``; v is the integer at hand.

    Parameters
    ----------
    slope, offset : float64 [2, C]
    knot : float64 [C] or None
        None while both rows are equal.
    """

    slope: FloatArray
    offset: FloatArray
    knot: FloatArray | None = None

    @classmethod
    def linear(cls, slope: FloatArray, offset: FloatArray | None = None) -> Pending:
        """Make a function without a knot."""
        offset = np.zeros_like(slope) if offset is None else offset
        return cls(np.stack([slope, slope]), np.stack([offset, offset]))

    def affine(self, multiplier: FloatArray, offset: FloatArray) -> Pending:
        """Put ``multiplier * y + offset`` behind it."""
        return replace(
            self, slope=self.slope * multiplier, offset=self.offset * multiplier + offset
        )

    def prelu(self, slope: FloatArray) -> Pending:
        """Put a PReLU behind a function that has no knot yet."""
        rising, constant = self.slope[1] > 0, self.slope[1] == 0
        positive = (self.slope[1], self.offset[1])
        negative = (slope * self.slope[1], slope * self.offset[1])
        # A falling function is positive below its knot; a constant one is what its sign says.
        below = rising & ~constant | constant & (self.offset[1] <= 0)
        above = ~rising & ~constant | constant & (self.offset[1] <= 0)
        rows = [
            [np.where(flag, low, high) for flag in (below, above)]
            for low, high in zip(negative, positive, strict=True)
        ]
        divisor = np.where(constant, 1.0, self.slope[1])
        return Pending(np.stack(rows[0]), np.stack(rows[1]), -self.offset[1] / divisor)

    @property
    def is_scaling(self) -> bool:
        """Multiplies and does nothing else."""
        return self.knot is None and not self.offset.any()

    @property
    def is_rising(self) -> bool:
        """Keeps the order of any two values, so that a maximum may be taken before it."""
        return self.knot is None and bool(np.all(self.slope > 0))


class EpilogueBuilder:
    """Collects one stage's epilogue; see the module's text.

    Parameters
    ----------
    place : str
        The stage in messages.
    acc : Interval
        Values of the accumulator.
    pending : Pending
        Real value of the accumulator.
    act_bits : int

    Attributes
    ----------
    steps : list of Step
    interval : Interval
        Values of the integer at hand, behind the last step.
    pending : Pending
        Real value of the integer at hand.
    slopes : int64 [2, C] or None
        Of a gated step: the slopes ``(below 0, from 0 on)`` that a gate of 1 would give.
    is_fine : bool
        The integer at hand may be larger than a stored one.
    """

    def __init__(self, place: str, acc: Interval, pending: Pending, act_bits: int) -> None:
        """Begin behind the contraction."""
        self.place = place
        self.act_bits = act_bits
        self.interval = acc
        self.pending = pending
        self.steps: list[Step] = []
        self.gated = False
        self.slopes: IntArray | None = None
        self.is_fine = False

    # --------------------------------------------------------------------------------- operations

    def follow(self, op: ops.Op, scale: Callable[[], FloatArray]) -> None:
        """Put a batch norm or an activation behind; `scale` gives that of the value before it."""
        match op:
            case ops.BatchNorm():
                if self.gated:
                    self.flush_inside(scale())
                self.pending = self.pending.affine(op.multiplier, op.offset)
            case ops.PRelu():
                self._prelu(op.slope, scale)
            case ops.Relu():
                self._relu(scale)
            case ops.Hardtanh():
                self._hardtanh(op, scale())
            case ops.SpatialScale():
                self._spatial(op.factor, scale())
            case _:
                raise TypeError(f"{type(op).__name__} does not follow a contraction")

    def _prelu(self, slope: FloatArray, scale: Callable[[], FloatArray]) -> None:
        if self.pending.knot is not None:
            self.flush_inside(scale())
        self.pending = self.pending.prelu(slope)

    def _relu(self, scale: Callable[[], FloatArray]) -> None:
        on_grid = bool(self.steps) and self.pending.is_scaling and not self.gated
        if on_grid and self.pending.is_rising:
            highest = int(self.interval.high.max()) if self.is_fine else bounds(self.act_bits)[1]
            self.saturate(0, max(highest, 0))
        else:
            self._prelu(np.zeros(self.pending.slope.shape[1]), scale)

    def _hardtanh(self, op: ops.Hardtanh, scale: FloatArray) -> None:
        self.flush(scale)
        low, high = bounds(self.act_bits)
        limits = np.clip(np.array([op.lo, op.hi]) / scale[0], low, high)
        self.saturate(*(int(limit) for limit in np.rint(limits)))

    def gate(self, scale: FloatArray) -> None:
        """Multiply by the gate; the accumulator must only be scaled so far."""
        if self.gated or not self.pending.is_scaling:
            self.flush_inside(scale)
        self.gated = True

    def skip(self, source: str, scale: FloatArray, other: Interval) -> None:
        """Add a stored tensor of the same scale."""
        self.flush(scale)
        self.steps.append(Skip(source))
        self.interval = self.interval + other

    def saturate(self, low: int, high: int) -> None:
        """Bound the integer at hand."""
        last = self.steps[-1] if self.steps else None
        if isinstance(last, Saturate):
            self.steps.pop()
            low, high = max(low, last.low), min(high, last.high)
        self.steps.append(Saturate(low, high))
        self.interval = self.interval.clip(low, high)

    def multiply(self, source: str, unit: FloatArray, other: Interval, scale: FloatArray) -> None:
        """Multiply by a stored tensor of scale `unit`, or of one value for all channels."""
        self._isolate(scale)
        bits = self._bits(self._corners(other))
        if bits < SMALL_PRODUCT:
            finer = np.abs(self.pending.slope[0]) / 2.0 ** min(SMALL_PRODUCT - bits, 12)
            self.flush(np.where(finer > 0, finer, 1.0))
            self.is_fine = True
        product = self._corners(other)
        shift = max(1, self._bits(product) - PRODUCT_KEPT)
        self._product(Multiply(source, shift), product, self.pending.slope[0] * unit)

    def _spatial(self, factor: FloatArray, scale: FloatArray) -> None:
        """Multiply by a factor for each channel and position."""
        self._isolate(scale)
        peak = np.abs(factor).max(axis=(1, 2))
        unit = np.where(peak > 0, peak, 1.0) / bounds(MULTIPLIER_BITS)[1]
        multiplier = np.rint(factor / unit[:, None, None]).astype(np.int64)
        reach = Interval(multiplier.min(axis=(1, 2)), multiplier.max(axis=(1, 2)))
        product = self._corners(reach)
        shift = max(1, self._bits(product) - PRODUCT_KEPT)
        self._product(SpatialScale(multiplier, shift), product, self.pending.slope[0] * unit)

    def _isolate(self, scale: FloatArray) -> None:
        """Make the pending function a mere scaling."""
        if self.gated or not self.pending.is_scaling:
            self.flush_fine(scale)

    def _corners(self, other: Interval) -> Interval:
        """Bounds of the product of the integer at hand with another."""
        own = (self.interval.low, self.interval.high)
        ends = [a * b for a in own for b in (other.low, other.high)]
        return Interval(np.minimum.reduce(ends), np.maximum.reduce(ends))

    def _bits(self, interval: Interval) -> int:
        """Width of a signed integer that holds an interval."""
        largest = max(int(np.abs(interval.low).max()), int(np.abs(interval.high).max()))
        return largest.bit_length() + 1

    def _product(self, step: Multiply | SpatialScale, product: Interval, slope: FloatArray) -> None:
        half = 1 << (step.shift - 1)
        rounded = Interval(product.low + half, product.high + half)
        require_width(rounded, PRODUCT_BITS, "a product of two values", self.place)
        self.steps.append(step)
        self.is_fine = True
        self.interval = Interval(rs(product.low, step.shift), rs(product.high, step.shift))
        self.pending = Pending.linear(slope * 2.0**step.shift)

    def table(self, table: Table, unit: float, scale: FloatArray) -> None:
        """Look the value up on a grid of step `unit`; entries are integers of this scale."""
        if self.gated:
            self.flush_inside(np.full(len(self.interval.low), unit))
        self.pending = self._bounded(table, unit)
        self.flush(np.full(len(self.interval.low), unit))
        self.steps.append(table)
        low, high = int(table.entries.min()), int(table.entries.max())
        self.interval = Interval.of(low, high, len(self.interval.low))
        self.pending = Pending.linear(scale)

    def _bounded(self, table: Table, unit: float) -> Pending:
        """Give the pending function slopes that a table of this step can be read with.

        Where neighbouring integers lie more than LARGEST_INDEX entries apart, one of them at most
        is inside the table: it keeps its entry, and all others still read one of the ends. Far
        above the other channels' slopes that of a channel is less, for all share one shift: then
        it is less steep where it is inside.
        """
        pending = self.pending
        middle = table.low + len(table.entries) // 2
        slope, offset = pending.slope / unit, pending.offset / unit - middle
        used = np.abs(slope).max(axis=0)
        typical = float(np.median(used[used > 0])) if np.any(used > 0) else 1.0
        limit = min(LARGEST_INDEX, SPREAD * typical)
        steep = np.abs(slope) > limit
        nearest = np.rint(-offset / np.where(steep, slope, 1.0))
        nearest = np.clip(nearest, self.interval.low, self.interval.high)
        entry = np.clip(slope * nearest + offset, -len(table.entries), len(table.entries))
        bounded = np.sign(slope) * limit
        slopes = np.where(steep, bounded, slope)
        offsets = np.where(steep, entry - bounded * nearest, offset) + middle
        return replace(pending, slope=slopes * unit, offset=offsets * unit)

    # -------------------------------------------------------------------------------------- steps

    def flush_fine(self, scale: FloatArray) -> None:
        """Make a step whose result is not stored, finer than `scale` if the multipliers allow."""
        self.flush_inside(scale / FINENESS)
        self.is_fine = True

    def flush_inside(self, scale: FloatArray) -> None:
        """Make a step whose result is not stored, coarser than `scale` if it must."""
        self.flush(np.maximum(scale, self._least(scale)))

    def flush(self, scale: FloatArray) -> None:
        """Make the pending function an epilogue step whose result has this scale."""
        if self.gated:
            self._flush_gated(scale)
        elif not self._is_identity(scale):
            self._flush_static(scale)
        self.is_fine = False
        self.pending = Pending.linear(scale)

    def _is_identity(self, scale: FloatArray) -> bool:
        return self.pending.is_scaling and np.array_equal(self.pending.slope[0], scale)

    def too_fine(self, scale: FloatArray) -> FloatArray | None:
        """Smallest scale that a step from here could have, or None if `scale` will do.

        Where one step of the integer at hand is this many steps of the result, calibration saw next
        to nothing of the channel (a ReLU that was closed for all frames). All channels share a
        shift, so a factor far above the others' would leave them no bits.
        """
        least = self._least(scale)
        return least if np.any(least > scale) else None

    def _least(self, scale: FloatArray) -> FloatArray:
        slope = np.abs(self.pending.slope).max(axis=0)
        factor = slope / scale
        if not np.any(slope > 0):
            return slope
        typical = float(np.median(factor[slope > 0]))
        # Of the channels in use, the one of the largest values must not lose its bits either.
        major = float(factor[np.argmax(np.where(slope > 0, scale, 0))])
        return slope / min(LARGEST_FACTOR, SPREAD * typical, MAJOR_SPREAD * major)

    def _flush_static(self, scale: FloatArray) -> None:
        pending = self.pending
        encoded = encode(
            pending.slope / scale, pending.offset / scale, self.interval, self.place, "the epilogue"
        )
        knot = self._knot(pending.knot)
        self.steps.append(Affine(knot, encoded.multiplier, encoded.offset, encoded.shift))
        self.interval = image_with_knot(encoded, knot, self.interval)
        require_width(self.interval, PRODUCT_BITS, "the epilogue", self.place)

    def _knot(self, knot: FloatArray | None) -> IntArray:
        """Round a knot up to the first integer of the upper row, within the interval."""
        if knot is None:
            return np.zeros(len(self.interval.low), np.int64)
        clipped = np.clip(np.ceil(knot), self.interval.low, self.interval.high + 1)
        return clipped.astype(np.int64)

    def _flush_gated(self, scale: FloatArray) -> None:
        channels = len(scale)
        slopes = self.pending.slope / scale
        nothing = np.zeros((2, channels))
        whole = encode(slopes, nothing, self.interval, self.place, "the gated epilogue")
        zeros = whole.offset
        self.slopes = whole.multiplier
        self.steps.append(Affine(zeros[0], zeros, zeros, whole.shift, gated=True))
        # A gate from 0 to 1 gives everything between 0 and what a gate of 1 gives.
        reached = image_with_knot(whole, zeros[0], self.interval)
        self.interval = Interval(np.minimum(reached.low, 0), np.maximum(reached.high, 0))
        self.gated = False

    def finish(self, scale: FloatArray) -> None:
        """End a chain whose value is stored."""
        self.flush(scale)
        self.saturate(*bounds(self.act_bits))
