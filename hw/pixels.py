"""The XNOR array: one set of weights, one pixel per sample or a column group of them.

An element computes one output channel of ``px`` pixels. All of them multiply by one working
register, which is loaded in the cycle before a step's first sample, so that no choice between old
and new weights stands in front of the counts. What is accumulated is the number of equal bits::

    sum = 2 * (equal bits) - (lanes in use)

and the lanes in use, the same for every channel, are accumulated once per pixel and subtracted from
what is drained.
"""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.array import COUNTERS, ArrayParams, ContractionArray, choose, sample_layout


def make_array(params: ArrayParams) -> ContractionArray:
    """The array of a kind of convolution."""
    return PixelArray(params) if params.binary else ContractionArray(params)


def control_layout(p: ArrayParams) -> data.StructLayout:
    """What the accumulators of a pixel are to do."""
    return data.StructLayout({"valid": 1, "first": 1, "bank": 1, "index": range(p.depth)})


def reads_layout(p: ArrayParams) -> data.ArrayLayout:
    """Which sum of each bank is read."""
    return data.ArrayLayout(unsigned(max(1, (p.depth - 1).bit_length())), 2)


class PixelArray(ContractionArray):
    """A :class:`r2b.hw.array.ContractionArray` of bits; ``load`` comes ``load_ahead`` cycles before
    the step's first sample.
    """

    def elaborate(self, platform) -> Module:
        """Shadow register, hop chain, elements, drain multiplexer."""
        m = Module()
        p = self.params
        shadow, request = self._registers(m)
        shown = Signal.like(request)  # what is drained now that the memories are read
        m.d.sync += shown.eq(request)
        place = Cat(shown.bank, shown.px) if p.px > 1 else shown.bank
        sums = []
        sample = self.i
        for hop in range(p.hops):
            stage = Signal(sample_layout(p), name=f"hop_{hop}")
            m.d.sync += stage.eq(sample)
            sample = stage
            controls, reads, count = self._control(m, hop, stage, request)
            if hop == 0:
                used = self._used(m, controls, reads, count, place)
            for pe in range(hop * p.hop, min((hop + 1) * p.hop, p.lanes_out)):
                m.submodules[f"pe_{pe}"] = element = PixelElement(p)
                m.d.comb += [
                    element.load.eq(stage.load),
                    element.data.eq(stage.data),
                    element.weight.eq(shadow[pe * p.lanes_in : (pe + 1) * p.lanes_in]),
                    element.control.eq(controls),
                    element.reads.eq(reads),
                    element.place.eq(place),
                ]
                sums.append(element.o)
        self._drain(m, shown, sums, used)
        return m

    def _control(self, m: Module, hop: int, stage, request) -> tuple:
        """A hop's accumulators: what they do, what they read; lanes in use."""
        p = self.params
        names = ("valid", "first", "bank", "index", "count")
        layout = data.StructLayout({name: stage.shape()[name].shape for name in names})
        late = stage
        for cycle in range(p.dot_latency):
            ahead, late = late, Signal(layout, name=f"control_{hop}_{cycle}")
            m.d.sync += [late[name].eq(ahead[name]) for name in names]
        controls = Signal(data.ArrayLayout(control_layout(p), p.px), name=f"controls_{hop}")
        reads = Signal(reads_layout(p), name=f"reads_{hop}")
        for px in range(p.px):
            m.d.comb += [
                controls[px].valid.eq(late.valid[px]),
                controls[px].first.eq(late.first[px]),
                controls[px].bank.eq(late.bank),
                controls[px].index.eq(late.index),
            ]
        for bank in range(2):
            mine = ahead.valid.any() & (ahead.bank == bank)
            m.d.sync += reads[bank].eq(Mux(mine, ahead.index, request.index))
        return controls, reads, late.count

    def _used(self, m: Module, controls, reads, count, place):
        """Lanes in use, summed for the pixel that is drained."""
        p = self.params
        m.submodules.used = used = PixelSums(p, p.lanes_in.bit_length())
        m.d.comb += [
            used.control.eq(controls),
            used.reads.eq(reads),
            used.place.eq(place),
            *(addend.eq(count) for addend in used.addends),
        ]
        return used.o

    def _drain(self, m: Module, request, sums, used) -> None:
        p = self.params
        layout = data.ArrayLayout(unsigned(p.acc_width - 1), p.group)
        groups = [Cat(sums[at : at + p.group]) for at in range(0, p.lanes_out, p.group)]
        chosen, less = Signal(layout, name="chosen"), Signal.like(used, name="less")
        m.d.comb += chosen.eq(choose(m, groups, request.group, "drained"))
        m.d.sync += less.eq(used)
        for lane in range(p.group):
            m.d.sync += self.o[lane].eq((chosen[lane] << 1) - less)


