"""Where weights come from: ROMs, or double-buffered segments of the weight stream.

A *segment* is what stays available at a time: one output-channel tile, or all weights of a stage
that runs pixel tile > output-channel tile. The vector unit's weights come in segments of a fixed
size, its tables whole, once per job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.descriptor import Table
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.memo import remember
from r2b.hw.memory import registered_read, rom
from r2b.hw.vector_tables import JobSize, VectorTables, vector_tables

LATENCY = 1
"""Cycles from an address to its word; two more pass until it is in the shadow register."""
SEEN = 1
"""Cycles after a segment's last word, besides the one that takes it, until it is available; by then
the word, which is written a cycle after it was taken, must be in the buffer's memory."""
LEAD = 1
"""Cycles in which the stream stands still before the first word of each of :func:`segments_of`."""


REAL, BINARY, VECTOR, DENSE, SLOPES, MEANS = TARGETS = range(6)
"""Where a word of the stream goes: an engine's buffer, the vector unit's buffer, or one of the
vector unit's tables."""
TABLES = (DENSE, SLOPES, MEANS)
"""In the order in which a job's come; every job has means."""
VECTOR_SEGMENT = 256
"""Words of a segment of the vector unit's weights; the last one of a job may be shorter."""


@dataclass(frozen=True)
class Segments:
    """Segments of one size that follow each other in the stream.

    Parameters
    ----------
    target : int
        One of TARGETS.
    words, count : int
        Words of each, and how many.
    """

    target: int
    words: int
    count: int = 1


def segments_of(geometry: ProgramGeometry) -> list[Segments]:
    """A batch's weight stream, in order.

    With a streamed vector unit a gate's tables come before the stage's first segment, so that they
    are there when the stage begins, and its weights after it, so that the array has work meanwhile;
    the head's come last. Weights come once for each frame of a batch, tables once for all.
    """
    geometry = geometry.back  # a front's weights are on chip
    found: list[Segments] = []
    frames = geometry.plan.batch
    streamed = geometry.plan.vector == "stream"
    jobs = iter(vector_tables_of(geometry).sizes if streamed else ())
    for conv in geometry.convs:
        first = Segments(int(conv.binary), conv.segment_words, conv.segments)
        if not streamed or conv.stage.gate is None:
            found.append(first)
            continue
        job = next(jobs)
        words = frames * _vector_segments(job.words)
        found += [*_tables(job), replace(first, count=1), *words]
        if first.count > 1:
            found.append(replace(first, count=first.count - 1))
    for job in jobs:  # the head's
        found += [*_tables(job), *frames * _vector_segments(job.words)]
    return found


def _tables(job: JobSize) -> list[Segments]:
    rows = zip(TABLES, (job.dense, job.slopes, job.means), strict=True)
    return [Segments(target, count) for target, count in rows if count]


def _vector_segments(words: int) -> list[Segments]:
    whole, rest = divmod(words, VECTOR_SEGMENT)
    parts = [Segments(VECTOR, VECTOR_SEGMENT, whole), Segments(VECTOR, rest)]
    return [part for part in parts if part.words * part.count]


def vector_tables_of(geometry: ProgramGeometry) -> VectorTables:
    """What the vector unit holds, or is sent."""
    macs = geometry.plan.gate_macs
    return remember(geometry.program, "vector", macs, lambda: vector_tables(geometry.program, macs))


def segment_rows(geometry: ProgramGeometry) -> list[dict[str, int]]:
    """Per group of segments: whose they are, words less one per segment, segments less one."""
    name = "target" if geometry.plan.vector == "stream" else "binary"
    return [
        {name: part.target, "last_word": part.words - 1, "last_segment": part.count - 1}
        for part in segments_of(geometry)
    ]


def stream_length(geometry: ProgramGeometry) -> int:
    """Words of the weight stream of one batch."""
    return sum(part.words * part.count for part in segments_of(geometry))


def stream_words(geometry: ProgramGeometry) -> list[int]:
    """The weight stream of one batch: every target takes its own words in order of use."""
    contents = {
        int(binary): chain.from_iterable(c.stream_words() for c in geometry.back.engine(binary))
        for binary in (True, False)
    }
    if geometry.plan.vector == "stream":
        tables = vector_tables_of(geometry)
        contents |= {
            VECTOR: _repeated(tables, geometry.plan.batch),
            MEANS: iter(tables.means.init),
            DENSE: iter(tables.dense.init),
            SLOPES: iter(tables.slopes.init),
        }
    return [
        word
        for part in segments_of(geometry)
        for word in islice(contents[part.target], part.words * part.count)
    ]


def _repeated(tables: VectorTables, frames: int) -> Iterator[int]:
    """The vector unit's weights, those of every job so many times."""
    weights = iter(tables.weights)
    for job in tables.sizes:
        yield from frames * tuple(islice(weights, job.words))


def weight_stream(width: int) -> stream.Signature:
    """One weight-memory word per transfer; ``last`` marks the end of a batch's weights."""
    return stream.Signature(data.StructLayout({"data": width, "last": 1}))


def segment_bits(words: int) -> int:
    """Address bits of a segment."""
    return max(1, (words - 1).bit_length())


