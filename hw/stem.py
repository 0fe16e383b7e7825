"""The frame's way in: framing, line buffer, and the window of bytes the MAC array reads."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.loops import PIXEL_BITS

MOST_BYTES = 16
"""Bytes per transfer of the frame stream at most."""


def transfer_bytes(channels: int) -> int:
    """Bytes per transfer: a pixel, or the largest equal part of it that MOST_BYTES allows."""
    return max(n for n in range(1, MOST_BYTES + 1) if channels % n == 0)


@dataclass(frozen=True)
class FrameParams:
    """Shape of a frame and of the line buffer.

    A pixel of many channels comes in several transfers. They lie in the line buffer as the pixels
    of a wider frame of fewer channels would, and are counted as such.

    Parameters
    ----------
    channels, rows, cols : int
        Bytes per transfer, rows, transfers per row.
    lanes : int
        Bytes per line-buffer word.
    words : int
        Words of the line buffer, a power of two; a ring of rows.
    zero_point : tuple of int
        Per channel, 0..255.
    several : bool
        A stage reads several frames, one after the other.
    """

    channels: int
    rows: int
    cols: int
    lanes: int
    words: int
    zero_point: tuple[int, ...]
    several: bool = False

    @property
    def row_words(self) -> int:
        """Words per row; rows begin at a word."""
        return -(-self.cols * self.channels // self.lanes)

    @property
    def capacity(self) -> int:
        """Rows the line buffer holds."""
        return self.words // self.row_words

    @property
    def beats(self) -> int:
        """Cycles to store one pixel."""
        return -(-self.channels // self.lanes)


def frame_stream(channels: int) -> stream.Signature:
    """A pixel, or a part of one, per transfer; channels interleaved, the first one lowest."""
    return stream.Signature(data.StructLayout({"data": 8 * channels, "last": 1}))


class FrameInput(wiring.Component):
    """Takes frames of exactly ``rows * cols`` pixels into the line buffer.

    A frame that ends early is filled up with anything, one that ends late is cut and its rest
    dropped up to its ``last``; either is marked bad, which suppresses its result. One pixel per
    ``beats`` cycles. A new frame is taken after ``release`` of the one before.

    Members
    -------
    i : In(frame_stream)
    freed : In
        Rows that are no longer needed, signed.
    release : In(1)
        The frame in the line buffer is used up.
    started : Out(1)
        A pixel of the frame has been stored.
    rows_ready : Out
        Complete rows.
    bad, early, late : Out(1)
        The frame is bad; pulses for its cause.
    w_en, w_addr, w_data : Out
        Per lane of the line buffer: enable, word, value.
    """

    def __init__(self, params: FrameParams, address_width: int) -> None:
        self.params = p = params
        self.word_width = max(1, (p.words - 1).bit_length())
        super().__init__(
            {
                "i": In(frame_stream(p.channels)),
                "freed": In(signed(address_width)),
                "release": In(1),
                "started": Out(1),
                "rows_ready": Out(address_width),
                "bad": Out(1),
                "early": Out(1),
                "late": Out(1),
                "w_en": Out(p.lanes),
                "w_addr": Out(data.ArrayLayout(unsigned(self.word_width), p.lanes)),
                "w_data": Out(data.ArrayLayout(signed(PIXEL_BITS), p.lanes)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Pixel counters and a three-state framer; the writer rotates a pixel into the lanes."""
        m = Module()
        p = self.params
        row, col = Signal(range(p.rows + 1)), Signal(range(p.cols))
        beat = Signal(range(max(2, p.beats)))
        store, accept = Signal(), Signal()
        room, done = Signal(init=1), Signal()
        end_of_row = accept & (col == p.cols - 1)
        # one comparison per row that may come, a cycle ahead of what depends on it
        here, after = self._room(row), self._room(row + 1)
        m.d.sync += room.eq(Mux(end_of_row, after, here))
        m.d.comb += [
            # none of the next frame while a used-up one's tail is still being dropped
            self.rows_ready.eq(Mux(done, 0, row) if p.several else row),
            # not while a used-up frame's tail is still being dropped
            self.started.eq(((row != 0) | (col != 0)) & ~done),
        ]
        last_beat = beat == p.beats - 1
        last_pixel = (row == p.rows - 1) & (col == p.cols - 1)
        drop = Signal()
        with m.FSM():
            with m.State("FILL"):
                m.d.comb += [store.eq(self.i.valid & room), self.i.ready.eq(room & last_beat)]
                with m.If(accept & last_pixel & ~self.i.payload.last):
                    m.d.comb += self.late.eq(1)
                    m.d.sync += [self.bad.eq(1), drop.eq(1)]
                with m.Elif(accept & ~last_pixel & self.i.payload.last):
                    m.d.comb += self.early.eq(1)
                    m.d.sync += self.bad.eq(1)
                    m.next = "PAD"
                with m.If(accept & last_pixel):
                    m.next = "FULL"
            with m.State("PAD"):
                m.d.comb += store.eq(room)
                with m.If(accept & last_pixel):
                    m.next = "FULL"
            with m.State("FULL"):
                m.d.comb += self.i.ready.eq(drop)
                with m.If(self.i.valid & self.i.payload.last):
                    m.d.sync += drop.eq(0)
                m.d.sync += done.eq(done | self.release)
                with m.If((done | self.release) & ~drop):
                    m.d.sync += [row.eq(0), room.eq(1), self.bad.eq(0), done.eq(0)]
                    m.next = "FILL"
        m.d.comb += accept.eq(store & last_beat)
        with m.If(store):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        with m.If(accept):
            m.d.sync += col.eq(col + 1)
            with m.If(col == p.cols - 1):
                m.d.sync += [col.eq(0), row.eq(row + 1)]
        self._write(m, store, beat, end_of_row, row)
        return m

    def _room(self, row):
        """Whether the line buffer has room for a row of the frame."""
        p = self.params
        return (row < p.rows) & (row < self.freed + p.capacity)

    def _write(self, m: Module, store, beat, end_of_row, row) -> None:
        """Bytes of this beat go to the lanes from ``phase`` on, wrapping into the next word."""
        p = self.params
        word, row_word = Signal(self.word_width), Signal(self.word_width)
        phase = Signal(range(max(2, p.lanes)))
        count = Signal(range(p.lanes + 1))
        tail = p.channels - (p.beats - 1) * p.lanes
        m.d.comb += count.eq(Mux(beat == p.beats - 1, tail, p.lanes))
        pixel = self._values(m, beat)
        for lane in range(p.lanes):
            index = Signal(range(max(2, p.lanes)), name=f"index_{lane}")
            wraps = lane < phase
            m.d.comb += [
                index.eq(Mux(wraps, lane + p.lanes - phase, lane - phase)),
                self.w_en[lane].eq(store & (index < count)),
                self.w_addr[lane].eq(word + wraps),
                self.w_data[lane].eq(pixel.word_select(index, PIXEL_BITS)),
            ]
        total = Signal(range(2 * p.lanes + 1))
        m.d.comb += total.eq(phase + count)
        with m.If(store):
            m.d.sync += phase.eq(Mux(total >= p.lanes, total - p.lanes, total))
            m.d.sync += word.eq(word + (total >= p.lanes))
        with m.If(end_of_row):
            m.d.sync += [
                phase.eq(0),
                word.eq(row_word + p.row_words),
                row_word.eq(row_word + p.row_words),
            ]
            with m.If(row == p.rows - 1):
                m.d.sync += [word.eq(0), row_word.eq(0)]

    def _values(self, m: Module, beat) -> Signal:
        """This beat's pixel values less their zero points."""
        p = self.params
        values = Signal(PIXEL_BITS * p.lanes * p.beats)
        for channel in range(p.channels):
            byte = self.i.payload.data.word_select(channel, 8)
            m.d.comb += values.word_select(channel, PIXEL_BITS).eq(byte - p.zero_point[channel])
        out = Signal(PIXEL_BITS * p.lanes)
        m.d.comb += out.eq(values.word_select(beat, PIXEL_BITS * p.lanes))
        return out


