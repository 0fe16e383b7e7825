"""Steps of a tile: tap rows, tap columns, input-channel tiles; taps off the image are skipped."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from r2b.hw.descriptor import Table
from r2b.hw.memory import rom
from r2b.hw.walker import TileWalker


def step_layout(
    descriptor: data.StructLayout, lanes: int, address_width: int, depth: int, px: int = 1
) -> data.StructLayout:
    """A step: its weight word, the first pixel's input address, the pixels' rectangle.

    If ``px`` > 1 its columns are groups of so many pixels; ``skipped`` and ``kept`` are the first
    pixel of the first group and the last one of the last group that are valid.
    """
    field = dict(descriptor.members)
    places = dict.fromkeys(("in_row", "in_col"), signed(address_width))
    edges = dict.fromkeys(("skipped", "kept"), range(px))
    return data.StructLayout(
        (places if "filled" in field else {})
        | (edges if px > 1 else {})
        | {
            "weight": unsigned(address_width),
            "src": signed(address_width),
            "phase": range(max(2, lanes)),
            "byte": signed(address_width),
            "rows": field["tile_rows"],
            "cols": field["tile_cols"],
            "tile_cols": field["tile_cols"],
            "index": range(depth),
            "last_kc": 1,
            "first": 1,
            "last": 1,
            "opens": 1,  # first step of a weight segment
            "closes": 1,  # last step of it
            "band_end": 1,  # last step that reads this row of tiles
            "stage_end": 1,  # last step of the stage
            "free": signed(address_width),  # input rows below are not needed after band_end
        }
    )


class StepGenerator(wiring.Component):
    """Produces a stage's steps in order.

    A step is offered ``lookups + 2`` cycles after its predecessor was taken where a new tap begins
    (one more where a new tile begins), one cycle after it otherwise; look-ups are counted in
    :class:`r2b.hw.geometry.Step`.

    Parameters
    ----------
    descriptor : StructLayout
    taps : Table
        The tap table.
    lanes, address_width, depth : int
        Bytes per line-buffer word, address bits, T.
    px : int
        Pixels per column group, a power of two.

    Members
    -------
    d : In(descriptor)
    start : In(1)
    rows_ready : In
        Input rows that are complete; only stages that read the frame look at it.
    starved : Out(1)
        A tile needs rows that are not there yet.
    o, valid, ready
        The step stream.
    """

    def __init__(self, descriptor, taps: Table, lanes: int, address_width: int, depth: int,
                 px: int = 1) -> None:  # fmt: skip
        self.descriptor, self.taps = descriptor, taps
        self.lanes, self.address_width, self.depth = lanes, address_width, depth
        self.px, self.shift = px, exact_log2(px)
        self.walker = TileWalker(descriptor, lanes, address_width)
        super().__init__(
            {
                "d": In(descriptor),
                "start": In(1),
                "rows_ready": In(address_width),
                "starved": Out(1),
                "o": Out(step_layout(descriptor, lanes, address_width, depth, px)),
                "valid": Out(1),
                "ready": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Look up a tap, clip it to the tile, form the address, offer its steps."""
        m = Module()
        d = self.d
        m.submodules.walker = walker = self.walker
        m.d.comb += walker.d.eq(d)
        field = dict(self.descriptor.members)
        ky, last_y = Signal(field["last_ky"]), Signal(field["last_ky"])
        kx, last_x = Signal(field["last_kx"]), Signal(field["last_kx"])
        kc = Signal(field["last_kc"])
        tap_weight = Signal(self.address_width)
        row_weight = Signal(self.address_width)
        look_row = Signal()
        look = self._lookup(m, Mux(look_row, d.tap_y + ky, d.tap_x + kx), look_row)
        rows = Signal(look.shape())
        cols = Signal(look.shape())
        m.d.comb += [self.o.last_kc.eq(kc == d.last_kc)]
        m.d.comb += self.o.last.eq((ky == last_y) & (kx == last_x) & self.o.last_kc)
        first = Signal()
        m.d.comb += self.o.first.eq(first)
        w = walker.o
        m.d.comb += [
            self.o.opens.eq(first & (w.row == 0) & (w.col == 0) & (~d.pixel_outer | (w.ko == 0))),
            self.o.closes.eq(self.o.last & Mux(d.pixel_outer, w.last, w.last_pixels)),
            self.o.stage_end.eq(self.o.last & w.last),
            self.o.band_end.eq(
                self.o.last
                & (w.col + w.cols == d.cols)
                & Mux(d.pixel_outer, w.ko == d.last_ko, w.ko == 0)
            ),
            self.o.free.eq(w.free),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += walker.start.eq(self.start)
                with m.If(self.start):
                    m.next = "TILE"
            with m.State("TILE"):
                need = Mux(walker.o.need < d.in_rows, walker.o.need, d.in_rows)
                m.d.comb += self.starved.eq(d.frame & (self.rows_ready < need))
                m.d.sync += [ky.eq(d.last_ky), kx.eq(d.last_kx), first.eq(1)]
                m.next = "LAST_ROW"
            with m.State("LAST_ROW"):
                m.d.comb += look_row.eq(1)
                m.d.sync += [last_y.eq(ky), ky.eq(Mux(look.valid, 0, ky - 1))]
                with m.If(look.valid):
                    m.next = "LAST_COL"
            with m.State("LAST_COL"):
                m.d.sync += [last_x.eq(kx), kx.eq(Mux(look.valid, 0, kx - 1))]
                m.d.sync += row_weight.eq(walker.o.weight)
                with m.If(look.valid):
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += look_row.eq(1)
                m.d.sync += rows.eq(look)
                with m.If(look.valid):
                    m.d.sync += [kx.eq(0), tap_weight.eq(row_weight)]
                    m.next = "COL"
                with m.Else():
                    m.d.sync += [ky.eq(ky + 1), row_weight.eq(row_weight + d.row_words)]
            with m.State("COL"):
                m.d.sync += cols.eq(look)
                with m.If(look.valid):
                    m.next = "ADDRESS"
                with m.Else():
                    m.d.sync += [kx.eq(kx + 1), tap_weight.eq(tap_weight + d.tap_words)]
            with m.State("ADDRESS"):
                self._address(m, rows, cols, tap_weight)
                m.d.sync += kc.eq(0)
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.ready):
                    self._advance(m, kc, kx, ky, first, (tap_weight, row_weight), last_x)
        return m

    def _lookup(self, m: Module, index, look_row) -> data.View:
        """The tap entry ``index`` clipped to the tile: offset, first output, outputs, clip.

        A column's clip and count are groups where there are several pixels to one.
        """
        w = self.walker.o
        table = rom(m, "taps", self.taps.layout, self.taps.content)
        port = table.read_port(domain="comb")
        m.d.comb += port.addr.eq(index)
        tap = port.data
        self.clip_width = len(tap.first)  # a clip is at most the tap's first valid output
        start = Mux(look_row, w.row, w.col)
        extent = Mux(look_row, w.rows, w.cols)
        width = max(len(w.row), len(w.col), len(tap.last)) + 1
        fields = {"offset": tap.shape()["offset"].shape, "clip": width, "count": width, "valid": 1}
        self.filled = "position" in tap.shape().members
        if self.filled:
            fields["position"] = tap.shape()["position"].shape
        if self.px > 1:
            fields |= {"skipped": range(self.px), "kept": range(self.px)}
        look = Signal(data.StructLayout(fields), name="look")
        stop, first, last = Signal(width), Signal(width), Signal(width)
        m.d.comb += [
            stop.eq(start + extent - 1),
            first.eq(Mux(tap.first > start, tap.first, start)),
            last.eq(Mux(tap.last < stop, tap.last, stop)),
            look.offset.eq(tap.offset),
            look.clip.eq(first - start),
            look.count.eq(last - first + 1),
            look.valid.eq(last >= first),
        ]
        if self.filled:
            m.d.comb += look.position.eq(tap.position)
        if self.px > 1:
            with m.If(~look_row):
                self._groups(m, look, first - start, last - start)
        return look

    def _groups(self, m: Module, look, begin, end) -> None:
        """Valid columns ``begin`` to ``end`` of the tile, which begins with a group, as groups."""
        m.d.comb += [
            look.clip.eq(begin >> self.shift),
            look.count.eq((end >> self.shift) - (begin >> self.shift) + 1),
            look.skipped.eq(begin),
            look.kept.eq(end),
        ]

    def _address(self, m: Module, rows, cols, tap_weight) -> None:
        """Input address of the first pixel; the clips are small, so the products are."""
        w, d, o = self.walker.o, self.d, self.o
        row_clip, col_clip = rows.clip[: self.clip_width], cols.clip[: self.clip_width]
        tile_cols = w.cols
        if self.px > 1:
            col_clip = cols.clip[: max(1, self.clip_width - self.shift)]
            tile_cols = Signal(max(1, len(w.cols) + 1 - self.shift), name="tile_groups")
            m.d.comb += tile_cols.eq((w.cols + self.px - 1) >> self.shift)
            m.d.sync += [o.skipped.eq(cols.skipped), o.kept.eq(cols.kept)]
        m.d.sync += [
            o.weight.eq(tap_weight),
            o.src.eq(
                w.src + rows.offset + cols.offset + row_clip * d.row_src + col_clip * d.col_src
            ),
            o.phase.eq(w.phase),
            o.byte.eq(w.byte),
            o.rows.eq(rows.count),
            o.cols.eq(cols.count),
            o.tile_cols.eq(tile_cols),
            o.index.eq(row_clip * tile_cols + col_clip),
        ]
        if self.filled:  # such taps are not clipped
            m.d.sync += [
                o.in_row.eq(w.in_row + rows.position),
                o.in_col.eq(w.in_col + cols.position),
            ]

    def _advance(self, m: Module, kc, kx, ky, first, weights, last_x) -> None:
        d, o = self.d, self.o
        tap_weight, row_weight = weights
        m.d.sync += first.eq(0)
        with m.If(~o.last_kc):
            m.d.sync += [
                kc.eq(kc + 1),
                o.weight.eq(o.weight + d.step_words),
                o.src.eq(o.src + 1),
                o.byte.eq(o.byte + self.lanes),
            ]
        with m.Elif(o.last):
            m.d.comb += self.walker.step.eq(1)
            m.next = "TILE"
            with m.If(self.walker.o.last):
                m.next = "IDLE"
        with m.Elif(kx == last_x):
            m.d.sync += [ky.eq(ky + 1), row_weight.eq(row_weight + d.row_words)]
            m.next = "ROW"
        with m.Else():
            m.d.sync += [kx.eq(kx + 1), tap_weight.eq(tap_weight + d.tap_words)]
            m.next = "COL"
