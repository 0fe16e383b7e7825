"""Counts equal bits of two words by adders whose carry-ins are lanes, for LUTs of four inputs.

The lanes are halved until at most LEAF are left, which are counted at once. A lane that is left
over wherever others are halved is the carry-in of the adder of both halves::

    count(lanes) = count(half) + count(other half) + equal(lane)

The latency is that of the compressors of :mod:`r2b.hw.compressor`, so that a core takes the same
cycles on every device: the levels of adders are spread over as many registers. 64 lanes are 163
LUT4 so, those compressors 174, and 87 LUT6 where this is 104.
"""

from __future__ import annotations

from functools import cache

from amaranth.hdl import Cat, Const, Module, Signal, Value

from r2b.hw import compressor
from r2b.hw.compressor import latency_of

LEAF = 4
"""Most lanes that are counted at once."""


class EqualBits(compressor.EqualBits):
    """As :class:`r2b.hw.compressor.EqualBits`, by adders."""

    def elaborate(self, platform) -> Module:
        """The tree, from its root."""
        m = Module()
        same = Signal(self.lanes)
        times = times_of(self.lanes)
        count = _count(m, list(same), level_of(self.lanes), times)
        m.d.comb += [same.eq(~(self.a ^ self.w)), self.o.eq(count)]
        return m


def _count(m: Module, bits: list[Value], level: int, times: list[int]) -> Value:
    """How many bits are set, ``times[level]`` cycles later."""
    own = level_of(len(bits))
    if own < level:
        return _late(m, _count(m, bits, own, times), times[level] - times[own])
    if not own:
        return _late(m, Cat(compressor.count_of(bits)), times[0])
    half = len(bits) // 2
    carry = _late(m, bits[0], times[own - 1])
    low, high = (_count(m, part, own - 1, times) for part in (bits[1 : 1 + half], bits[1 + half :]))
    total = Cat(Const(1, 1), low) + Cat(carry, high)  # the lowest bits make the carry
    return _late(m, total[1 : 1 + len(bits).bit_length()], times[own] - times[own - 1])


def _late(m: Module, value: Value, cycles: int) -> Value:
    """The value some cycles later."""
    for _ in range(cycles):
        register = Signal.like(value, name="count", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value


@cache
def level_of(lanes: int) -> int:
    """Levels of adders."""
    return 0 if lanes <= LEAF else 1 + level_of(lanes // 2)


def times_of(lanes: int) -> list[int]:
    """Cycles from operands to the sums of every level, the leaves' first."""
    levels, cycles = level_of(lanes), latency_of(lanes) - 1
    return [1 + level * cycles // levels for level in range(levels + 1)] if levels else [1 + cycles]


@cache
def register_bits(lanes: int) -> int:
    """Registers between operands and count."""
    return _bits(lanes, level_of(lanes), times_of(lanes))


def _bits(lanes: int, level: int, times: list[int]) -> int:
    own, width = level_of(lanes), lanes.bit_length()
    if own < level:
        return _bits(lanes, own, times) + width * (times[level] - times[own])
    if not own:
        return width * times[0]
    halves = (lanes // 2, lanes - 1 - lanes // 2)
    below = sum(_bits(half, own - 1, times) for half in halves)
    return below + times[own - 1] + width * (times[own] - times[own - 1])


__all__ = ["EqualBits", "latency_of", "register_bits"]
