"""The contraction array: processing elements with T-deep accumulators, two banks.

One element computes one output channel. Weights stay in a working register for a step while the
pixels of the tile stream by; the next step's weights are shifted into a shadow register meanwhile.
Activations and control travel from group to group of ``hop`` elements, one register per hop, so
that no register drives more than a group (a broadcast register would be merged by synthesis and
drive the whole array).
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw import compressor
from r2b.hw.popcount import BipolarDot, IntegerDot


@dataclass(frozen=True)
class ArrayParams:
    """Shape of a contraction array.

    Parameters
    ----------
    binary : bool
        XNOR-popcount elements; otherwise signed multipliers.
    lanes_in, lanes_out : int
        Inputs per element and elements.
    group : int
        Elements drained per cycle (epilogue lanes); divides lanes_out.
    a_width, w_width : int
        Bits of an activation and of a weight (1 and 1 if binary).
    acc_width : int
        Bits of an accumulator, signed; proved by the geometry.
    depth : int
        T, pixels per bank.
    word : int
        Bits of a weight-memory word.
    load_words : int
        Words that fill the shadow register.
    hop : int
        Elements per forwarding register.
    px : int
        Pixels per sample (:mod:`r2b.hw.pixels`); 1 unless binary.
    """

    binary: bool
    lanes_in: int
    lanes_out: int
    group: int
    a_width: int
    w_width: int
    acc_width: int
    depth: int
    word: int
    load_words: int
    hop: int
    px: int = 1

    @property
    def hops(self) -> int:
        """Groups of elements, hence the skew between the first and the last element."""
        return -(-self.lanes_out // self.hop)

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to the last accumulator's new value."""
        return self.hops + self.dot_latency + 1

    @property
    def dot_latency(self) -> int:
        """Cycles from operands and weights to their product."""
        if self.px > 1:
            return compressor.latency_of(self.lanes_in)
        dot = BipolarDot.latency_of if self.binary else IntegerDot.latency_of
        return dot(self.lanes_in)

    @property
    def load_ahead(self) -> int:
        """Cycles by which ``load`` is ahead of the sample that it belongs to."""
        return int(self.px > 1)

    DRAIN_LATENCY = 2
    """Cycles from a drain request to ``o``."""


def sample_layout(p: ArrayParams) -> data.StructLayout:
    """One pixel's operands and where its sum goes.

    With several pixels per sample, ``valid`` and ``first`` have a bit for each, and ``data`` holds
    their operands, the first pixel's lowest.
    """
    return data.StructLayout(
        {
            "valid": p.px,
            "load": 1,  # first pixel of a step: take the shadow weights
            "first": p.px,  # first contribution to this sum
            "bank": 1,
            "index": range(p.depth),
            "count": range(p.lanes_in + 1),
            "data": p.px * p.lanes_in * p.a_width,
        }
    )


