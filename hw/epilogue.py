"""The epilogue lanes: per value one multiplication, rounding, skip add and saturation."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Array, Assert, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch
from r2b.hw.memory import registered_read, rom, sum_read
from r2b.hw.rounds import (
    CONSTANTS,
    GATE,
    MEMORY,
    SHIFTED,
    SUMS,
    TOTAL,
    EpilogueParams,
    RoundParams,
    factor_layout,
)
from r2b.ir import arith
from r2b.ir.program import MULTIPLIER_BITS, Affine

LOGIC_BITS = 6
LOGIC_ROWS = 1 << LOGIC_BITS
"""Rows of a table of LUTs that are looked up in a cycle."""


def gate_layout(lanes: int) -> data.ArrayLayout:
    """The gate's slopes for one word of channels."""
    slope = signed(MULTIPLIER_BITS)
    return data.ArrayLayout(data.StructLayout({"gn": slope, "gp": slope}), lanes)


def token_layout(request: data.StructLayout) -> data.StructLayout:
    """What travels with a value to its sinks."""
    field = dict(request.members)
    names = ("valid", "first", "channel", "fm", "sm", "sm_bank", "row", "col", "frame")
    return data.StructLayout({name: field[name] for name in names if name in field})


class Epilogue(wiring.Component):
    """``v = sat(rs(acc * M[i] + B[i], shift) + skip, low, high)`` with ``i = acc >= knot``.

    With more rounds the same again on v, with constants of their own. A round's factor may also be
    the gate's (``i = acc >= 0``), a stored tensor's or the position's; a table may follow. Free-
    running: one word of ``lanes`` values per cycle, ``params.latency`` cycles after its request.

    Parameters
    ----------
    params : EpilogueParams
    descriptor, request : StructLayout
    batch : Batch

    Members
    -------
    d : In(descriptor)
        Stable while a stage's values are under way.
    request : In(request)
    acc : In
        The sums, SUMS cycles after their request.
    gate_addr : Out, gate_data : In
        Slopes of a word of channels, GATE cycles after their address.
    gate_frame : Out
        Whose slopes, with several frames.
    skip_addr, multiply_addr : Out, skip_data, multiply_data : In
        Feature memory, MEMORY cycles after the address; the second only where a stage multiplies.
    token, values : Out
    """

    def __init__(self, params: EpilogueParams, descriptor, request, batch: Batch = ALONE) -> None:
        self.params, self.batch = params, batch
        p = params
        address, word = (
            dict(request.members)["fm"],
            data.ArrayLayout(signed(p.value_width), p.lanes),
        )
        members = {
            "d": In(descriptor),
            "request": In(request),
            "acc": In(data.ArrayLayout(signed(p.acc_width), p.lanes)),
            "gate_addr": Out(dict(request.members)["channel"]),
            "gate_data": In(gate_layout(p.lanes)),
            "skip_addr": Out(address),
            "skip_data": In(word),
            "token": Out(token_layout(request)),
            "values": Out(word),
        }
        if batch.several:
            members["gate_frame"] = Out(range(batch.frames))
        self.multiplies = any(part.multiply for part in p.rounds)
        if self.multiplies:
            members |= {"multiply_addr": Out(address), "multiply_data": In(word)}
        super().__init__(members)

    @staticmethod
    def compute(acc: np.ndarray, step: Affine, skip, low: int, high: int) -> np.ndarray:
        """A round in software, per channel."""
        value = arith.piecewise_affine(acc, step.knot, step.multiplier, step.offset, step.shift)
        return arith.sat(value + skip, low, high)

    def elaborate(self, platform) -> Module:
        """Constants are looked up while the operands are; then one register per operation."""
        m = Module()
        p = self.params
        self.tokens = tokens = [self.request]
        for age in range(p.latency):
            token = Signal(token_layout(self.request.shape()), name=f"token_{age + 1}")
            m.d.sync += [token[name].eq(tokens[-1][name]) for name, _ in token.shape()]
            tokens.append(token)
        m.d.comb += [
            self.gate_addr.eq(tokens[SUMS - GATE].channel),
            self.token.eq(tokens[p.latency]),
        ]
        if self.batch.several:
            m.d.comb += self.gate_frame.eq(tokens[SUMS - GATE].frame)
        self._addresses(m)
        values = self.acc
        for part in p.rounds:
            values = self._round(m, part, values)
        m.d.comb += self.values.eq(values)
        return m

    def _addresses(self, m: Module) -> None:
        """What is added, and what is multiplied by, each in the round the descriptor names."""
        p, d, tokens = self.params, self.d, self.tokens
        skip = 0
        for part in p.rounds:
            if part.skip:
                fm = tokens[p.start(part.index) + SHIFTED - MEMORY].fm
                skip = Mux(d[f"skip{part.index}"], fm, skip) if part.index else fm
            if part.multiply:
                with m.If(d[f"multiply{part.index}"]):
                    self._factor_address(m, tokens[p.start(part.index) - MEMORY])
        m.d.comb += self.skip_addr.eq(skip + d.skip_base)

    def _factor_address(self, m: Module, token) -> None:
        """The word of the same place, of the same channels, or of the same pixel."""
        d = self.d
        base = d.multiply_base
        if self.batch.several:  # fm has it in it
            base = base + self.batch.offset(token.frame, self.batch.fm)
        with m.If(d.multiply_channel):
            m.d.comb += self.multiply_addr.eq(base + token.channel)
        with m.Elif(d.multiply_pixel):
            m.d.comb += self.multiply_addr.eq(base + token.row * d.cols + token.col)
        with m.Else():
            m.d.comb += self.multiply_addr.eq(d.multiply_base + token.fm)

    def _round(self, m: Module, p: RoundParams, values):
        """Values of a round from those of the one before it."""
        d, index = self.d, p.index
        age = self.params.start(index)
        base = d.group_base if index else d.param_base
        before, shift = self.tokens[age - CONSTANTS], d[f"shift{index}" if index else "shift"]
        constants = _constants(m, p, base + before.channel, f"constants_{index}")
        out = Signal(data.ArrayLayout(signed(p.out_width), p.lanes), name=f"round_{index}")
        half = self._half(m, p, shift)
        others = self._factors(m, p, before)
        for lane in range(p.lanes):
            constant, value = constants[lane], values[lane]
            upper = value >= constant.knot
            factor = Mux(upper, constant.m1, constant.m0)
            offset = Mux(upper, constant.b1, constant.b0)
            for chosen, found in others:
                factor = Mux(chosen, found(value, lane), factor)
                offset = Mux(chosen, half, offset)
            total = _multiply(m, p, value, factor, offset, self.tokens[age + TOTAL].valid)
            shifted = _shift(m, p, total, shift)
            if p.skip:
                added = d[f"skip{index}"] if index else self._first_skip()
                shifted = shifted + Mux(added, self.skip_data[lane], 0)
            summed = Signal(shifted.shape(), name="summed", reset_less=True)
            m.d.sync += summed.eq(shifted)
            low, high = (d[f"{n}{index}" if index else n] for n in ("low", "high"))
            if p.table:
                limited = Signal(signed(len(summed)), name=f"argument_{index}")
                _saturate(m, summed, low, high, limited)
                self._table(m, p, lane, limited, out[lane])
            else:
                _saturate(m, summed, low, high, out[lane])
        return out

    def _first_skip(self):
        """Whether the stage's skip is added in the first round."""
        d = self.d
        later = [d[f"skip{part.index}"] for part in self.params.rounds[1:] if part.skip]
        return d.skip & ~Cat(later).any() if later else d.skip

    def _factors(self, m: Module, p: RoundParams, before) -> list:
        """Choices of a factor besides the constants: the condition, and the factor of a lane."""
        d, index, found = self.d, p.index, []
        if p.gated:
            gate = self.gate_data
            found.append((d.gated, lambda v, i: Mux(v >= 0, gate[i].gp, gate[i].gn)))
        if p.multiply:
            word = self.multiply_data
            found.append(
                (d[f"multiply{index}"], lambda _, i: Mux(d.multiply_pixel, word[0], word[i]))
            )
        if p.spatial:
            layout = factor_layout(p.lanes)
            table = rom(m, f"spatial_{index}", layout, [layout.from_bits(r) for r in p.spatial])
            place = d.spatial_base + before.fm
            if self.batch.several:  # all frames have the same factors
                place = place - self.batch.offset(before.frame, self.batch.fm)
            factors = _read(m, table, place, f"spatial_{index}")
            found.append((d[f"spatial{index}"], lambda _, i: factors[i]))
        return found

    def _half(self, m: Module, p: RoundParams, shift):
        """``2**(shift - 1)``, the offset of a product without constants."""
        half = Signal(p.shift_low + (1 << p.shift_bits), name=f"half_{p.index}")
        with m.Switch(shift):
            for value in range(p.shift_low, p.shift_low + (1 << p.shift_bits)):
                with m.Case(value & ((1 << len(shift)) - 1)):
                    m.d.comb += half.eq(1 << (value - 1))
        return half

    def _table(self, m: Module, p: RoundParams, lane: int, argument, out) -> None:
        """The entry of a saturated argument, or the argument; a cycle later."""
        d, index = self.d, p.index
        table = rom(m, f"table_{index}_{lane}", signed(p.out_width), list(p.table))
        port = table.read_port(domain="comb")
        m.d.comb += port.addr.eq(argument + d[f"table_base{index}"])
        m.d.sync += out.eq(Mux(d[f"table{index}"], port.data, argument))


