"""The epilogue lanes: per value one multiplication, rounding, skip add and saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Assert, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from r2b.hw.descriptor import field_shape
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.memory import registered_read, rom
from r2b.ir import arith
from r2b.ir.program import MULTIPLIER_BITS, Affine


@dataclass(frozen=True)
class EpilogueParams:
    """Widths and constants of the epilogue lanes, proved from a Program's own constants.

    Parameters
    ----------
    lanes : int
        E.
    acc_width, value_width : int
        Bits of a sum and of a stored value (R), signed.
    knot, offset : Shape
        Of the static steps' constants; offsets hold the rounding half too.
    shift_low, shift_bits : int
        Shifts are ``shift_low`` to ``shift_low + 2**shift_bits - 1``.
    sum_width : int
        Bits of ``acc * multiplier + offset``.
    rows : tuple of int
        The static constants, one row of ``lanes`` channels each, packed as ``layout``.
    """

    lanes: int
    acc_width: int
    value_width: int
    knot: object
    offset: object
    shift_low: int
    shift_bits: int
    sum_width: int
    rows: tuple[int, ...]

    @property
    def layout(self) -> data.ArrayLayout:
        """Static constants of one word of channels."""
        return data.ArrayLayout(
            data.StructLayout(
                {
                    "knot": self.knot,
                    "m0": signed(MULTIPLIER_BITS),
                    "m1": signed(MULTIPLIER_BITS),
                    "b0": self.offset,
                    "b1": self.offset,
                }
            ),
            self.lanes,
        )


LATENCY = 7
"""Cycles from a drain request to the epilogue's value: two in the array, then knot, product,
offset, shift, skip and saturation."""
VALID_TOTAL = 4
"""The request is this old when its product and offset are added."""
SKIP_LEAD = 4
"""The request is this old when the feature memory is asked for the skip value."""


def gate_layout(lanes: int) -> data.ArrayLayout:
    """The gate's slopes for one word of channels."""
    slope = signed(MULTIPLIER_BITS)
    return data.ArrayLayout(data.StructLayout({"gn": slope, "gp": slope}), lanes)


def affine_of(stage) -> Affine:
    """The stage's one affine step."""
    return next(step for step in stage.epilogue if isinstance(step, Affine))


def epilogue_params(geometry: ProgramGeometry, acc_width: int) -> EpilogueParams:
    """Widths and packed constants for a network."""
    lanes = geometry.plan.lanes
    steps = [(conv, affine_of(conv.stage)) for conv in geometry.convs]
    static = [step for _, step in steps if not step.gated]
    halves = [step.offset + (1 << (step.shift - 1)) for step in static]
    knots = [v for step in static for v in step.knot.tolist()]
    offsets = [int(v) for half in halves for v in half.ravel()]
    shifts = [step.shift for _, step in steps]
    widest = max((abs(v) for v in offsets), default=0) + (1 << max(shifts))
    limit = (1 << (acc_width - 1)) * (1 << (MULTIPLIER_BITS - 1)) + widest
    knot, offset = field_shape([-1, *knots]), field_shape([-1, *offsets])
    params = EpilogueParams(
        lanes, acc_width, geometry.plan.act_bits, knot, offset, min(shifts),
        (max(shifts) - min(shifts)).bit_length(), limit.bit_length() + 1, (),
    )  # fmt: skip
    rows: list[int] = []
    for conv, step in steps:
        if not step.gated:
            rows += _rows(params, step, conv.groups)
    return EpilogueParams(**{**vars(params), "rows": tuple(rows)})


def _rows(params: EpilogueParams, step: Affine, groups: int) -> list[int]:
    """A stage's constants, ``lanes`` channels per row; surplus lanes hold zeros."""
    half = 1 << (step.shift - 1)
    columns = {
        "knot": step.knot, "m0": step.multiplier[0], "m1": step.multiplier[1],
        "b0": step.offset[0] + half, "b1": step.offset[1] + half,
    }  # fmt: skip
    rows = []
    for group in range(groups):
        value = [
            {name: int(column[c]) for name, column in columns.items()} if c < len(step.knot) else {}
            for c in range(group * params.lanes, (group + 1) * params.lanes)
        ]
        rows.append(params.layout.const(value).as_value().value)
    return rows


def token_layout(request: data.StructLayout) -> data.StructLayout:
    """What travels with a value to its sinks."""
    field = dict(request.members)
    names = ("valid", "first", "channel", "fm", "sm", "sm_bank", "row", "col")
    return data.StructLayout({name: field[name] for name in names})


