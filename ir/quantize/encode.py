"""Real factors to integers of a given width, with the proof that every value fits its width.

A stage's multipliers share one shift, the largest for which all of them, their offsets and every
sum that can occur fit: that uses the width best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2b.ir.arith import bounds, rs
from r2b.ir.program import MULTIPLIER_BITS, ProgramError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_SHIFT = 40
PRODUCT_BITS = 48
"""Width of ``acc * multiplier``, of an offset, and of their sum with the rounding."""
SUM_BITS = 32
"""Width of every sum of products: accumulators, fully connected layers, channel sums."""
WEIGHT_BITS = 8


@dataclass(frozen=True)
class Interval:
    """Smallest and largest value that can occur, per channel."""

    low: IntArray
    high: IntArray

    @classmethod
    def of(cls, low: int, high: int, channels: int) -> Interval:
        """Build the same bounds for all channels."""
        return cls(np.full(channels, low, np.int64), np.full(channels, high, np.int64))

    @classmethod
    def signed(cls, width: int, channels: int) -> Interval:
        """All values of a signed integer of `width` bits."""
        return cls.of(*bounds(width), channels)

    def __add__(self, other: Interval) -> Interval:
        """Bounds of the sum."""
        return Interval(self.low + other.low, self.high + other.high)

    def clip(self, low: int, high: int) -> Interval:
        """Bounds after saturation."""
        return Interval(np.clip(self.low, low, high), np.clip(self.high, low, high))

    def fits(self, width: int) -> bool:
        """Tell whether a signed integer of `width` bits holds every value."""
        low, high = bounds(width)
        return bool(np.all(self.low >= low) and np.all(self.high <= high))


def require_width(interval: Interval, width: int, what: str, place: str) -> None:
    """Refuse a layer whose values do not fit; the message names it."""
    if not interval.fits(width):
        found = f"{int(interval.low.min())}..{int(interval.high.max())}"
        raise ProgramError(
            f"{place}: {what} can take the values {found}, more than {width} bits hold; use "
            "fewer input channels, a smaller window or fewer --act-bits"
        )


def quantize_rows(weight: FloatArray, limit: FloatArray) -> tuple[IntArray, FloatArray]:
    """Round each row of weights to WEIGHT_BITS bits; return the integers and one scale per row.

    ``limit`` is the largest magnitude of the input that each column meets: the rows are made
    smaller where the sum of products would need more than SUM_BITS bits.
    """
    _, largest = bounds(WEIGHT_BITS)
    flat = weight.reshape(len(weight), -1)
    peak = np.abs(flat).max(axis=1)
    worst = np.abs(flat) @ np.broadcast_to(limit, flat.shape[1:])
    # Rounding adds half a step per column to the worst case.
    room = bounds(SUM_BITS)[1] - np.sum(np.broadcast_to(limit, flat.shape[1:])) / 2
    scale = np.maximum(peak / largest, worst / room)
    divisor = np.where(scale > 0, scale, 1.0)  # a row of zeros keeps the scale 0
    rounded = np.rint(flat / divisor[:, None]).astype(np.int64)
    return rounded.reshape(weight.shape), scale


@dataclass(frozen=True)
class Encoded:
    """``v = rs(x * multiplier + offset, shift)``."""

    multiplier: IntArray
    offset: IntArray
    shift: int


def encode(
    multiplier: FloatArray, offset: FloatArray, domain: Interval, place: str, what: str
) -> Encoded:
    """Integers for ``v = x * multiplier + offset`` per channel, x in `domain`, at one shift.

    Arrays may have leading dimensions before the channel. Raises :class:`ProgramError`, naming
    `place`, where no shift fits.
    """
    for shift in range(MAX_SHIFT, 0, -1):
        found = _at_shift(multiplier, offset, domain, shift)
        if found is not None:
            return found
    raise ProgramError(
        f"{place}: {what} needs factors up to {np.abs(multiplier).max():.4g} and offsets up to "
        f"{np.abs(offset).max():.4g} steps, which {MULTIPLIER_BITS}-bit multipliers and "
        f"{PRODUCT_BITS}-bit sums cannot hold; look for a batch norm with a tiny variance or "
        "calibrate with more typical frames"
    )


def _at_shift(
    multiplier: FloatArray, offset: FloatArray, domain: Interval, shift: int
) -> Encoded | None:
    factors, summands = multiplier * 2.0**shift, offset * 2.0**shift
    if not np.all(np.abs(factors) < 2.0 ** (MULTIPLIER_BITS - 1) - 1):
        return None
    if not np.all(np.abs(summands) < 2.0 ** (PRODUCT_BITS - 2)):
        return None
    found = Encoded(np.rint(factors).astype(np.int64), np.rint(summands).astype(np.int64), shift)
    rounding = 1 << (shift - 1)
    ends = [end * found.multiplier for end in (domain.low, domain.high)]
    sums = [end + found.offset + rounding for end in ends]
    checked = [Interval(np.minimum(*pair), np.maximum(*pair)) for pair in (ends, sums)]
    return found if all(item.fits(PRODUCT_BITS) for item in checked) else None


def image(encoded: Encoded, domain: Interval) -> Interval:
    """Interval of ``rs(x * multiplier + offset, shift)`` for x in `domain`."""
    ends = [
        rs(end * encoded.multiplier + encoded.offset, encoded.shift)
        for end in (domain.low, domain.high)
    ]
    return Interval(np.minimum(*ends), np.maximum(*ends))


def image_with_knot(encoded: Encoded, knot: IntArray, domain: Interval) -> Interval:
    """The same for two rows, the first for x below `knot` and the second from it on."""
    sides = (
        (domain.low, np.minimum(domain.high, knot - 1)),
        (np.maximum(domain.low, knot), domain.high),
    )
    lows: list[IntArray] = []
    highs: list[IntArray] = []
    for row, (low, high) in enumerate(sides):
        part = Encoded(encoded.multiplier[row], encoded.offset[row], encoded.shift)
        found = image(part, Interval(low, high))
        empty = low > high
        lows.append(np.where(empty, np.iinfo(np.int64).max, found.low))
        highs.append(np.where(empty, np.iinfo(np.int64).min, found.high))
    return Interval(np.minimum(*lows), np.maximum(*highs))
