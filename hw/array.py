"""The contraction array: processing elements with T-deep accumulators, two banks.

Here with multipliers; the XNOR array, which counts equal bits, is in :mod:`r2b.hw.pixels`.

One element computes one output channel. Weights stay in a working register for a step while the
pixels of the tile stream by; the next step's weights are shifted into a shadow register meanwhile.
Activations and control travel from group to group of ``hop`` elements, one register per hop, so
that no register drives more than a group (a broadcast register would be merged by synthesis and
drive the whole array).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Array, Assert, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw import carries, compressor
from r2b.hw.dot import IntegerDot
from r2b.hw.multipliers import LutDot, PackedDot
from r2b.hw.packing import pairs

COUNTERS = {4: carries, 6: compressor}
"""Inputs of a LUT -> what counts equal bits; both in the same number of cycles."""
FEW_BITS = 2
FEW = 1 << FEW_BITS
"""Groups of which the drain chooses one in a cycle."""


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
    packed : bool
        Two elements share each DSP block.
    luts : int
        Elements without DSP blocks, the first ones.
    px : int
        Pixels per sample (:mod:`r2b.hw.pixels`); 1 unless binary.
    lut : int
        Inputs of the device's LUTs, for which equal bits are counted.
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
    packed: bool = False
    luts: int = 0
    px: int = 1
    lut: int = 6

    @property
    def hops(self) -> int:
        """Groups of elements, hence the skew between the first and the last element."""
        return -(-self.lanes_out // self.hop)

    @property
    def lut_hops(self) -> int:
        """Groups with elements without DSP blocks."""
        return -(-self.luts // self.hop)

    @property
    def shadow_hops(self) -> int:
        """Cycles after a load reached the first group in which shadow weights are still taken.

        Elements without DSP blocks make digits of them and take them with the sample itself.
        """
        return max(self.hops, self.lut_hops + 1) if self.luts else self.hops

    HOP_LATENCY = 2
    """Cycles from a hop's input to its elements: weights are taken in the first one."""

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to the last accumulator's new value.

        Elements without DSP blocks take longer, and are the first that the operands reach.
        """
        if self.binary:
            return self.hops + self.dot_latency + 1
        late = self.lut_hops + LutDot.delay_of(self.w_width) if self.luts else 0
        return max(self.hops, late) - 1 + self.HOP_LATENCY + self.dot_latency + 1

    @property
    def dot_latency(self) -> int:
        """Cycles from operands and weights to their product, where DSP blocks make it."""
        of = compressor.latency_of if self.binary else IntegerDot.latency_of
        return of(self.lanes_in)

    @property
    def load_ahead(self) -> int:
        """Cycles by which ``load`` is ahead of the sample that it belongs to."""
        return int(self.binary)

    @property
    def pairs(self) -> tuple[int, ...]:
        """First of the two elements of every pair."""
        return pairs(self.lanes_out, self.hop, self.luts) if self.packed else ()

    DRAIN_LATENCY = 4
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
        shadow, request = self._registers(m)
        sums = []
        per_pe, pairs = p.lanes_in * p.w_width, p.pairs
        stages = [_later(m, self.i, "hop_0")]
        for hop in range(p.hops):
            stages.append(_later(m, stages[-1], f"hop_{hop + 1}"))
        for hop, (stage, after) in enumerate(pairwise(stages)):
            for pe in range(hop * p.hop, min((hop + 1) * p.hop, p.lanes_out)):
                if pe - 1 in pairs:
                    continue
                kind = ElementPair if pe in pairs else ProcessingElement
                kind = LutElement if pe < p.luts else kind
                m.submodules[f"pe_{pe}"] = element = kind(p)
                m.d.comb += [
                    element.load.eq(stage.load),
                    element.i.eq(after),
                    element.weight.eq(shadow[pe * per_pe : pe * per_pe + len(element.weight)]),
                    element.drain_bank.eq(request.bank),
                    element.drain_index.eq(request.index),
                ]
                sums += [element.o0, element.o1] if kind is ElementPair else [element.o]
        group = Signal.like(request.group)  # of the sums that the elements show
        m.d.sync += group.eq(request.group)
        groups = [Cat(sums[g : g + p.group]) for g in range(0, p.lanes_out, p.group)]
        m.d.sync += self.o.eq(choose(m, groups, group, "drained"))
        return m

    def _registers(self, m: Module) -> tuple[Signal, data.View]:
        """Shadow weights, and the drain's request a cycle later."""
        p = self.params
        shadow = Signal(p.word * p.load_words, reset_less=True)
        with m.If(self.shift):
            m.d.sync += shadow.eq(Cat(shadow, self.shift_data) >> p.word)
        request = Signal(drain_layout(p), reset_less=True)
        m.d.sync += request.eq(self.drain)
        return shadow, request


def _later(m: Module, sample: data.View, name: str) -> data.View:
    """A sample a cycle later; its operands without a reset, so that DSP blocks take them in."""
    layout = sample.shape()
    operands = Signal(len(sample.data), name=f"{name}_data", reset_less=True)
    control = Signal(layout.size - len(operands), name=name)  # the operands are the last field
    later = data.View(layout, Cat(control, operands))
    m.d.sync += later.eq(sample)
    return later


def choose(m: Module, values: list, index, name: str) -> Value:
    """``values[index]``, a cycle later: one of each few is kept, and of these one chosen then."""
    kept, later = [], Signal.like(index, name=f"{name}_index")
    m.d.sync += later.eq(index)
    for first in range(0, len(values), FEW):
        few = Signal(len(values[0]), name=f"{name}_{first // FEW}", reset_less=True)
        m.d.sync += few.eq(Array(values[first : first + FEW])[index[:FEW_BITS]])
        kept.append(few)
    return Array(kept)[later[FEW_BITS:]] if len(kept) > 1 else kept[0]