class Epilogue(wiring.Component):
    """``v = sat(rs(acc * M[i] + B[i], shift) + skip, low, high)`` with ``i = acc >= knot``.

    Free-running: one word of ``lanes`` values per cycle, LATENCY cycles after its request.

    Parameters
    ----------
    params : EpilogueParams
    descriptor, request : StructLayout

    Members
    -------
    d : In(descriptor)
        Stable while a stage's values are under way.
    request : In(request)
    acc : In
        The sums, two cycles after their request.
    gate_addr : Out, gate_data : In
        Slopes of a word of channels, one cycle after their address.
    skip_addr : Out, skip_data : In
        Feature memory, two cycles after the address.
    token, values : Out
    """

    def __init__(self, params: EpilogueParams, descriptor, request) -> None:
        self.params = params
        p = params
        super().__init__(
            {
                "d": In(descriptor),
                "request": In(request),
                "acc": In(data.ArrayLayout(signed(p.acc_width), p.lanes)),
                "gate_addr": Out(dict(request.members)["channel"]),
                "gate_data": In(gate_layout(p.lanes)),
                "skip_addr": Out(dict(request.members)["fm"]),
                "skip_data": In(data.ArrayLayout(signed(p.value_width), p.lanes)),
                "token": Out(token_layout(request)),
                "values": Out(data.ArrayLayout(signed(p.value_width), p.lanes)),
            }
        )

    @staticmethod
    def compute(acc: np.ndarray, step: Affine, skip, low: int, high: int) -> np.ndarray:
        """The same in software, per channel."""
        value = arith.piecewise_affine(acc, step.knot, step.multiplier, step.offset, step.shift)
        return arith.sat(value + skip, low, high)

    def elaborate(self, platform) -> Module:
        """Constants are looked up while the sums are; then one register per operation."""
        m = Module()
        p, d = self.params, self.d
        tokens = [self.request]
        for age in range(LATENCY):
            token = Signal(token_layout(self.request.shape()), name=f"token_{age + 1}")
            m.d.sync += [token[name].eq(tokens[-1][name]) for name, _ in token.shape()]
            tokens.append(token)
        self.valid_total = tokens[VALID_TOTAL].valid
        static = rom(m, "constants", p.layout, [p.layout.from_bits(row) for row in p.rows])
        constants = registered_read(m, static, d.param_base + tokens[1].channel, "constants_q")
        m.d.comb += [
            self.gate_addr.eq(tokens[1].channel),
            self.skip_addr.eq(tokens[SKIP_LEAD].fm + d.skip_base),
            self.token.eq(tokens[LATENCY]),
        ]
        for lane in range(p.lanes):
            self._lane(m, lane, constants[lane])
        return m

    def _lane(self, m: Module, lane: int, constants) -> None:
        p, d = self.params, self.d
        acc, gate = self.acc[lane], self.gate_data[lane]
        half = Signal(p.shift_low + (1 << p.shift_bits))  # 2**(shift - 1), a gated step's offset
        with m.Switch(d.shift):
            for shift in range(p.shift_low, p.shift_low + (1 << p.shift_bits)):
                with m.Case(shift & ((1 << len(d.shift)) - 1)):
                    m.d.comb += half.eq(1 << (shift - 1))
        operand = Signal(signed(p.acc_width), reset_less=True)
        factor = Signal(signed(MULTIPLIER_BITS), reset_less=True)
        offsets = [
            Signal(signed(p.sum_width), name=f"offset_{i}", reset_less=True) for i in range(2)
        ]
        upper = Mux(d.gated, acc >= 0, acc >= constants.knot)
        with m.If(d.gated):
            m.d.sync += [factor.eq(Mux(upper, gate.gp, gate.gn)), offsets[0].eq(half)]
        with m.Else():
            m.d.sync += factor.eq(Mux(upper, constants.m1, constants.m0))
            m.d.sync += offsets[0].eq(Mux(upper, constants.b1, constants.b0))
        product = Signal(signed(p.acc_width + MULTIPLIER_BITS), reset_less=True)
        exact = Signal(signed(p.sum_width + 1))
        m.d.comb += exact.eq(product + offsets[1])
        with m.If(self.valid_total):
            m.d.sync += Assert(exact == exact[: p.sum_width].as_signed())
        total = Signal(signed(p.sum_width), reset_less=True)
        shifted = Signal(signed(p.sum_width - p.shift_low), reset_less=True)
        m.d.sync += [
            operand.eq(acc),
            product.eq(operand * factor),
            offsets[1].eq(offsets[0]),
            total.eq(exact),
            shifted.eq((total >> p.shift_low) >> self._extra_shift(m)),
        ]
        value = Signal(signed(p.sum_width - p.shift_low + 1))
        m.d.comb += value.eq(shifted + Mux(d.skip, self.skip_data[lane], 0))
        with m.If(value < d.low):
            m.d.sync += self.values[lane].eq(d.low)
        with m.Elif(value > d.high):
            m.d.sync += self.values[lane].eq(d.high)
        with m.Else():
            m.d.sync += self.values[lane].eq(value)

    def _extra_shift(self, m: Module):
        p = self.params
        extra = Signal(unsigned(max(1, p.shift_bits)))
        m.d.comb += extra.eq(self.d.shift - p.shift_low)
        return extra
