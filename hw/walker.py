"""Walks a stage's tiles: the two outer loops, with every address kept incrementally."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch


def tile_layout(
    descriptor: data.StructLayout, lanes: int, address_width: int, batch: Batch = ALONE
) -> data.StructLayout:
    """Where a tile is: outputs, channel tile, and offsets into every memory it touches.

    With several frames: which is the tile's first, and whether the stage is done with them.
    """
    field = dict(descriptor.members)
    address = signed(address_width)
    places = {"in_row": address, "in_col": address} if "filled" in field else {}
    frames = {"frame": range(batch.frames), "frame_end": 1} if batch.several else {}
    return data.StructLayout(
        places
        | frames
        | {
            "row": field["rows"],
            "col": field["cols"],  # the tile's first output
            "rows": field["tile_rows"],
            "cols": field["tile_cols"],
            "end_row": field["rows"],
            "end_col": field["cols"],
            "ko": field["last_ko"],
            "last": 1,
            "last_pixels": 1,  # of the last frame
            "last_col": 1,
            "last_ko": 1,
            "src": address,
            "phase": range(max(2, lanes)),
            "byte": address,
            "weight": unsigned(address_width),
            "fm": unsigned(address_width),
            "sm": unsigned(address_width),
            "need": unsigned(address_width),
            "free": address,
        }
    )


class TileWalker(wiring.Component):
    """The tile the loops stand at, and the next one after ``step``.

    Where a tile begins (``row``, ``col``, ``ko`` and the offsets but ``src``) is there in the cycle
    after ``start`` or ``step``. What follows from it is registered and comes DERIVED cycles later:
    its extent, its last row and column, whether it is a last one, ``src``. So a step may come
    1 + DERIVED cycles after the one before.

    With several frames to a batch, all pixel tiles of a frame come before those of the next one,
    and the tiles of all frames take the place of those of one. A tile may hold whole frames.

    Parameters
    ----------
    descriptor : StructLayout
    lanes : int
        Bytes per line-buffer word; phases wrap there.
    address_width : int
    batch : Batch

    Members
    -------
    d : In(descriptor)
    start, step : In(1)
    o : Out(tile_layout)
    """

    DERIVED = 1

    def __init__(
        self, descriptor: data.StructLayout, lanes: int, address_width: int, batch: Batch = ALONE
    ) -> None:
        self.lanes = lanes
        self.address_width = address_width
        self.batch = batch
        self.layout = tile_layout(descriptor, lanes, address_width, batch)
        super().__init__(
            {"d": In(descriptor), "start": In(1), "step": In(1), "o": Out(self.layout)}
        )

    def elaborate(self, platform) -> Module:
        """Band and segment registers; a band is a row of tiles, a segment a tile in it."""
        m = Module()
        d, o = self.d, self.o
        self.band = {
            n: Signal(signed(self.address_width), name=f"band_{n}") for n in ("src", "fm", "sm")
        }
        self.seg = {
            n: Signal(self.layout[n].shape, name=f"seg_{n}")
            for n in ("src", "phase", "byte", "fm", "sm")
        }
        kept = ["row", "col", "ko", "need", "free", "weight"]
        self.filled = "filled" in d.shape().members
        if self.filled:
            kept += ["in_row", "in_col"]
        position = Signal(data.StructLayout({n: self.layout[n].shape for n in kept}))
        last_row = Signal()
        last_col, last_ko = o.last_col, o.last_ko
        self._extent(m, position, last_row)
        if self.batch.several:
            self._frames(m)
            m.d.comb += o.frame_end.eq(last_row & last_col & last_ko)

        def ends():  # of the last frame's pixels
            last = last_row & last_col
            return last & self.last_frame if self.batch.several else last

        m.d.comb += [o[n].eq(position[n]) for n in kept]
        m.d.comb += [
            o.last_pixels.eq(ends()),
            o.last.eq(ends() & last_ko),
            o.phase.eq(self.seg["phase"]),
            o.byte.eq(self.seg["byte"]),
            o.fm.eq(self.band["fm"] + self.seg["fm"]),
            o.sm.eq(self.band["sm"] + self.seg["sm"]),
        ]
        next_pixel = Signal()
        next_ko = Signal()
        self._source(m, next_ko, last_ko)
        m.d.comb += [
            next_pixel.eq(self.step & (~d.pixel_outer | last_ko)),
            next_ko.eq(self.step & (d.pixel_outer | ends())),
        ]
        with m.If(next_ko):
            m.d.sync += position.ko.eq(Mux(last_ko, 0, position.ko + 1))
            m.d.sync += position.weight.eq(
                Mux(last_ko, d.weight_base, position.weight + d.tile_words)
            )
        with m.If(self.start | (next_pixel & last_col & last_row)):
            self._reset_pixel(m, position)
        with m.Elif(next_pixel & last_col):
            self._next_band(m, position)
        with m.Elif(next_pixel):
            self._next_segment(m, position)
        with m.If(self.start):
            m.d.sync += [position.ko.eq(0), position.weight.eq(d.weight_base)]
        return m

    def _frames(self, m: Module) -> None:
        """The tile's first frame, its offset into each memory, and the one that comes next."""
        d, width = self.d, self.address_width
        self.frame, self.last_frame = Signal(range(self.batch.frames), name="frame"), Signal()
        self.offset = {n: Signal(width, name=f"frame_{n}") for n in self.band}
        self.after = {n: Signal(width, name=f"after_{n}") for n in self.band}
        strides = {"src": d.tile_src, "fm": d.tile_fm, "sm": d.tile_sm}
        m.d.comb += [
            self.o.frame.eq(self.frame),
            self.last_frame.eq(self.frame == d.end_frame),
        ]
        for name, register in self.offset.items():
            following = register + strides[name]
            m.d.comb += self.after[name].eq(Mux(self.start | self.last_frame, 0, following))

    def _extent(self, m: Module, position, last_row) -> None:
        """What follows from the tile's first output, a cycle later."""
        d, o = self.d, self.o
        row_after, col_after = position.row + d.tile_rows, position.col + d.tile_cols
        rows_end, cols_end = row_after >= d.rows, col_after >= d.cols
        m.d.sync += [
            last_row.eq(rows_end),
            o.last_col.eq(cols_end),
            o.last_ko.eq(position.ko == d.last_ko),
            o.rows.eq(Mux(rows_end, d.rows - position.row, d.tile_rows)),
            o.cols.eq(Mux(cols_end, d.cols - position.col, d.tile_cols)),
            o.end_row.eq(Mux(rows_end, d.rows - 1, row_after - 1)),
            o.end_col.eq(Mux(cols_end, d.cols - 1, col_after - 1)),
        ]

    def _source(self, m: Module, next_ko, last_ko) -> None:
        """Where the tile's first output reads; some channel tiles read channels of their own."""
        d, src = self.d, self.band["src"] + self.seg["src"]
        if "ko_src" in d.shape().members:
            channels = Signal(unsigned(self.address_width), name="ko_src")
            with m.If(next_ko):
                m.d.sync += channels.eq(Mux(last_ko, 0, channels + d.ko_src))
            with m.If(self.start):
                m.d.sync += channels.eq(0)
            src = src + channels
        m.d.sync += self.o.src.eq(src)

    def _reset_segment(self, m: Module, position) -> None:
        d = self.d
        m.d.sync += [
            position.col.eq(0),
            self.seg["src"].eq(d.start_src),
            self.seg["phase"].eq(d.start_phase),
            self.seg["byte"].eq(d.start_byte),
            self.seg["fm"].eq(0),
            self.seg["sm"].eq(0),
        ]
        if self.filled:
            m.d.sync += position.in_col.eq(0)

    def _reset_pixel(self, m: Module, position) -> None:
        self._reset_segment(m, position)
        m.d.sync += position.row.eq(0)
        for name, register in self.band.items():
            m.d.sync += register.eq(self.after[name] if self.batch.several else 0)
        if self.batch.several:
            m.d.sync += [self.offset[name].eq(self.after[name]) for name in self.band]
            following = self.frame + self.d.tile_frames
            m.d.sync += self.frame.eq(Mux(self.start | self.last_frame, 0, following))
        m.d.sync += [position.need.eq(self.d.need_first), position.free.eq(self.d.free_first)]
        if self.filled:
            m.d.sync += position.in_row.eq(0)

    def _next_band(self, m: Module, position) -> None:
        d = self.d
        self._reset_segment(m, position)
        m.d.sync += [
            position.row.eq(position.row + d.tile_rows),
            position.need.eq(position.need + d.need_step),
            position.free.eq(position.free + d.need_step),
            self.band["src"].eq(self.band["src"] + d.band_src),
            self.band["fm"].eq(self.band["fm"] + d.fm_band),
            self.band["sm"].eq(self.band["sm"] + d.sm_band),
        ]
        if self.filled:
            m.d.sync += position.in_row.eq(position.in_row + d.band_step)

    def _next_segment(self, m: Module, position) -> None:
        d = self.d
        phase = Signal(range(2 * self.lanes))
        m.d.comb += phase.eq(self.seg["phase"] + d.seg_phase)
        wrap = phase >= self.lanes
        m.d.sync += [
            position.col.eq(position.col + d.tile_cols),
            self.seg["phase"].eq(Mux(wrap, phase - self.lanes, phase)),
            self.seg["src"].eq(self.seg["src"] + d.seg_src + wrap),
            self.seg["byte"].eq(self.seg["byte"] + d.seg_byte),
            self.seg["fm"].eq(self.seg["fm"] + d.fm_seg),
            self.seg["sm"].eq(self.seg["sm"] + d.sm_seg),
        ]
        if self.filled:
            m.d.sync += position.in_col.eq(position.in_col + d.seg_step)
