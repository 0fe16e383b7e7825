"""Other products of the MAC array than one DSP block each: two in one block, and none of it."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from r2b.hw.dot import IntegerDot, add_tree
from r2b.hw.packing import field_of


class PackedDot(wiring.Component):
    """Two dot products of the same activations: ``o[k] = sum(a[i] * w[k][i])`` over the lanes.

    One DSP block per lane. The product has ``2**(field-1)`` added, by the block's own adder, and is
    then the sum of two fields that do not borrow from each other: the upper one is ``a * w1``, the
    lower one is ``a * w0`` with its sign bit inverted. Latency ``PackedDot.latency_of(lanes)``
    cycles; one pair of results per cycle.

    Parameters
    ----------
    lanes, a_width, w_width : int
        Lanes and signed operand widths; weights are never ``-2**(w_width-1)``.

    Members
    -------
    a : In(lanes * a_width)
    w0, w1 : In(lanes * w_width)
        Weights as :func:`r2b.hw.packing.stored` has them: ``w1 - (w0 < 0)`` in place of w1.
    o0, o1 : Out(signed)
    """

    def __init__(self, lanes: int, a_width: int, w_width: int) -> None:
        self.lanes, self.a_width, self.w_width = lanes, a_width, w_width
        self.field = field_of(a_width, w_width)
        self.latency = self.latency_of(lanes)
        width = a_width + w_width + (lanes - 1).bit_length()
        weights = In(lanes * w_width)
        super().__init__(
            {"a": In(lanes * a_width), "w0": weights, "w1": weights,
             "o0": Out(signed(width)), "o1": Out(signed(width))}
        )  # fmt: skip

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from the operands to ``o0`` and ``o1``: as without packing."""
        return IntegerDot.latency_of(lanes)

    def elaborate(self, platform) -> Module:
        """A multiplier with a constant added and a register per lane, then two registered trees."""
        m = Module()
        lows, highs = [], []
        for lane in range(self.lanes):
            a = self.a.word_select(lane, self.a_width).as_signed()
            w0, w1 = (w.word_select(lane, self.w_width) for w in (self.w0, self.w1))
            sign = w0[-1].replicate(self.field - self.w_width)
            factor = Cat(w0, sign, w1).as_signed()
            width = self.a_width + len(factor)
            product = Signal(signed(width), name="product", reset_less=True)
            m.d.sync += product.eq(a * factor + (1 << (self.field - 1)))
            lows.append(Cat(product[: self.field - 1], ~product[self.field - 1]).as_signed())
            highs.append(product[self.field :].as_signed())
        m.d.comb += [self.o0.eq(add_tree(m, lows)), self.o1.eq(add_tree(m, highs))]
        return m


@dataclass(frozen=True)
class Partial:
    """``value + one``, where ``one`` is a bit that a later adder takes as its carry."""

    value: Value
    one: Value


class LutDot(wiring.Component):
    """``o = sum(a[i] * w[i])`` over the lanes, signed, without a DSP block.

    Weights become digits -1, 0, 1, 2 of radix 4, the last one -2 to 2, so that a bit of a partial
    product is a function of two bits of the activation and of the digit: one LUT4. A negative digit
    inverts the activation; the 1 that is missing is the carry of the adder that adds the row. The
    last such 1 is added by the tree. Latency ``LutDot.latency_of(lanes, w_width)`` cycles; one
    result per cycle.

    Parameters
    ----------
    lanes, a_width, w_width : int
        Lanes and signed operand widths; ``w_width`` is even.

    Members
    -------
    a : In(lanes * a_width)
    w : In(lanes * w_width)
        Read in a cycle with ``load``, and kept for the activations of that cycle and later ones.
    load : In(1)
    o : Out(signed)
    """

    def __init__(self, lanes: int, a_width: int, w_width: int) -> None:
        self.lanes, self.a_width, self.w_width = lanes, a_width, w_width
        self.latency = self.latency_of(lanes, w_width)
        width = a_width + w_width + (lanes - 1).bit_length()
        super().__init__(
            {"a": In(lanes * a_width), "w": In(lanes * w_width), "load": In(1),
             "o": Out(signed(width))}
        )  # fmt: skip

    @staticmethod
    def delay_of(w_width: int) -> int:
        """Cycles more than with DSP blocks: digits, and all levels of adders but one."""
        return (w_width // 2 - 1).bit_length()

    @staticmethod
    def latency_of(lanes: int, w_width: int) -> int:
        """Cycles from the operands to ``o``."""
        return LutDot.delay_of(w_width) + IntegerDot.latency_of(lanes)

    def elaborate(self, platform) -> Module:
        """Digits per lane, rows, adders two by two, and the tree over the lanes."""
        m = Module()
        products = [self._product(m, lane) for lane in range(self.lanes)]
        values, ones = [p.value for p in products], [p.one for p in products]
        m.d.comb += self.o.eq(add_tree(m, values, ones=ones))
        return m

    def _product(self, m: Module, lane: int) -> Partial:
        """A row per digit, then sums of two until one is left; every level has a register."""
        a = Signal(signed(self.a_width), name="operand", reset_less=True)
        m.d.sync += a.eq(self.a.word_select(lane, self.a_width))
        parts = self._rows(m, a, self.w.word_select(lane, self.w_width))
        shift = 2
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [_add(m, low, high, shift) for low, high in pairs]
            shift *= 2
        return parts[0]

    def _rows(self, m: Module, a: Signal, w: Value) -> list[Partial]:
        """The activation times each digit; what a digit exceeds 2 by goes to the next one."""
        carry: Value | int = 0
        rows: list[Partial] = []
        for place in range(0, self.w_width - 2, 2):
            digit = Signal(3, name="digit")
            m.d.comb += digit.eq(w[place : place + 2] + carry)
            carry = digit >= 3
            rows.append(self._row(m, a, digit, digit == 3))
        digit = Signal(signed(3), name="digit")
        m.d.comb += digit.eq(w[-2:].as_signed() + carry)
        last = self._row(m, a, Mux(digit[2], -digit, digit), digit[2])
        flipped = last.value.as_unsigned() ^ last.one.replicate(len(last.value))
        return [*rows, Partial(flipped.as_signed(), last.one)]

    def _row(self, m: Module, a: Signal, digit: Value, negative: Value) -> Partial:
        """The activation times a digit of 0, 1, 2 or 3, which stands for -1, less ``negative``."""
        code, one = Signal(2, name="code", reset_less=True), Signal(name="one", reset_less=True)
        with m.If(self.load):
            m.d.sync += [code.eq(digit), one.eq(negative)]
        row = Signal(signed(self.a_width + 1), name="row")
        with m.Switch(code):
            with m.Case(1):
                m.d.comb += row.eq(a)
            with m.Case(2):
                m.d.comb += row.eq(a << 1)
            with m.Case(3):
                m.d.comb += row.eq(~a)
        return Partial(row, one)


def _add(m: Module, low: Partial, high: Partial, shift: int) -> Partial:
    """``low + (high << shift)``, registered; the lowest bits need no adder."""
    width = max(len(low.value) - shift, len(high.value)) + 1
    upper = Signal(signed(width), name="upper", reset_less=True)
    lower = Signal(shift, name="lower", reset_less=True)
    one = Signal(name="one", reset_less=True)
    m.d.sync += [
        upper.eq(low.value[shift:].as_signed() + high.value.as_signed() + high.one),
        lower.eq(low.value[:shift]),
        one.eq(low.one),
    ]
    return Partial(Cat(lower, upper).as_signed(), one)


__all__ = ["LutDot", "PackedDot"]
