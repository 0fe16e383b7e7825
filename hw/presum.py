"""The buffer of window sums: average pooling is read once per tile of pixels, not once per tile of
output channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.memory import registered_read

LATENCY = 3
"""Cycles from a pixel to its values, and to the buffer's ``o``."""
APART = 4
"""Cycles from a pixel that adds to a sum to the next that adds to it or takes it, at least."""


@dataclass(frozen=True)
class PresumParams:
    """Shape of the buffer.

    Parameters
    ----------
    lanes, value_width : int
        Values per word and their bits.
    sum_width : int
        Bits of a sum over a window.
    pixels, words : int
        Pixels of a tile (T) and words of input channels (K).
    """

    lanes: int
    value_width: int
    sum_width: int
    pixels: int
    words: int

    @property
    def index_bits(self) -> int:
        """Bits of a pixel's place in its tile."""
        return (self.pixels - 1).bit_length()

    @property
    def depth(self) -> int:
        """Words of the memory."""
        return self.words << self.index_bits


class PresumBuffer(wiring.Component):
    """``o = values``, or the sum kept for this pixel and word; sums are made of ``values``.

    One pixel per cycle. A sum is touched again after APART cycles at the earliest: taps of a window
    are steps of their own, all of the same pixels, and the issuer takes longer from step to step.
    So the block RAM's output and the sum each have a register of their own.

    Parameters
    ----------
    params : PresumParams

    Members
    -------
    valid : In(1)
        A pixel is issued (low while the core waits).
    sum, reuse, fresh : In(1)
        Its values are added to a sum; a sum is taken instead of values; the sum begins.
    kc, index : In
        Word of the input channels, pixel of the tile.
    values : In, o : Out
        LATENCY cycles after the pixel.
    """

    def __init__(self, params: PresumParams) -> None:
        self.params = p = params
        super().__init__(
            {
                "valid": In(1),
                "sum": In(1),
                "reuse": In(1),
                "fresh": In(1),
                "kc": In(range(max(2, p.words))),
                "index": In(range(max(2, p.pixels))),
                "values": In(data.ArrayLayout(signed(p.value_width), p.lanes)),
                "o": Out(data.ArrayLayout(signed(p.sum_width), p.lanes)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Read in the cycle after the pixel, add two later, write in the next."""
        m = Module()
        p = self.params
        layout = data.StructLayout(
            {"sum": 1, "reuse": 1, "fresh": 1, "addr": range(max(2, p.depth))}
        )
        stages = [Signal(layout, name=f"pixel_{age}") for age in range(APART + 1)]
        m.d.comb += [
            stages[0].sum.eq(self.sum & self.valid),
            stages[0].reuse.eq(self.reuse),
            stages[0].fresh.eq(self.fresh),
            stages[0].addr.eq(Cat(self.index[: p.index_bits], self.kc)),
        ]
        for before, after in pairwise(stages):
            m.d.sync += after.eq(before)
        memory = Memory(shape=self.o.shape(), depth=p.depth, init=[])
        m.submodules.sums = memory
        read = registered_read(m, memory, stages[1].addr)
        known, sums = Signal.like(read, name="known"), Signal(self.o.shape(), name="sums")
        m.d.sync += known.eq(read)
        write, now, summed = memory.write_port(), stages[LATENCY], stages[APART]
        m.d.comb += [write.addr.eq(summed.addr), write.en.eq(summed.sum), write.data.eq(sums)]
        for lane in range(p.lanes):
            base = Mux(now.fresh, 0, known[lane])
            m.d.sync += sums[lane].eq(base + self.values[lane])
            m.d.comb += self.o[lane].eq(Mux(now.reuse, known[lane], self.values[lane]))
        return m
