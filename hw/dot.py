"""Dot products of integers over the input lanes of one processing element, and adder trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

FAN_IN = 4
"""Operands per adder between two registers."""


def tree_levels(operands: int) -> int:
    """Registered levels of an adder tree with FAN_IN operands per adder; at least one."""
    levels = 1
    while operands > FAN_IN:
        operands = -(-operands // FAN_IN)
        levels += 1
    return levels


def add_tree(m: Module, operands: list, ones: Sequence[Value] = ()) -> Value:
    """Registered adder tree; the sum comes ``tree_levels(len(operands))`` cycles later.

    ``ones`` are bits that are added, too, by the first level; one per operand or none.
    """
    for _ in range(tree_levels(len(operands))):
        sums = []
        for first in range(0, len(operands), FAN_IN):
            total = sum(operands[first + 1 : first + FAN_IN], operands[first])
            total = sum(ones[first : first + FAN_IN], total)
            register = Signal.like(total, name="sum", reset_less=True)
            m.d.sync += register.eq(total)
            sums.append(register)
        operands, ones = sums, ()
    return operands[0]


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


__all__ = ["IntegerDot", "add_tree", "tree_levels"]