class PixelElement(wiring.Component):
    """One output channel of ``px`` pixels: working weights, counts of equal bits, accumulators.

    See :class:`PixelArray`.
    """

    def __init__(self, params: ArrayParams) -> None:
        self.params = p = params
        super().__init__(
            {
                "load": In(1),
                "data": In(p.px * p.lanes_in),
                "weight": In(p.lanes_in),
                "control": In(data.ArrayLayout(control_layout(p), p.px)),
                "reads": In(reads_layout(p)),
                "place": In(1 + (p.px - 1).bit_length()),
                "o": Out(unsigned(p.acc_width - 1)),
            }
        )

    def elaborate(self, platform) -> Module:
        """One working register, as many counters as pixels."""
        m = Module()
        p = self.params
        working = Signal.like(self.weight, reset_less=True)
        with m.If(self.load):
            m.d.sync += working.eq(self.weight)
        m.submodules.sums = sums = PixelSums(p, p.lanes_in.bit_length())
        for px in range(p.px):
            m.submodules[f"count_{px}"] = counter = COUNTERS[p.lut].EqualBits(p.lanes_in)
            m.d.comb += [
                counter.a.eq(self.data.word_select(px, p.lanes_in)),
                counter.w.eq(working),
                sums.addends[px].eq(counter.o),
            ]
        m.d.comb += [
            sums.control.eq(self.control),
            sums.reads.eq(self.reads),
            sums.place.eq(self.place),
            self.o.eq(sums.o),
        ]
        return m


class PixelSums(wiring.Component):
    """``sums[px][bank][index] = (first ? 0 : sums[px][bank][index]) + addends[px]``, unsigned.

    Read, added to and written in one cycle, at one address, so that LUT RAM with one will do.
    ``o`` is, of the sums that ``reads`` names, the one at ``place``: bank, and pixel above it.
    """

    def __init__(self, params: ArrayParams, addend_width: int) -> None:
        self.params = p = params
        super().__init__(
            {
                "control": In(data.ArrayLayout(control_layout(p), p.px)),
                "reads": In(reads_layout(p)),
                "addends": In(data.ArrayLayout(unsigned(addend_width), p.px)),
                "place": In(1 + (p.px - 1).bit_length()),
                "o": Out(unsigned(p.acc_width - 1)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Two memories per pixel with one adder; the choice of what is drained."""
        m = Module()
        places = [value for px in range(self.params.px) for value in self._pixel(m, px)]
        with m.Switch(self.place):
            for place, value in enumerate(places):
                with m.Case(place):
                    m.d.comb += self.o.eq(value)
        return m

    def _pixel(self, m: Module, px: int) -> list:
        """A pixel's sums: what either bank reads."""
        p, control = self.params, self.control[px]
        width = p.acc_width - 1
        total = Signal(width + 1, name=f"total_{px}")
        found = []
        for bank in range(2):
            m.submodules[f"bank_{px}_{bank}"] = memory = Memory(
                shape=unsigned(width), depth=p.depth, init=[]
            )
            read, write = memory.read_port(domain="comb"), memory.write_port()
            m.d.comb += [
                read.addr.eq(self.reads[bank]),
                write.addr.eq(self.reads[bank]),
                write.data.eq(total),
                write.en.eq(control.valid & (control.bank == bank)),
            ]
            found.append(read.data)
        before = Mux(control.first, 0, Mux(control.bank, found[1], found[0]))
        m.d.comb += total.eq(self.addends[px] + before)
        with m.If(control.valid):  # the width was proved from the weights
            m.d.sync += Assert(~total[width])
        return found


__all__ = ["PixelArray", "PixelElement", "PixelSums", "make_array"]