def buffer_words(words: int, packed: bool) -> int:
    """Words of the memory that holds two segments."""
    return 2 * words if packed else 2 << segment_bits(words)


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
    address_width : int
    packed : bool
        The halves' words alternate, instead of beginning at a power of two each: less memory.

    Members
    -------
    addr : In, data : Out
        Word of the current segment, LATENCY cycles later.
    available : Out(1)
        The segment that is read in the next cycle is complete, SEEN cycles behind its last word.
    close : In(1)
        The current segment is used up.
    w_data, w_valid, w_last, w_ready
        Words of the next segment; ``w_last`` completes it.
    """

    def __init__(self, width: int, words: int, address_width: int, packed: bool = False) -> None:
        self.width, self.words, self.packed = width, words, packed
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
        """A memory of two halves; a word goes into it a cycle after it was taken, since that is
        decided late, and is not read before: no later than SEEN.
        """
        m = Module()
        bits = segment_bits(self.words)
        depth = buffer_words(self.words, self.packed)
        m.submodules.words = memory = Memory(shape=unsigned(self.width), depth=depth, init=[])
        write, take = memory.write_port(), Signal()
        taken = Signal(data.StructLayout({"en": 1, "addr": len(write.addr)}))
        word = Signal(self.width, reset_less=True)
        full, reading, writing = Signal(2), Signal(), Signal()
        following = Signal()
        count = Signal(bits)
        m.d.comb += [
            self.data.eq(
                registered_read(m, memory, self._place(self.addr[:bits], reading), "word")
            ),
            following.eq(reading ^ self.close),
            self.w_ready.eq(~Array(full)[writing]),
            take.eq(self.w_valid & self.w_ready),
            write.addr.eq(taken.addr),
            write.data.eq(word),
            write.en.eq(taken.en),
        ]
        m.d.sync += [
            taken.en.eq(take),
            taken.addr.eq(self._place(count, writing)),
            word.eq(self.w_data),
        ]
        fill, drain = Signal(2), Signal(2)
        with m.If(take):
            m.d.sync += count.eq(count + 1)
            with m.If(self.w_last):
                m.d.sync += [count.eq(0), writing.eq(~writing)]
                m.d.comb += fill.eq(Mux(writing, 0b10, 0b01))
        with m.If(self.close):
            m.d.sync += reading.eq(~reading)
            m.d.comb += drain.eq(Mux(reading, 0b10, 0b01))
        m.d.comb += self.available.eq(Array(full & ~drain)[following])
        m.d.sync += full.eq((full | fill) & ~drain)
        return m

    def _place(self, word, half):
        """Address of a word of a half, without one more adder on the way to all block RAMs."""
        return Cat(half, word) if self.packed else Cat(word, half)


class WeightFeeder(wiring.Component):
    """Deals the weight stream out to its targets, segment by segment, batch by batch.

    Members
    -------
    i : In(weight_stream)
    word, valid, last : Out
        The word, whose it is (a bit per target), whether it completes a segment.
    ready : In
        Per target: the two engines, and those of a streamed vector unit.
    misplaced : Out(1)
        Pulse, a cycle later: ``last`` came early, or did not come with the batch's last word.
    """

    def __init__(self, geometry: ProgramGeometry) -> None:
        self.table = Table(segment_rows(geometry))
        self.width = geometry.plan.weight_word
        self.targets = len(TARGETS) if geometry.plan.vector == "stream" else 2
        super().__init__(
            {
                "i": In(weight_stream(self.width)),
                "word": Out(self.width),
                "valid": Out(self.targets),
                "last": Out(1),
                "ready": In(self.targets),
                "misplaced": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Counters of word, segment and stage over the segment table."""
        m = Module()
        rows = len(self.table.rows)
        stage = Signal(range(max(2, rows)))
        table = rom(m, "segments", self.table.layout, self.table.content, logic=True)
        port = table.read_port(domain="comb")
        row, mine = Signal(self.table.layout, name="row"), Signal(self.targets, name="mine")
        if self.targets == 2:
            target = Mux(port.data.binary, 0b10, 0b01)
        else:
            target = Cat(port.data.target == k for k in range(self.targets))
        m.d.sync += [row.eq(port.data), mine.eq(target)]  # LEAD cycles at each part's beginning
        word, segment = Signal.like(row.last_word), Signal.like(row.last_segment)
        taken, end = Signal(), Signal()
        m.d.comb += [
            port.addr.eq(stage),
            self.word.eq(self.i.payload.data),
            self.valid.eq(Mux(self.i.valid, mine, 0)),
            self.i.ready.eq((mine & self.ready).any()),
            self.last.eq(word == row.last_word),
            taken.eq(self.i.valid & self.i.ready),
            end.eq(self.last & (segment == row.last_segment) & (stage == rows - 1)),
        ]
        m.d.sync += self.misplaced.eq(taken & (end != self.i.payload.last))
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
            with m.If(self.last):
                m.d.sync += [word.eq(0), segment.eq(segment + 1)]
                with m.If(segment == row.last_segment):
                    m.d.sync += [segment.eq(0), stage.eq(Mux(end, 0, stage + 1)), mine.eq(0)]
        return m
