"""Drains finished tiles from the accumulators, one word of ``lanes`` sums per cycle."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch
from r2b.hw.walker import TileWalker


def request_layout(
    descriptor: data.StructLayout, address_width: int, depth: int, groups: int, px: int = 1,
    batch: Batch = ALONE,
):  # fmt: skip
    """One word of sums: where it stands in the accumulators, and where its result belongs.

    ``px``, only if there are several: which pixel of the column group ``index``; so is ``frame``,
    whose offset is in ``fm`` and ``sm``, but not in ``channel``.
    """
    field = dict(descriptor.members)
    return data.StructLayout(
        ({"px": range(px)} if px > 1 else {})
        | ({"frame": range(batch.frames)} if batch.several else {})
        | {
            "valid": 1,
            "bank": 1,
            "index": range(depth),
            "group": range(max(2, groups)),  # of the tile
            "channel": unsigned(address_width),  # group of the stage
            "fm": unsigned(address_width),
            "sm": unsigned(address_width),
            "sm_bank": unsigned(address_width),
            "row": field["rows"],
            "col": field["cols"],
            "first": 1,  # first pixel of the stage, for its frame
        }
    )


ENDS = data.StructLayout({"group": 1, "col": 1, "row": 1})
"""Whether a position is the last one of its pixel, of its row in the tile, of its column."""


class Drain(wiring.Component):
    """Pixel by pixel, group by group: ``pixels * groups`` cycles per tile, of all its frames.

    It looks for a full bank in one cycle, requests in the next ones, and the bank is free again in
    the cycle after the last request. It looks for the next one SETUP cycles after
    that. After the stage's last request it waits ``flush`` cycles.

    Parameters
    ----------
    descriptor : StructLayout
    lanes, address_width, depth, groups : int
        Groups: words per pixel of a full output-channel tile.
    sign_banks : int
        Groups per word of the sign memory.
    px : int
        Pixels per column group of the accumulators.
    flush : int
        Cycles from a request until its result is in every memory.
    batch : Batch

    Members
    -------
    d : In(descriptor)
    start : In(1)
    full : In(2)
        Banks whose sums are complete.
    hold : In(1)
        The gate's slopes are not ready.
    free : Out(2)
        The bank is drained.
    o : Out(request_layout)
    done : Out(1)
        The stage's results are in memory.
    """

    SETUP = 2

    def __init__(self, descriptor, lanes: int, address_width: int, depth: int, groups: int,
                 sign_banks: int, flush: int, px: int = 1,
                 batch: Batch = ALONE) -> None:  # fmt: skip
        self.batch = batch
        self.address_width, self.groups, self.px = address_width, groups, px
        self.sign_banks, self.flush = sign_banks, flush
        self.walker = TileWalker(descriptor, lanes, address_width, batch)
        super().__init__(
            {
                "d": In(descriptor),
                "start": In(1),
                "full": In(2),
                "hold": In(1),
                "free": Out(2),
                "o": Out(request_layout(descriptor, address_width, depth, groups, px, batch)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Tile walker, channel-tile offsets, pixel and group counters."""
        m = Module()
        d, o, walker = self.d, self.o, self.walker
        m.submodules.walker = walker
        bank, flushed, settled = Signal(), Signal(range(self.flush + 1)), Signal()
        base = self._channel_base()
        after = self._channels_after(m, base)
        self.ends, self.only = (Signal(ENDS, name=name) for name in ("ends", "only"))
        beside = ("px",) if self.px > 1 else ()
        position = Signal(data.StructLayout({n: o.shape()[n].shape for n in (
            *beside, "index", "group", "fm", "sm", "sm_bank", "row", "col")}))  # fmt: skip
        word = Signal.like(o.sm)
        final_group = Signal.like(position.group)  # ready when the walker's extent is
        m.d.sync += final_group.eq(
            Mux(walker.o.ko == d.last_ko, d.last_groups - 1, d.ko_groups - 1)
        )
        m.d.comb += [
            o[n].eq(position[n]) for n in (*beside, "index", "group", "row", "col", "sm_bank")
        ]
        m.d.comb += [
            walker.d.eq(d),
            o.bank.eq(bank),
            o.channel.eq(base.channel + position.group),
            o.fm.eq(position.fm + base.channel + position.group),
            o.sm.eq(position.sm + word),
            o.first.eq((position.row == 0) & (position.col == 0)),
        ]
        if self.batch.several:
            self._frames(m)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += walker.start.eq(self.start)
                self._first_channels(m, base)
                with m.If(self.start):
                    m.next = "WAIT"
            with m.State("WAIT"):
                self._first_ends(m, final_group)
                m.d.sync += [
                    settled.eq(1),
                    position.eq(0),
                    position.row.eq(walker.o.row),
                    position.col.eq(walker.o.col),
                    position.fm.eq(walker.o.fm),
                    position.sm.eq(walker.o.sm),
                    position.sm_bank.eq(base.sm_bank),
                    word.eq(base.sm),
                ]
                if self.batch.several:
                    m.d.sync += [self.frame.eq(0), self.start_fm.eq(walker.o.fm)]
                    m.d.sync += self.start_sm.eq(walker.o.sm)
                with m.If(Array(self.full)[bank] & settled & ~self.hold):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += o.valid.eq(1)
                m.d.sync += settled.eq(0)
                self._next_word(m, position, word, base)
                self._next_ends(m, position, final_group)
                last = self.ends.group & self.ends.col & self.ends.row
                if self.batch.several:
                    self._next_frame(m, position, last)
                    last = last & self.last_frame
                with m.If(last):
                    m.d.comb += self.free.eq(Cat(~bank, bank))
                    m.d.sync += [bank.eq(~bank), flushed.eq(1)]
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.comb += walker.step.eq(1)
                self._next_channels(m, base, after)
                m.next = "WAIT"
                with m.If(walker.o.last):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.sync += flushed.eq(flushed + 1)
                with m.If(flushed == self.flush):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m

    def _first_ends(self, m: Module, final_group) -> None:
        """Which of the tile's first group, column and row is its last, too; final in the second
        cycle of the wait, when the walker's extent is there.
        """
        w = self.walker.o
        only = Cat(final_group == 0, w.col == w.end_col, w.row == w.end_row)
        m.d.sync += [self.only.as_value().eq(only), self.ends.as_value().eq(only)]

    def _next_ends(self, m: Module, position, final_group) -> None:
        """The same of the position that comes next: a comparison takes too long to decide it."""
        w, ends, only = self.walker.o, self.ends, self.only
        m.d.sync += ends.group.eq(Mux(ends.group, only.group, position.group + 1 == final_group))
        with m.If(ends.group):
            m.d.sync += ends.col.eq(Mux(ends.col, only.col, position.col + 1 == w.end_col))
        with m.If(ends.group & ends.col):
            m.d.sync += ends.row.eq(Mux(ends.row, only.row, position.row + 1 == w.end_row))

    def _frames(self, m: Module) -> None:
        """Frame of the tile, and where its results begin."""
        self.frame, self.last_frame = Signal.like(self.o.frame, name="frame"), Signal()
        self.start_fm, self.start_sm = (Signal.like(self.o.fm, name=f"start_{n}") for n in "fs")
        m.d.comb += [
            self.o.frame.eq(self.walker.o.frame + self.frame),
            self.last_frame.eq(self.frame == self.d.tile_frames - 1),
        ]

    def _next_frame(self, m: Module, position, last) -> None:
        """Behind a frame's last word: the first pixel of the tile's next one."""
        fm, sm = self.start_fm + self.batch.fm, self.start_sm + self.batch.sm
        with m.If(last):
            m.d.sync += [
                self.frame.eq(self.frame + 1),
                position.row.eq(self.walker.o.row),
                *(place.eq(fm) for place in (position.fm, self.start_fm)),
                *(place.eq(sm) for place in (position.sm, self.start_sm)),
            ]

    def _channel_base(self) -> data.View:
        """Offsets of the output-channel tile: group of the stage, sign word, bank in it."""
        width = self.address_width
        return Signal(
            data.StructLayout({"channel": width, "sm": width, "sm_bank": width}), name="base"
        )

    def _channels_after(self, m: Module, base) -> data.View:
        """Offsets of the tile that follows, two cycles after ``base``: no tile ends before."""
        d, after = self.d, Signal.like(base, name="base_after")
        bank = Signal(self.address_width + 1, name="next_sm_bank")
        wrap = bank >= self.sign_banks
        m.d.sync += [
            bank.eq(base.sm_bank + d.ko_sign_banks),
            after.channel.eq(base.channel + d.ko_groups),
            after.sm.eq(base.sm + d.ko_sign_words + wrap),
            after.sm_bank.eq(Mux(wrap, bank - self.sign_banks, bank)),
        ]
        return after

    def _next_channels(self, m: Module, base, after) -> None:
        walker = self.walker
        with m.If(self.d.pixel_outer | walker.o.last_pixels):
            m.d.sync += base.eq(after)
            with m.If(walker.o.last_ko):
                self._first_channels(m, base)

    def _first_channels(self, m: Module, base) -> None:
        """Where the pass's channels begin in a pixel."""
        d = self.d
        m.d.sync += base.eq(0)
        if "first_group" in d.shape().members:
            m.d.sync += [
                base.channel.eq(d.first_group),
                base.sm.eq(d.first_sign_word),
                base.sm_bank.eq(d.first_sign_bank),
            ]

    def _next_word(self, m: Module, position, word, base) -> None:
        """Next group of the pixel, else the next pixel of the tile."""
        d, walker = self.d, self.walker
        m.d.sync += [
            position.group.eq(position.group + 1),
            position.sm_bank.eq(position.sm_bank + 1),
        ]
        with m.If(position.sm_bank == self.sign_banks - 1):
            m.d.sync += [position.sm_bank.eq(0), word.eq(word + 1)]
        with m.If(self.ends.group):
            m.d.sync += [
                position.group.eq(0),
                position.index.eq(position.index + 1),
                position.fm.eq(position.fm + d.fm_pixel),
                position.sm.eq(position.sm + d.sm_pixel),
                position.sm_bank.eq(base.sm_bank),
                word.eq(base.sm),
                position.col.eq(position.col + 1),
            ]
            with m.If(self.ends.col):
                m.d.sync += [position.col.eq(walker.o.col), position.row.eq(position.row + 1)]
            if self.px > 1:
                self._next_pixel(m, position)

    def _next_pixel(self, m: Module, position) -> None:
        """Next pixel of its group, else the next group; a row's last group may be incomplete."""
        m.d.sync += [position.index.eq(position.index), position.px.eq(position.px + 1)]
        with m.If(self.ends.col | (position.px == self.px - 1)):
            m.d.sync += [position.index.eq(position.index + 1), position.px.eq(0)]
