"""Counts equal bits of two words by compressors of six and three bits, the size of LUTs.

Columns of bits of equal weight become lower level by level: six bits of a column are counted by
three functions of the same six inputs, three bits by two. The first level takes three pairs of
operand bits, which are six inputs, too. A register follows the first level, so that synthesis
leaves its functions whole, and every LEVELS-th after it. What is left, at most ROWS bits of each
weight, are rows that a registered tree of adders sums::

    latency = ceil(levels / LEVELS) + adder levels
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

LEVELS = 3
"""Levels of compressors between registers."""
ROWS = 4
"""Most bits of a weight that are left to the adders."""
LANES = 3
"""Pairs of operand bits that are counted at once."""
SIZE = 6
"""Most bits that are counted at once."""
TAILS = ((), (1,), (1, 1), (3,), (3, 1), (5,))
"""How so many bits of a column are split that are left of sixes; a pair is no fewer bits after."""
Columns = list[list[Value]]
"""Bits of weight 1, 2, 4 ..."""
Keep = Callable[[Value], Value]


def _as_it_is(value: Value) -> Value:
    """Where only the shape is asked for."""
    return value


class EqualBits(wiring.Component):
    """``o = popcount(xnor(a, w))``, ``latency_of(lanes)`` cycles later; one result per cycle.

    Parameters
    ----------
    lanes : int

    Members
    -------
    a, w : In(lanes)
    o : Out(range(lanes + 1))
    """

    def __init__(self, lanes: int) -> None:
        self.lanes, self.latency = lanes, latency_of(lanes)
        super().__init__({"a": In(lanes), "w": In(lanes), "o": Out(range(lanes + 1))})

    @staticmethod
    def compute(a: np.ndarray, w: np.ndarray) -> int:
        """The same in software, on arrays of bits."""
        return int(np.count_nonzero(np.asarray(a) == np.asarray(w)))

    def elaborate(self, platform) -> Module:
        """Levels of compressors, then rows."""
        m = Module()
        wired = partial(_wired, m)
        columns = first_level(self.a, self.w)
        for level in range(1, levels_of(self.lanes) + 1):
            if level > 1:
                columns = compress(columns, wired)
            keep = partial(_registered, m) if _registers_follow(level) else wired
            columns = [[keep(bit) for bit in column] for column in columns]
        m.d.comb += self.o.eq(self._sum(m, _rows(columns)))
        return m

    def _sum(self, m: Module, rows: list[Value]) -> Value:
        """Two rows at a time, a register behind each."""
        width = len(self.o)
        while True:
            pairs = [rows[at : at + 2] for at in range(0, len(rows), 2)]
            rows = [_registered(m, sum(pair[1:], pair[0])[:width]) for pair in pairs]
            if len(rows) == 1:
                return rows[0]


@cache
def latency_of(lanes: int) -> int:
    """Cycles from operands to their count."""
    rows = max(map(len, _columns(lanes)))
    return -(-levels_of(lanes) // LEVELS) + max(1, (rows - 1).bit_length())


@cache
def levels_of(lanes: int) -> int:
    """Levels of compressors, the first one included."""
    columns, levels = _first_columns(lanes), 1
    while max(map(len, columns)) > ROWS:
        columns, levels = compress(columns), levels + 1
    return levels


@cache
def register_bits(lanes: int) -> int:
    """Registers between operands and count."""
    columns, found = _first_columns(lanes), 0
    for level in range(1, levels_of(lanes) + 1):
        columns = compress(columns) if level > 1 else columns
        found += sum(map(len, columns)) if _registers_follow(level) else 0
    widths = [len(row) for row in _rows(columns)]
    while True:
        pairs = [widths[at : at + 2] for at in range(0, len(widths), 2)]
        widths = [min(lanes.bit_length(), max(pair) + len(pair) - 1) for pair in pairs]
        found += sum(widths)
        if len(widths) == 1:
            return found


def _first_columns(lanes: int) -> Columns:
    return first_level(Const(0, lanes), Const(0, lanes))


def _columns(lanes: int) -> Columns:
    """What is left to the adders."""
    columns = _first_columns(lanes)
    for _ in range(1, levels_of(lanes)):
        columns = compress(columns)
    return columns


def first_level(a: Value, w: Value) -> Columns:
    """LANES lanes at a time."""
    counts = [
        _equal(a[lane : lane + LANES], w[lane : lane + LANES]) for lane in range(0, len(a), LANES)
    ]
    height = max(map(len, counts))
    return [[count[k] for count in counts if k < len(count)] for k in range(height)]


def _equal(a: Value, w: Value) -> list[Value]:
    """How many of up to LANES lanes are equal.

    The parity is not written as that of the lanes' XNORs, which the carry has: synthesis would make
    a LUT of each of them instead of one LUT of all six inputs.
    """
    counted = count_of([~(a[lane] ^ w[lane]) for lane in range(len(a))])
    if len(a) < LANES:
        return counted
    parity = (a[0] ^ a[1]) ^ (w[1] ^ w[2]) ^ (a[2] ^ w[0])
    return [~parity, counted[1]]


def _registers_follow(level: int) -> bool:
    return level % LEVELS == 1


def compress(columns: Columns, keep: Keep = _as_it_is) -> Columns:
    """One level; ``keep`` names what is used more than once."""
    found: Columns = [[] for _ in range(len(columns) + 2)]
    for weight, bits in enumerate(columns):
        at = 0
        for size in (SIZE,) * (len(bits) // SIZE) + TAILS[len(bits) % SIZE]:
            for more, bit in enumerate(count_of(bits[at : at + size], keep)):
                found[weight + more].append(bit)
            at += size
    return [column for column in found if column]


def count_of(bits: list[Value], keep: Keep = _as_it_is) -> list[Value]:
    """How many of up to SIZE bits are set, as bits of weight 1, 2 and 4."""
    low, low_carry = _full(bits[:3])
    if len(bits) <= 3:
        return [low, low_carry][: len(bits).bit_length()]
    high, high_carry = map(keep, _full(bits[3:]))
    low, low_carry = keep(low), keep(low_carry)
    both = keep(low & high)
    odd = keep(low_carry ^ high_carry)
    return [low ^ high, odd ^ both, (low_carry & high_carry) | (both & odd)]


def _full(bits: list[Value]) -> tuple[Value, Value]:
    """Sum and carry of up to three bits."""
    a, b, c = [*bits, Const(0, 1), Const(0, 1)][:3]
    return a ^ b ^ c, (a & b) | (c & (a | b))


def _rows(columns: Columns) -> list[Value]:
    """The columns' bits as numbers, the lower ones longer."""
    height = max(map(len, columns))
    return [
        Cat(
            column[row] if row < len(column) else Const(0, 1)
            for weight, column in enumerate(columns)
            if any(row < len(higher) for higher in columns[weight:])
        )
        for row in range(height)
    ]


def _registered(m: Module, value: Value) -> Signal:
    register = Signal.like(value, name="count", reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _wired(m: Module, value: Value) -> Signal:
    """The value by a name: else whoever uses it repeats all of it, and Verilog of 64x64 takes twice
    as long to write.
    """
    wire = Signal.like(value, name="bit")
    m.d.comb += wire.eq(value)
    return wire


__all__ = ["EqualBits", "compress", "count_of", "first_level", "latency_of", "register_bits"]
