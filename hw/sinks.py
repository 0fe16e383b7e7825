"""Sinks of a stage: feature memory, sign-bit map, channel sums."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Assert, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.loops import pack_fields
from r2b.hw.memory import rom, sum_read
from r2b.ir.arith import threshold

LATENCY = 5
"""Cycles from a value until all memories hold what follows from it."""
LIMITS = 3
"""Cycles from a value until its thresholds are there."""


@dataclass(frozen=True)
class SinkParams:
    """Shapes of the sinks.

    Parameters
    ----------
    lanes, value_width, sum_width : int
        Epilogue lanes, R, bits of a channel sum.
    sign_banks : int
        Words of ``lanes`` bits per word of the sign memory.
    fm_width, sm_width : int
        Address bits of the feature and the sign memory.
    sum_depth : int
        Words of channel sums of a frame.
    thresholds : tuple of int
        Packed rows: per word of channels, ``lanes`` pairs of threshold and flip.
    batch : Batch
    """

    lanes: int
    value_width: int
    sum_width: int
    sign_banks: int
    fm_width: int
    sm_width: int
    sum_depth: int
    thresholds: tuple[int, ...]
    batch: Batch = ALONE

    @property
    def sum_words(self) -> int:
        """Words of channel sums of all frames of a batch."""
        return self.batch.frames * self.sum_depth

    @property
    def values(self) -> data.ArrayLayout:
        """One word of the feature memory."""
        return data.ArrayLayout(signed(self.value_width), self.lanes)

    @property
    def sums(self) -> data.ArrayLayout:
        """One word of channel sums."""
        return data.ArrayLayout(signed(self.sum_width), self.lanes)


def threshold_layout(lanes: int, width: int) -> data.ArrayLayout:
    """Thresholds of one word of channels."""
    return data.ArrayLayout(data.StructLayout({"theta": signed(width), "flip": 1}), lanes)


def threshold_rows(geometry: ProgramGeometry) -> tuple[int, ...]:
    """Every stage's thresholds, packed; stages without a sign map hold zeros."""
    plan = geometry.plan
    rows = []
    for conv in geometry.stages:
        sign = conv.stage.signs[0] if conv.stage.signs else None
        theta = conv.chain.thetas[0].tolist() if sign else []
        flip = sign.flip.tolist() if sign else []
        for at in range(0, conv.all_groups * plan.lanes, plan.lanes):
            lanes = slice(at, at + plan.lanes)
            rows.append(pack_fields([(theta[lanes], plan.act_bits), (flip[lanes], 1)]))
    return tuple(rows)


class Sinks(wiring.Component):
    """Writes ``values`` where the descriptor says; one word per cycle, LATENCY cycles.

    ``bit = (v >= theta) ^ flip`` per lane; ``sums[channel] = (first ? 0 : sums[channel]) + v``.

    Parameters
    ----------
    params : SinkParams
    descriptor, token : StructLayout

    Members
    -------
    d, token, values : In
        Descriptor, stable while a stage's values are under way; of a word, where it belongs.
    fm_en, fm_addr, fm_data : Out
        Feature-memory write.
    sm_en, sm_addr, sm_data : Out
        Sign-memory write; one enable per word of ``lanes`` bits.
    sum_addr : In, sum_data : Out
        Channel sums, combinational.
    """

    def __init__(self, params: SinkParams, descriptor, token) -> None:
        self.params = params
        p = params
        super().__init__(
            {
                "d": In(descriptor),
                "token": In(token),
                "values": In(p.values),
                "fm_en": Out(1),
                "fm_addr": Out(p.fm_width),
                "fm_data": Out(p.values),
                "sm_en": Out(p.sign_banks),
                "sm_addr": Out(p.sm_width),
                "sm_data": Out(p.lanes),
                "sum_addr": In(range(max(2, p.sum_words))),
                "sum_data": Out(p.sums),
            }
        )

    @staticmethod
    def compute(values, theta, flip):
        """Sign bits in software."""
        return threshold(values, theta, flip)

    def elaborate(self, platform) -> Module:
        """Thresholds are looked up while the value waits for them."""
        m = Module()
        p, d = self.params, self.d
        tokens, words = [self.token], [self.values]
        for age in range(1, LIMITS + 1):
            token = Signal.like(self.token, name=f"token_{age}")
            values = Signal.like(self.values, name=f"values_{age}")
            m.d.sync += [token.eq(tokens[-1]), values.eq(words[-1])]
            tokens.append(token)
            words.append(values)
        token, values = tokens[-1], words[-1]
        layout = threshold_layout(p.lanes, p.value_width)
        table = rom(m, "thresholds", layout, [layout.from_bits(row) for row in p.thresholds])
        limits = Signal(layout, name="limits", reset_less=True)
        m.d.sync += limits.eq(sum_read(m, table, d.group_base + self.token.channel, "thresholds"))
        m.d.comb += [
            self.fm_en.eq(token.valid & d.store),
            self.fm_addr.eq(token.fm + d.fm_base),
            self.fm_data.eq(values),
        ]
        for lane in range(p.lanes):
            bit = threshold(values[lane], limits[lane].theta, limits[lane].flip)
            m.d.sync += self.sm_data[lane].eq(bit)
        m.d.sync += [
            self.sm_en.eq(Mux(token.valid & d.sign, 1 << token.sm_bank[: _bits(p.sign_banks)], 0)),
            self.sm_addr.eq(token.sm + d.sm_base),
        ]
        adds = Signal()  # the enable of many LUT RAMs is a register
        m.d.sync += adds.eq(tokens[-2].valid & d.sum)
        self._sums(m, token, values, adds)
        return m

    def _sums(self, m: Module, token, values, adds) -> None:
        """Read, add and write in one cycle: a group may come again in the next one."""
        p = self.params
        m.submodules.sums = memory = Memory(shape=p.sums, depth=p.sum_words, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        outside = memory.read_port(domain="comb")
        place = token.channel
        if p.batch.several:
            place = place + p.batch.offset(token.frame, p.sum_depth)
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.en.eq(adds),
            outside.addr.eq(self.sum_addr),
            self.sum_data.eq(outside.data),
        ]
        for lane in range(p.lanes):
            total = Signal(signed(p.sum_width + 1), name=f"total_{lane}")
            m.d.comb += total.eq(Mux(token.first, 0, read.data[lane]) + values[lane])
            m.d.comb += write.data[lane].eq(total)
            with m.If(write.en):
                m.d.sync += Assert(total == write.data[lane])


def _bits(count: int) -> int:
    return max(1, (count - 1).bit_length())