def _constants(m: Module, p: RoundParams, address, name: str):
    """A word of static constants, CONSTANTS cycles after its address."""
    rows = [p.layout.from_bits(row) for row in p.rows]
    if p.logic:
        return _read_logic(m, name, p.layout, rows, address)
    return _read(m, rom(m, name, p.layout, rows), address, name)


def _read_logic(m: Module, name: str, layout, rows: list, address):
    """A word of a table of LUTs, CONSTANTS cycles after its address: of each LOGIC_ROWS rows one is
    looked up, then one of these is chosen.
    """
    place = Signal(range(max(2, len(rows))), name=f"{name}_place", reset_less=True)
    m.d.sync += place.eq(address)
    found = []
    for first in range(0, max(1, len(rows)), LOGIC_ROWS):
        part = rom(m, f"{name}_{first}", layout, rows[first : first + LOGIC_ROWS], logic=True)
        found.append(registered_read(m, part, place[:LOGIC_BITS], f"{name}_{first}_q"))
    which = Signal(range(max(2, len(found))), name=f"{name}_which", reset_less=True)
    word = Signal(layout, name=f"{name}_word", reset_less=True)
    m.d.sync += [which.eq(place[LOGIC_BITS:]), word.eq(Array(found)[which])]
    return word


def _read(m: Module, memory: Memory, address, name: str):
    """A word, CONSTANTS cycles after its address; block RAM is too slow to compare in the cycle
    that reads it.
    """
    word = Signal(memory.shape, name=f"{name}_word", reset_less=True)
    m.d.sync += word.eq(sum_read(m, memory, address, name))
    return word