class LineBuffer(wiring.Component):
    """Reads ``lanes`` consecutive bytes of a row from any position; outside the row they are 0.

    Latency LATENCY cycles, one read per cycle. The lanes are banks; a read rotates them.

    Members
    -------
    w_en, w_addr, w_data : In
        From :class:`FrameInput`.
    src, phase, byte, row_bytes : In
        Word of the first byte, its lane, its position in the row (signed), bytes of a row.
    o : Out
        ``lanes`` signed values.
    """

    LATENCY = 2

    def __init__(self, params: FrameParams, address_width: int) -> None:
        self.params = p = params
        width = max(1, (p.words - 1).bit_length())
        super().__init__(
            {
                "w_en": In(p.lanes),
                "w_addr": In(data.ArrayLayout(unsigned(width), p.lanes)),
                "w_data": In(data.ArrayLayout(signed(PIXEL_BITS), p.lanes)),
                "src": In(signed(address_width)),
                "phase": In(range(max(2, p.lanes))),
                "byte": In(signed(address_width)),
                "row_bytes": In(address_width),
                "o": Out(data.ArrayLayout(signed(PIXEL_BITS), p.lanes)),
            }
        )

    def elaborate(self, platform) -> Module:
        """One memory per lane, then rotation and mask."""
        m = Module()
        p = self.params
        banks = []
        for lane in range(p.lanes):
            memory = Memory(shape=signed(PIXEL_BITS), depth=p.words, init=[])
            m.submodules[f"bank_{lane}"] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            bank = Signal(signed(PIXEL_BITS), name=f"bank_{lane}_q", reset_less=True)
            m.d.comb += [
                write.en.eq(self.w_en[lane]),
                write.addr.eq(self.w_addr[lane]),
                write.data.eq(self.w_data[lane]),
                read.addr.eq(self.src + (lane < self.phase)),
            ]
            m.d.sync += bank.eq(read.data)
            banks.append(bank)
        phase, byte = Signal.like(self.phase), Signal.like(self.byte)
        m.d.sync += [phase.eq(self.phase), byte.eq(self.byte)]
        rotated = Signal(PIXEL_BITS * p.lanes)
        with m.Switch(phase):
            for turn in range(p.lanes):
                with m.Case(turn):
                    m.d.comb += rotated.eq(Cat(banks[turn:], banks[:turn]))
        for lane in range(p.lanes):
            inside = (byte + lane >= 0) & (byte + lane < self.row_bytes)
            m.d.sync += self.o[lane].eq(Mux(inside, rotated.word_select(lane, PIXEL_BITS), 0))
        return m