def drain_layout(p: ArrayParams) -> data.StructLayout:
    """Which sums to read: bank, pixel (or group of pixels and which of them), group of elements."""
    return data.StructLayout(
        ({"px": range(p.px)} if p.px > 1 else {})
        | {"bank": 1, "index": range(p.depth), "group": range(max(2, p.lanes_out // p.group))}
    )


class ContractionArray(wiring.Component):
    """``acc[pe][bank][index] += dot(data, weight[pe])`` for every valid sample.

    Throughput one sample per cycle, latency ``params.latency``; a sum may be revisited in the next
    cycle. Draining a bank is independent of accumulating into the other one.

    Parameters
    ----------
    params : ArrayParams

    Members
    -------
    i : In(sample_layout)
    shift : In(1)
        Shift ``shift_data`` into the shadow register; not while a ``load`` is under way in the
        array (``hops`` cycles).
    shift_data : In(word)
    drain : In(drain_layout)
    o : Out
        ``group`` accumulators, signed, DRAIN_LATENCY cycles after ``drain``.
    """

    def __init__(self, params: ArrayParams) -> None:
        self.params = params
        super().__init__(
            {
                "i": In(sample_layout(params)),
                "shift": In(1),
                "shift_data": In(params.word),
                "drain": In(drain_layout(params)),
                "o": Out(data.ArrayLayout(signed(params.acc_width), params.group)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Shadow register, hop chain, elements, drain multiplexer."""
        m = Module()
        p = self.params
        shadow = Signal(p.word * p.load_words, reset_less=True)
        with m.If(self.shift):
            m.d.sync += shadow.eq(Cat(shadow, self.shift_data) >> p.word)
        request = Signal(drain_layout(p), reset_less=True)
        m.d.sync += request.eq(self.drain)
        sums = []
        sample = self.i
        per_pe = p.lanes_in * p.w_width
        for hop in range(p.hops):
            stage = Signal(sample_layout(p), name=f"hop_{hop}")
            m.d.sync += stage.eq(sample)
            sample = stage
            for pe in range(hop * p.hop, min((hop + 1) * p.hop, p.lanes_out)):
                m.submodules[f"pe_{pe}"] = element = ProcessingElement(p)
                m.d.comb += [
                    element.i.eq(stage),
                    element.weight.eq(shadow[pe * per_pe : (pe + 1) * per_pe]),
                    element.drain_bank.eq(request.bank),
                    element.drain_index.eq(request.index),
                ]
                sums.append(element.o)
        groups = [Cat(sums[g : g + p.group]) for g in range(0, p.lanes_out, p.group)]
        with m.Switch(request.group):
            for index, group in enumerate(groups):
                with m.Case(index):
                    m.d.sync += self.o.eq(group)
        return m


class ProcessingElement(wiring.Component):
    """One output channel: working weights, dot product, two banks of accumulators.

    The sum is read, added to and written in one cycle (distributed RAM), so a pixel may be
    revisited in the next cycle. See :class:`ContractionArray` for the members.
    """

    def __init__(self, params: ArrayParams) -> None:
        self.params = params
        super().__init__(
            {
                "i": In(sample_layout(params)),
                "weight": In(params.lanes_in * params.w_width),
                "drain_bank": In(1),
                "drain_index": In(range(params.depth)),
                "o": Out(signed(params.acc_width)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Working register, dot product, control delayed alongside, accumulators."""
        m = Module()
        p = self.params
        working = Signal.like(self.weight, reset_less=True)
        weight = Signal.like(self.weight)
        with m.If(self.i.load):
            m.d.sync += working.eq(self.weight)
        m.d.comb += weight.eq(Mux(self.i.load, self.weight, working))
        real = (p.lanes_in, p.a_width, p.w_width)
        dot = BipolarDot(p.lanes_in) if p.binary else IntegerDot(*real)
        m.submodules.dot = dot
        m.d.comb += [dot.a.eq(self.i.data), dot.w.eq(weight)]
        control = _delay(m, self.i, dot.latency)
        if p.binary:
            m.d.comb += dot.n.eq(control[-2].count)
        self._accumulate(m, control[-1], dot.o)
        return m

    def _accumulate(self, m: Module, control, dot) -> None:
        p = self.params
        outputs = []
        for bank in range(2):
            m.submodules[f"bank_{bank}"] = memory = Memory(
                shape=signed(p.acc_width), depth=p.depth, init=[]
            )
            read, write = memory.read_port(domain="comb"), memory.write_port()
            mine = control.valid & (control.bank == bank)
            total = Signal(signed(max(p.acc_width, len(dot)) + 1), name=f"total_{bank}")
            m.d.comb += [
                read.addr.eq(Mux(mine, control.index, self.drain_index)),
                total.eq(Mux(control.first, 0, read.data) + dot),
                write.addr.eq(control.index),
                write.data.eq(total),
                write.en.eq(mine),
            ]
            with m.If(mine):  # the width was proved from the weights
                m.d.sync += Assert(total == write.data.as_signed())
            outputs.append(read.data)
        m.d.comb += self.o.eq(Mux(self.drain_bank, outputs[1], outputs[0]))


def _delay(m: Module, sample, cycles: int) -> list:
    """A sample's control part now and after 1, 2, ... ``cycles`` registers."""
    names = ("valid", "first", "bank", "index", "count")
    layout = data.StructLayout({name: sample.shape()[name].shape for name in names})
    stages = [sample]
    for cycle in range(cycles):
        stage = Signal(layout, name=f"control_{cycle}")
        m.d.sync += [stage[name].eq(stages[-1][name]) for name in names]
        stages.append(stage)
    return stages
