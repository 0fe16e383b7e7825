"""Steps of a tile: tap rows, tap columns, input-channel tiles; taps off the image are skipped."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from r2b.hw.batch import ALONE, Batch
from r2b.hw.descriptor import Table
from r2b.hw.memory import rom
from r2b.hw.pipeline import registered
from r2b.hw.walker import TileWalker


def sums_fields(descriptor: data.StructLayout) -> dict:
    """What a pixel has to do with the buffer of sums: it adds to a sum, or takes one; ``fresh``:
    the sum begins; ``kc``: which word of the input channels it is.
    """
    return {"sum": 1, "reuse": 1, "fresh": 1, "kc": dict(descriptor.members)["last_kc"]}


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
        | (sums_fields(descriptor) if "buffered" in field else {})
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
            "stage_end": 1,  # last step of the stage, or of the stage for a frame of a batch
            "free": signed(address_width),  # input rows below are not needed after band_end
        }
    )


class StepGenerator(wiring.Component):
    """Produces a stage's steps in order.

    A step is offered ``LOOKUP * lookups + ADDRESS`` cycles after its predecessor was taken where a
    new tap begins (TILE more where a new tile begins), one cycle after it otherwise; look-ups are
    counted in :class:`r2b.hw.geometry.Step`.

    Parameters
    ----------
    descriptor : StructLayout
    taps : Table
        The tap table.
    lanes, address_width, depth : int
        Bytes per line-buffer word, address bits, T.
    shared : bool
        The weight stream is shared with the vector unit.
    px : int
        Pixels per column group, a power of two.
    batch : Batch

    Members
    -------
    d : In(descriptor)
    start : In(1)
    finish : In(1)
        Only with several frames: one has been read to its end. The next one's tiles, which need its
        rows, begin only then: to wait for rows stops what still reads the frame before.
    need : Out
        Input rows that the tile needs.
    checks : Out(1)
        They must be there in the next cycle.
    o, valid, ready
        The step stream.
    reading : In(1)
        Only if ``shared``: a segment after the stage's first one is not asked for, since it comes
        behind what the vector unit still reads, and waiting for it would stop the vector unit, too.
    """

    LOOKUP = 3
    """The table is read, compared with the tile, and decides what follows, a cycle each."""
    TILE = 2
    """The walker steps, and the first look-up begins."""
    ADDRESS = 3
    """A product, a sum, and the step is there."""

    def __init__(
        self, descriptor, taps: Table, lanes: int, address_width: int, depth: int,
        shared: bool = False, px: int = 1, batch: Batch = ALONE,
    ) -> None:  # fmt: skip
        self.batch = batch
        self.descriptor, self.taps, self.shared = descriptor, taps, shared
        self.buffered = "buffered" in descriptor.members
        self.lanes, self.address_width, self.depth = lanes, address_width, depth
        self.px, self.shift = px, exact_log2(px)
        self.walker = TileWalker(descriptor, lanes, address_width, batch)
        super().__init__(
            ({"reading": In(1)} if shared else {})
            | ({"finish": In(1)} if batch.several else {})
            | {
                "d": In(descriptor),
                "start": In(1),
                "need": Out(address_width),
                "checks": Out(1),
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
        index = range(len(self.taps.rows) + 1)  # of an entry of the tap table
        y, last_y, x, last_x = (Signal(index, name=n) for n in ("y", "last_y", "x", "last_x"))
        last_tap, last_in_row = Signal(), Signal()
        kc = Signal(field["last_kc"])
        tap_weight = Signal(self.address_width)
        row_weight = Signal(self.address_width)
        self.look_row = look_row = Signal()  # the state looks a row up, not a column
        compared, looked = Signal(), Signal()  # the table's entry is compared; and decides
        m.d.sync += [compared.eq(0), looked.eq(0)]
        look = self._lookup(m, Mux(look_row, y, x), look_row)
        rows, cols = (Signal(look.shape(), name=name, reset_less=True) for name in ("rows", "cols"))
        m.d.comb += self.o.last.eq(last_tap & self.o.last_kc)
        first = Signal()
        m.d.comb += self.o.first.eq(first)
        # the descriptor's registers lie elsewhere; a stage's first product comes cycles later
        row_src, col_src = (
            Signal.like(d[name], name=name, reset_less=True) for name in ("row_src", "col_src")
        )
        self.col_product = Signal.like(self.o.src, name="col_product", reset_less=True)
        m.d.sync += [
            row_src.eq(d.row_src),
            col_src.eq(d.col_src),
            self.col_product.eq(cols.clip * col_src),
        ]
        w = walker.o
        opens = (w.row == 0) & (w.col == 0) & (~d.pixel_outer | (w.ko == 0))
        opens = opens & (w.frame == 0) if self.batch.several else opens
        closes = Mux(d.pixel_outer, w.last, w.last_pixels)
        last_taps = d.last_ky, d.last_kx
        if self.buffered:  # every tile has a segment; all but a pixel tile's first read sums
            opens, closes, reuse = d.buffered | opens, d.buffered | closes, Signal(name="reuse")
            last_taps = Mux(reuse, 0, d.last_ky), Mux(reuse, 0, d.last_kx)
            m.d.comb += [
                reuse.eq(d.buffered & (w.ko != 0)),
                self.o.reuse.eq(reuse),
                self.o.sum.eq(d.buffered & ~reuse),
                self.o.fresh.eq((y == d.tap_y) & (x == d.tap_x)),
                self.o.kc.eq(kc),
            ]
        stage_end = w.frame_end if self.batch.several else w.last
        band_end = w.last_col & Mux(d.pixel_outer, w.last_ko, w.ko == 0)
        opens, closes, stage_end, band_end = (  # of the tile, long before its first step
            registered(m, *named) for named in (
                (opens, "tile_opens"), (closes, "tile_closes"),
                (stage_end, "tile_ends_stage"), (band_end, "tile_ends_band"),
            )
        )  # fmt: skip
        m.d.comb += [
            self.o.opens.eq(first & opens),
            self.o.closes.eq(self.o.last & closes),
            self.o.stage_end.eq(self.o.last & stage_end),
            self.o.band_end.eq(self.o.last & band_end),
            self.o.free.eq(w.free),
            self.need.eq(Mux(w.need < d.in_rows, w.need, d.in_rows)),
        ]
        self._row_start(m, rows, row_src)
        turn = [compared.eq(~compared & ~looked), looked.eq(compared)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += walker.start.eq(self.start)
                with m.If(self.start):
                    m.next = "TILE"
            if self.batch.several:
                with m.State("FRAME"):  # the one before is still being read
                    with m.If(self.finish):
                        m.next = "TILE"
            with m.State("TILE"):
                m.d.sync += [y.eq(d.tap_y + last_taps[0]), x.eq(d.tap_x + last_taps[1])]
                m.d.sync += [first.eq(1), look_row.eq(1)]
                m.d.comb += self.checks.eq(1)
                m.next = "LAST_ROW"
            with m.State("NEXT"):
                m.d.comb += walker.step.eq(1)
                m.next = "TILE"
                if self.batch.several:
                    with m.If(d.frame & walker.o.frame_end):
                        m.next = "FRAME"
                with m.If(walker.o.last):
                    m.next = "IDLE"
            with m.State("LAST_ROW"):
                m.d.sync += turn
                with m.If(looked):
                    m.d.sync += [last_y.eq(y), y.eq(Mux(look.valid, d.tap_y, y - 1))]
                    with m.If(look.valid):
                        m.d.sync += look_row.eq(0)
                        m.next = "LAST_COL"
            with m.State("LAST_COL"):
                m.d.sync += [*turn, row_weight.eq(walker.o.weight)]
                with m.If(looked):
                    m.d.sync += [last_x.eq(x), x.eq(Mux(look.valid, d.tap_x, x - 1))]
                    with m.If(look.valid):
                        m.d.sync += look_row.eq(1)
                        m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [*turn, rows.eq(look)]
                with m.If(looked & look.valid):
                    m.d.sync += look_row.eq(0)
                    m.d.sync += [x.eq(d.tap_x), tap_weight.eq(row_weight)]
                    m.next = "COL"
                with m.Elif(looked):
                    m.d.sync += [y.eq(y + 1), row_weight.eq(row_weight + d.row_words)]
            with m.State("COL"):
                m.d.sync += [*turn, cols.eq(look)]
                with m.If(looked & look.valid):
                    m.next = "PRODUCT"
                with m.Elif(looked):
                    m.d.sync += [x.eq(x + 1), tap_weight.eq(tap_weight + d.tap_words)]
            with m.State("PRODUCT"):  # of _address
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                self._address(m, rows, cols, tap_weight)
                m.d.sync += [
                    kc.eq(0),
                    self.o.last_kc.eq(d.last_kc == 0),
                    last_in_row.eq(x == last_x),
                    last_tap.eq((x == last_x) & (y == last_y)),
                ]
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += self.valid.eq(self._may_offer(m))
                with m.If(self.ready & self.valid if self.shared else self.ready):
                    self._advance(m, kc, x, y, first, (tap_weight, row_weight), last_in_row)
        return m

    def _may_offer(self, m: Module):
        """Whether the step's weights can be there without the vector unit's help."""
        if not self.shared:
            return 1
        begun = Signal(name="begun")  # the stage's first step was taken
        end = self.o.last & self.walker.o.last if self.batch.several else self.o.stage_end
        with m.If(self.valid & self.ready):
            m.d.sync += begun.eq(~end)
        return ~(self.o.opens & begun & self.reading)

    def _lookup(self, m: Module, index, look_row) -> data.View:
        """The tap entry ``index``, two cycles later, clipped to the tile: offset, first and last
        output, clip.

        A column's clip is in groups where there are several pixels to one; so is ``groups``, their
        number.
        """
        w = self.walker.o
        table = rom(m, "taps", self.taps.layout, self.taps.content, logic=True)
        port = table.read_port(domain="comb")
        tap = Signal(self.taps.layout, name="tap", reset_less=True)
        m.d.comb += port.addr.eq(index)
        m.d.sync += tap.eq(port.data)
        self.clip_width = len(tap.first)  # a clip is at most the tap's first valid output
        width = max(len(w.row), len(w.col), len(tap.last))
        start, stop = (Signal(width, name=name) for name in ("start", "stop"))
        m.d.sync += [  # with the entry
            start.eq(Mux(look_row, w.row, w.col)),
            stop.eq(Mux(look_row, w.end_row, w.end_col)),
        ]
        fields = {"offset": tap.shape()["offset"].shape, "clip": self.clip_width,
                  "first": width, "last": width, "valid": 1}  # fmt: skip
        self.filled = "position" in tap.shape().members
        if self.filled:
            fields["position"] = tap.shape()["position"].shape
        if self.px > 1:
            fields |= {"groups": width, "skipped": range(self.px), "kept": range(self.px)}
        look = Signal(data.StructLayout(fields), name="look")
        clipped = tap.first > start
        m.d.comb += [
            look.offset.eq(tap.offset),
            look.clip.eq(Mux(clipped, tap.first - start, 0)),
            look.first.eq(Mux(clipped, tap.first, start)),
            look.last.eq(Mux(tap.last < stop, tap.last, stop)),
            # last >= first of the clipped range, comparisons side by side
            look.valid.eq((tap.last >= start) & (tap.first <= stop) & (tap.first <= tap.last)),
        ]
        if self.filled:
            m.d.comb += look.position.eq(tap.position)
        if self.px > 1:
            with m.If(~look_row):
                self._groups(m, look, look.first - start, look.last - start)
        found = Signal.like(look, name="found")
        m.d.sync += found.eq(look)
        return found

    def _groups(self, m: Module, look, begin, end) -> None:
        """Valid columns ``begin`` to ``end`` of the tile, which begins with a group, as groups."""
        m.d.comb += [
            look.clip.eq(begin >> self.shift),
            look.groups.eq((end >> self.shift) - (begin >> self.shift) + 1),
            look.skipped.eq(begin),
            look.kept.eq(end),
        ]

    def _tile_groups(self, m: Module):
        """Columns of the tile, as groups of pixels."""
        cols = self.walker.o.cols
        if self.px == 1:
            return cols
        groups = Signal(max(1, len(cols) + 1 - self.shift), name="tile_groups")
        m.d.comb += groups.eq((cols + self.px - 1) >> self.shift)
        return groups

    def _row_start(self, m: Module, rows, stride) -> None:
        """Input address and place in the tile of the tap row's first pixel, before the columns are
        looked up; the clips are small, so the products are.
        """
        w = self.walker.o
        self.row_src, self.row_index = Signal.like(self.o.src), Signal.like(self.o.index)
        product = Signal.like(self.o.src, name="row_product", reset_less=True)
        self.tile_cols = self._tile_groups(m)
        m.d.sync += [
            product.eq(rows.clip * stride),
            self.row_src.eq(w.src + rows.offset + product),
            self.row_index.eq(rows.clip * self.tile_cols),
        ]

    def _address(self, m: Module, rows, cols, tap_weight) -> None:
        """Input address of the first pixel, from the row's."""
        w, o = self.walker.o, self.o
        count = cols.last - cols.first + 1
        if self.px > 1:
            count = cols.groups
            m.d.sync += [o.skipped.eq(cols.skipped), o.kept.eq(cols.kept)]
        m.d.sync += [
            o.weight.eq(tap_weight),
            o.src.eq(self.row_src + cols.offset + self.col_product),
            o.phase.eq(w.phase),
            o.byte.eq(w.byte),
            o.rows.eq(rows.last - rows.first + 1),
            o.cols.eq(count),
            o.tile_cols.eq(self.tile_cols),
            o.index.eq(self.row_index + cols.clip),
        ]
        if self.filled:  # such taps are not clipped
            m.d.sync += [
                o.in_row.eq(w.in_row + rows.position),
                o.in_col.eq(w.in_col + cols.position),
            ]

    def _advance(self, m: Module, kc, x, y, first, weights, last_in_row) -> None:
        d, o = self.d, self.o
        tap_weight, row_weight = weights
        m.d.sync += first.eq(0)
        with m.If(~o.last_kc):
            m.d.sync += [
                kc.eq(kc + 1),
                o.last_kc.eq(kc + 1 == d.last_kc),
                o.weight.eq(o.weight + d.step_words),
                o.src.eq(o.src + 1),
                o.byte.eq(o.byte + self.lanes),
            ]
        with m.Elif(o.last):
            m.next = "NEXT"
        with m.Elif(last_in_row):
            m.d.sync += [y.eq(y + 1), row_weight.eq(row_weight + d.row_words)]
            m.d.sync += self.look_row.eq(1)
            m.next = "ROW"
        with m.Else():
            m.d.sync += [x.eq(x + 1), tap_weight.eq(tap_weight + d.tap_words)]
            m.next = "COL"
