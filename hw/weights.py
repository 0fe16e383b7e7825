"""Where the arrays' weights come from: a ROM, or double-buffered segments of the weight stream.

A *segment* is what stays available at a time: one output-channel tile, or all weights of a stage
that runs pixel tile > output-channel tile.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.descriptor import Table
from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.hw.memory import registered_read, rom

LATENCY = 1
"""Cycles from an address to its word."""


def segment_words(conv: ConvGeometry) -> int:
    """Words of one weight segment of a stage."""
    tiles = conv.tiles_out if conv.pixel_outer else 1
    return tiles * conv.steps_per_tile * conv.load_words


def segment_rows(geometry: ProgramGeometry) -> list[dict[str, int]]:
    """Per stage: which engine, words less one per segment, segments less one."""
    return [
        {
            "binary": conv.binary,
            "last_word": segment_words(conv) - 1,
            "last_segment": 0 if conv.pixel_outer else conv.tiles_out - 1,
        }
        for conv in geometry.convs
    ]


def stream_length(geometry: ProgramGeometry) -> int:
    """Words of the weight stream of one frame."""
    return sum(conv.tiles_out * conv.steps_per_tile * conv.load_words for conv in geometry.convs)


def stream_words(geometry: ProgramGeometry) -> list[int]:
    """The weight stream of one frame: every stage's words in order of use."""
    return [word for conv in geometry.convs for word in conv.weight_words()]


def weight_stream(width: int) -> stream.Signature:
    """One weight-memory word per transfer; ``last`` marks the end of a frame's weights."""
    return stream.Signature(data.StructLayout({"data": width, "last": 1}))


class WeightRom(wiring.Component):
    """All weights of an engine on chip. ``data`` comes LATENCY cycles after ``addr``."""

    def __init__(self, width: int, words: list[int], address_width: int) -> None:
        self.width, self.words = width, words
        super().__init__({"addr": In(unsigned(address_width)), "data": Out(width)})

    def elaborate(self, platform) -> Module:
        """One ROM."""
        m = Module()
        memory = rom(m, "words", unsigned(self.width), self.words)
        m.d.comb += self.data.eq(registered_read(m, memory, self.addr, "word"))
        return m


class WeightBuffer(wiring.Component):
    """Two segments: one is read while the other one is filled.

    Parameters
    ----------
    width, words : int
        Word width and words of the largest segment.

    Members
    -------
    addr : In, data : Out
        Word of the current segment, LATENCY cycles later.
    available : Out(1)
        The current segment is complete.
    close : In(1)
        The current segment is used up.
    w_data, w_valid, w_last, w_ready
        Words of the next segment; ``w_last`` completes it.
    """

    def __init__(self, width: int, words: int, address_width: int) -> None:
        self.width, self.words = width, words
        super().__init__(
            {
                "addr": In(unsigned(address_width)),
                "data": Out(width),
                "available": Out(1),
                "close": In(1),
                "w_data": In(width),
                "w_valid": In(1),
                "w_last": In(1),
                "w_ready": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """A memory of two halves, each a power of two deep."""
        m = Module()
        bits = max(1, (self.words - 1).bit_length())
        m.submodules.words = memory = Memory(shape=unsigned(self.width), depth=2 << bits, init=[])
        write = memory.write_port()
        full, reading, writing = Signal(2), Signal(), Signal()
        count = Signal(bits)
        m.d.comb += [
            self.data.eq(registered_read(m, memory, Cat(self.addr[:bits], reading), "word")),
            self.available.eq(Array(full)[reading]),
            self.w_ready.eq(~Array(full)[writing]),
            write.addr.eq(Cat(count, writing)),
            write.data.eq(self.w_data),
            write.en.eq(self.w_valid & self.w_ready),
        ]
        fill, drain = Signal(2), Signal(2)
        with m.If(write.en):
            m.d.sync += count.eq(count + 1)
            with m.If(self.w_last):
                m.d.sync += [count.eq(0), writing.eq(~writing)]
                m.d.comb += fill.eq(Mux(writing, 0b10, 0b01))
        with m.If(self.close):
            m.d.sync += reading.eq(~reading)
            m.d.comb += drain.eq(Mux(reading, 0b10, 0b01))
        m.d.sync += full.eq((full | fill) & ~drain)
        return m


class WeightFeeder(wiring.Component):
    """Deals the weight stream out to the engines' buffers, segment by segment, frame by frame.

    Members
    -------
    i : In(weight_stream)
    word, valid, last : Out
        The word, whose it is (bit 0: real engine, bit 1: binary), whether it completes a segment.
    ready : In(2)
        Per engine.
    misplaced : Out(1)
        Pulse: ``last`` came early, or did not come with the frame's last word.
    """

    def __init__(self, geometry: ProgramGeometry) -> None:
        self.table = Table(segment_rows(geometry))
        self.width = geometry.plan.weight_word
        super().__init__(
            {
                "i": In(weight_stream(self.width)),
                "word": Out(self.width),
                "valid": Out(2),
                "last": Out(1),
                "ready": In(2),
                "misplaced": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Counters of word, segment and stage over the segment table."""
        m = Module()
        rows = len(self.table.rows)
        stage = Signal(range(max(2, rows)))
        table = rom(m, "segments", self.table.layout, self.table.content)
        port = table.read_port(domain="comb")
        row = port.data
        word, segment = Signal.like(row.last_word), Signal.like(row.last_segment)
        taken, end = Signal(), Signal()
        m.d.comb += [
            port.addr.eq(stage),
            self.word.eq(self.i.payload.data),
            self.valid.eq(Mux(self.i.valid, Mux(row.binary, 0b10, 0b01), 0)),
            self.i.ready.eq(Array(self.ready)[row.binary]),
            self.last.eq(word == row.last_word),
            taken.eq(self.i.valid & self.i.ready),
            end.eq(self.last & (segment == row.last_segment) & (stage == rows - 1)),
            self.misplaced.eq(taken & (end != self.i.payload.last)),
        ]
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
            with m.If(self.last):
                m.d.sync += [word.eq(0), segment.eq(segment + 1)]
                with m.If(segment == row.last_segment):
                    m.d.sync += [segment.eq(0), stage.eq(Mux(end, 0, stage + 1))]
        return m