class ProcessingElement(wiring.Component):
    """One output channel: working weights, dot product, two banks of accumulators.

    The sum is read, added to and written in one cycle (distributed RAM), so a pixel may be
    revisited in the next cycle. ``load`` takes ``weight`` for the sample that follows one cycle
    later. See :class:`ContractionArray` for the other members.
    """

    def __init__(self, params: ArrayParams) -> None:
        self.params = params
        super().__init__(_element_members(params, 1) | {"o": Out(signed(params.acc_width))})

    def elaborate(self, platform) -> Module:
        """Working register, dot product, control delayed alongside, accumulators."""
        m = Module()
        p = self.params
        weight = _working(m, self)
        m.submodules.dot = dot = IntegerDot(p.lanes_in, p.a_width, p.w_width)
        m.d.comb += [dot.a.eq(self.i.data), dot.w.eq(weight)]
        control = _delay(m, self.i, dot.latency)
        m.d.comb += self.o.eq(_accumulate(m, self, control, dot.o))
        return m


class ElementPair(wiring.Component):
    """Two output channels whose products share DSP blocks; ``o0`` and ``o1`` are their sums."""

    def __init__(self, params: ArrayParams) -> None:
        self.params = params
        out = Out(signed(params.acc_width))
        super().__init__(_element_members(params, 2) | {"o0": out, "o1": out})

    def elaborate(self, platform) -> Module:
        """As of one element; what both have in common is there once."""
        m = Module()
        p = self.params
        weight = _working(m, self)
        m.submodules.dot = dot = PackedDot(p.lanes_in, p.a_width, p.w_width)
        m.d.comb += [dot.a.eq(self.i.data), Cat(dot.w0, dot.w1).eq(weight)]
        control = _delay(m, self.i, dot.latency)
        m.d.comb += [
            self.o0.eq(_accumulate(m, self, control, dot.o0, "low_")),
            self.o1.eq(_accumulate(m, self, control, dot.o1, "high_")),
        ]
        return m


class LutElement(wiring.Component):
    """One output channel without DSP blocks; the dot product keeps the working weights."""

    def __init__(self, params: ArrayParams) -> None:
        self.params = params
        super().__init__(_element_members(params, 1) | {"o": Out(signed(params.acc_width))})

    def elaborate(self, platform) -> Module:
        """Dot product, control delayed alongside, accumulators."""
        m = Module()
        p = self.params
        m.submodules.dot = dot = LutDot(p.lanes_in, p.a_width, p.w_width)
        m.d.comb += [dot.a.eq(self.i.data), dot.w.eq(self.weight), dot.load.eq(self.i.load)]
        control = _delay(m, self.i, dot.latency)
        m.d.comb += self.o.eq(_accumulate(m, self, control, dot.o))
        return m


def _element_members(p: ArrayParams, elements: int) -> dict:
    """Inputs of as many elements."""
    return {
        "i": In(sample_layout(p)),
        "load": In(1),
        "weight": In(elements * p.lanes_in * p.w_width),
        "drain_bank": In(1),
        "drain_index": In(range(p.depth)),
    }


def _working(m: Module, element) -> Signal:
    """The weights of the step that the sample belongs to."""
    working = Signal.like(element.weight, name="working", reset_less=True)
    with m.If(element.load):
        m.d.sync += working.eq(element.weight)
    return working


def _accumulate(m: Module, element, delayed: list, dot, prefix: str = "") -> Value:
    """Adds ``dot`` to the sum that its delayed control names; the sum that is to be drained."""
    p, control = element.params, delayed[-1]
    mine = Signal(2, name=f"{prefix}mine")  # a sample of the bank, decoded ahead
    ahead = delayed[-2]
    m.d.sync += [mine[bank].eq(ahead.valid & (ahead.bank == bank)) for bank in range(2)]
    known = [Signal(signed(p.acc_width), name=f"{prefix}known_{bank}") for bank in range(2)]
    total = Signal(signed(max(p.acc_width, len(dot)) + 1), name=f"{prefix}total")
    kept = Signal(signed(p.acc_width), name=f"{prefix}kept")
    m.d.comb += [
        kept.eq(total),
        total.eq(Mux(control.first, 0, Mux(control.bank, known[1], known[0])) + dot),
    ]
    with m.If(control.valid):  # the width was proved from the weights
        m.d.sync += Assert(total == kept)
    drained = Signal.like(element.drain_bank, name=f"{prefix}drained")
    m.d.sync += drained.eq(element.drain_bank)
    for bank in range(2):
        m.submodules[f"{prefix}bank_{bank}"] = memory = Memory(
            shape=signed(p.acc_width), depth=p.depth, init=[]
        )
        read, write = memory.read_port(domain="comb"), memory.write_port()
        place = Signal.like(control.index, name=f"{prefix}place_{bank}", reset_less=True)
        adds = ahead.valid & (ahead.bank == bank)
        m.d.sync += place.eq(Mux(adds, ahead.index, element.drain_index))
        m.d.comb += [
            read.addr.eq(place),
            known[bank].eq(read.data),
            write.addr.eq(control.index),
            write.data.eq(kept),
            write.en.eq(mine[bank]),
        ]
    return Mux(drained, known[1], known[0])


def _delay(m: Module, sample, cycles: int) -> list:
    """A sample's control part now and after 1, 2, ... ``cycles`` registers."""
    names = ("valid", "first", "bank", "index")
    layout = data.StructLayout({name: sample.shape()[name].shape for name in names})
    stages = [sample]
    for cycle in range(cycles):
        stage = Signal(layout, name=f"control_{cycle}")
        m.d.sync += [stage[name].eq(stages[-1][name]) for name in names]
        stages.append(stage)
    return stages
