"""Dot products over the input lanes of one processing element: bipolar and integer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FIRST_LEVEL = 3
"""Lanes summed before the first register of a popcount: a full adder that takes the XNORs in."""
COUNT_FAN_IN, FAN_IN = 3, 4
"""Operands per adder between two registers, of a popcount and of a sum of products. A popcount of
64 is 182 LUT4 so, and 298 with 8 lanes and 4 operands; 127 and 125 LUT6."""


def tree_levels(operands: int, fan_in: int = FAN_IN) -> int:
    """Registered levels of an adder tree with ``fan_in`` operands per adder; at least one."""
    levels = 1
    while operands > fan_in:
        operands = -(-operands // fan_in)
        levels += 1
    return levels


def add_tree(m: Module, operands: list, fan_in: int = FAN_IN, ones: Sequence[Value] = ()) -> Value:
    """Registered adder tree; the sum comes ``tree_levels(len(operands), fan_in)`` cycles later.

    ``ones`` are bits that are added, too, by the first level; one per operand or none.
    """
    for _ in range(tree_levels(len(operands), fan_in)):
        sums = []
        for first in range(0, len(operands), fan_in):
            total = sum(operands[first + 1 : first + fan_in], operands[first])
            total = sum(ones[first : first + fan_in], total)
            register = Signal.like(total, name="sum", reset_less=True)
            m.d.sync += register.eq(total)
            sums.append(register)
        operands, ones = sums, ()
    return operands[0]


class BipolarDot(wiring.Component):
    """``o = 2 * popcount(xnor(a, w)) - n``, the dot product of n bipolar values.

    Lanes that are not used carry a = 0 and w = 1, which the XNOR turns into 0. Latency:
    ``BipolarDot.latency_of(lanes)`` cycles; one result per cycle.

    Parameters
    ----------
    lanes : int
        P_in.

    Members
    -------
    a, w : In(lanes)
        Activation and weight bits; bit b stands for 2b - 1.
    n : In(range(lanes + 1))
        Number of lanes in use; read in the cycle before ``o``.
    o : Out(signed)
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.latency = self.latency_of(lanes)
        super().__init__(
            {"a": In(lanes), "w": In(lanes), "n": In(range(lanes + 1)),
             "o": Out(signed(self.width_of(lanes)))}
        )  # fmt: skip

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from ``a`` and ``w`` to ``o``: first level, tree, subtraction."""
        return 1 + tree_levels(-(-lanes // FIRST_LEVEL), COUNT_FAN_IN) + 1

    @staticmethod
    def width_of(lanes: int) -> int:
        """Bits of ``o``: signed, -lanes to lanes."""
        return lanes.bit_length() + 1

    @staticmethod
    def compute(a: np.ndarray, w: np.ndarray, n: int) -> int:
        """The same in software, on arrays of bits."""
        return 2 * int(np.count_nonzero(np.asarray(a) == np.asarray(w))) - n

    def elaborate(self, platform) -> Module:
        """Groups of FIRST_LEVEL lanes, then a registered tree."""
        m = Module()
        same = Signal(self.lanes)
        m.d.comb += same.eq(~(self.a ^ self.w))
        groups = []
        for first in range(0, self.lanes, FIRST_LEVEL):
            bits = list(same[first : first + FIRST_LEVEL])
            count = Signal(range(len(bits) + 1), name="count", reset_less=True)
            m.d.sync += count.eq(sum(bits[1:], bits[0]))
            groups.append(count)
        popcount = add_tree(m, groups, COUNT_FAN_IN)
        m.d.sync += self.o.eq((popcount << 1) - self.n)
        return m


class IntegerDot(wiring.Component):
    """``o = sum(a[i] * w[i])`` over the lanes, signed.

    Latency ``IntegerDot.latency_of(lanes)`` cycles: operands are registered, multiplied,
    registered and summed; one result per cycle. One multiplier per lane.

    Parameters
    ----------
    lanes, a_width, w_width : int
        Lanes and signed operand widths.
    """

    def __init__(self, lanes: int, a_width: int, w_width: int) -> None:
        self.lanes, self.a_width, self.w_width = lanes, a_width, w_width
        self.latency = self.latency_of(lanes)
        width = a_width + w_width + (lanes - 1).bit_length()
        super().__init__(
            {"a": In(lanes * a_width), "w": In(lanes * w_width), "o": Out(signed(width))}
        )

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from the operands to ``o``: product register, tree."""
        return 1 + tree_levels(lanes)

    @staticmethod
    def compute(a: np.ndarray, w: np.ndarray) -> int:
        """The same in software."""
        return int(np.dot(np.asarray(a, dtype=np.int64), np.asarray(w, dtype=np.int64)))

    def elaborate(self, platform) -> Module:
        """A multiplier and a register per lane, then a registered tree."""
        m = Module()
        products = []
        for lane in range(self.lanes):
            a = self.a.word_select(lane, self.a_width).as_signed()
            w = self.w.word_select(lane, self.w_width).as_signed()
            product = Signal(signed(self.a_width + self.w_width), name="product", reset_less=True)
            m.d.sync += product.eq(a * w)
            products.append(product)
        m.d.comb += self.o.eq(add_tree(m, products))
        return m


__all__ = ["BipolarDot", "IntegerDot", "add_tree", "tree_levels"]