def _multiply(m: Module, p: RoundParams, value, factor, offset, valid):
    """``value * factor + offset``, three cycles later."""
    operand = Signal(signed(p.operand_width), name="operand", reset_less=True)
    multiplier = Signal(signed(MULTIPLIER_BITS), name="factor", reset_less=True)
    offsets = [Signal(signed(p.sum_width), name=f"offset_{i}", reset_less=True) for i in range(2)]
    product = Signal(signed(p.operand_width + MULTIPLIER_BITS), name="product", reset_less=True)
    exact = Signal(signed(p.sum_width + 1), name="exact")
    total = Signal(signed(p.sum_width), name="total", reset_less=True)
    m.d.comb += exact.eq(product + offsets[1])
    with m.If(valid):
        m.d.sync += Assert(exact == exact[: p.sum_width].as_signed())
    m.d.sync += [
        operand.eq(value),
        multiplier.eq(factor),
        offsets[0].eq(offset),
        product.eq(operand * multiplier),
        offsets[1].eq(offsets[0]),
        total.eq(exact),
    ]
    return total


def _shift(m: Module, p: RoundParams, total, shift):
    """``total >> shift``, a cycle later; the shift is a stage's, and registered for all lanes."""
    extra = Signal(unsigned(max(1, p.shift_bits)), name="extra")
    shifted = Signal(signed(p.sum_width - p.shift_low), name="shifted", reset_less=True)
    m.d.sync += extra.eq(shift - p.shift_low)
    m.d.sync += shifted.eq((total >> p.shift_low) >> extra)
    return shifted


def _saturate(m: Module, value, low, high, out) -> None:
    """``out`` is ``value`` within the bounds, a cycle later."""
    exact = Signal.like(value, name="value")
    m.d.comb += exact.eq(value)
    with m.If(exact < low):
        m.d.sync += out.eq(low)
    with m.Elif(exact > high):
        m.d.sync += out.eq(high)
    with m.Else():
        m.d.sync += out.eq(exact)
