"""Issues a stage: loads each step's weights one step ahead and streams its pixels."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from r2b.hw.steps import step_layout, sums_fields


def pixel_layout(
    descriptor: data.StructLayout, lanes: int, address_width: int, depth: int, lanes_in: int,
    px: int = 1,
) -> data.StructLayout:  # fmt: skip
    """One read of the source memory and where its contribution goes.

    ``outside``, only if some taps are executed outside the image: the array is to take the
    descriptor's fill instead of a read. With ``px`` > 1 it is a group of pixels, which differ in
    ``valid``, ``first`` and ``outside``, a bit for each, and whose sources are ``px_src`` words
    apart.
    """
    field = descriptor.members
    return data.StructLayout(
        ({"outside": px} if "filled" in field else {})
        | (sums_fields(descriptor) if "buffered" in field else {})
        | ({"px_src": data.ArrayLayout(signed(address_width), px)} if px > 1 else {})
        | {
            "valid": px,
            "load": 1,
            "first": px,
            "bank": 1,
            "index": range(depth),
            "count": range(lanes_in + 1),
            "src": signed(address_width),
            "phase": range(max(2, lanes)),
            "byte": signed(address_width),
        }
    )


EDGES = data.StructLayout({"col": 1, "row": 1})
"""Whether a pixel is the last one of its row, and in the last row of its step."""


class Issuer(wiring.Component):
    """Per step: ``load_words`` weight words, then one pixel per cycle, of every frame of the tile.

    With a step taken in cycle a, its words are requested in a+1 .. a+load_words and its pixels may
    start in the cycle after ``a + load_words + WORD_LATENCY`` or after the previous step's last
    pixel, whichever is later; the next step is taken ``turnaround + 1`` cycles after that.

    Parameters
    ----------
    descriptor : StructLayout
    lanes_in : int
        Input lanes of the array.
    lanes, address_width, depth : int
        As in :class:`r2b.hw.steps.StepGenerator`.
    load_words : int
        L_w.
    turnaround : int
        Cycles for which the array still reads the shadow weights after a hand-over.
    px : int
        Pixels per column group.

    Members
    -------
    d, i, valid, ready
        Descriptor and step stream.
    word, word_valid : Out
        Weight-memory address, relative to the memory's start.
    opens : Out(1)
        The first word of a weight segment is requested in the next cycle (freeze this component
        from there on while the segment is not there).
    closes : Out(1)
        The last word of a segment is requested.
    busy : In(2)
        Banks that are not drained yet.
    take : Out(2)
        The bank is taken by a tile.
    end : Out(1)
        The tile's last pixel is issued in this cycle.
    free : Out, release, finish : Out(1)
        Pulses with a row of tiles' and with the stage's last pixel; input rows below ``free`` have
        then been read.
    o : Out(pixel_layout)
    """

    WORD_LATENCY = 3

    def __init__(self, descriptor, lanes_in: int, lanes: int, address_width: int, depth: int,
                 load_words: int, turnaround: int, px: int = 1) -> None:  # fmt: skip
        self.lanes_in, self.lanes, self.px = lanes_in, lanes, px
        self.address_width, self.depth = address_width, depth
        self.load_words, self.turnaround = load_words, turnaround
        self.step_layout = step_layout(descriptor, lanes, address_width, depth, px)
        self.filled = "filled" in descriptor.members
        self.several = "tile_frames" in descriptor.members
        super().__init__(
            {
                "d": In(descriptor),
                "i": In(self.step_layout),
                "valid": In(1),
                "ready": Out(1),
                "word": Out(unsigned(address_width)),
                "word_valid": Out(1),
                "opens": Out(1),
                "closes": Out(1),
                "busy": In(2),
                "take": Out(2),
                "end": Out(1),
                "free": Out(signed(address_width)),
                "release": Out(1),
                "finish": Out(1),
                "o": Out(pixel_layout(descriptor, lanes, address_width, depth, lanes_in, px)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Loader and pixel counter; a hand-over moves the loaded step to the pixel counter."""
        m = Module()
        loaded = Signal(self.step_layout)
        hand_over, can_take = Signal(), Signal()
        self._loader(m, loaded, hand_over, can_take)
        self._pixels(m, loaded, hand_over, can_take)
        return m

    def _loader(self, m: Module, loaded, hand_over, can_take) -> None:
        cycles = max(self.load_words, self.turnaround, self.WORD_LATENCY)
        count = Signal(range(cycles + 1))
        self.one = Signal(EDGES, name="one")  # the loaded step has one column, one row
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.ready.eq(1), self.opens.eq(self.i.opens & self.valid)]
                m.d.sync += [loaded.eq(self.i), count.eq(0)]
                m.d.sync += [self.one.col.eq(self.i.cols == 1), self.one.row.eq(self.i.rows == 1)]
                with m.If(self.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [self.word.eq(loaded.weight + count), self.word_valid.eq(1)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == self.load_words - 1):
                    m.d.comb += self.closes.eq(loaded.closes)
                    m.d.sync += count.eq(0)
                    m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == self.WORD_LATENCY - 2):
                    m.next = "LOADED"
            with m.State("LOADED"):
                m.d.comb += hand_over.eq(can_take)
                m.d.sync += count.eq(0)
                with m.If(hand_over):
                    m.next = "TURN"
            with m.State("TURN"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == self.turnaround - 1):
                    m.next = "IDLE"

    def _pixels(self, m: Module, loaded, hand_over, can_take) -> None:
        d, o = self.d, self.o
        step = Signal(self.step_layout)
        active, load, bank = Signal(), Signal(), Signal(init=1)
        kept = ["src", "index", "phase", "byte", *(["in_col"] if self.filled else [])]
        row = Signal(data.StructLayout({n: self.step_layout[n].shape for n in kept}))
        cols_left, last = Signal.like(step.cols), Signal()
        # known ahead: a comparison takes too long to decide what follows
        edge, single = (Signal(EDGES, name=name) for name in ("edge", "single"))
        last_in_row = edge.col
        m.d.comb += last.eq(active & edge.col & edge.row)
        if self.several:
            self._frames(m, last)
        next_bank = Mux(loaded.first, ~bank, bank)
        free = (
            Signal()
        )  # of the bank that comes next; no tile's first step follows another's closely
        m.d.sync += free.eq(~Array(self.busy)[~bank])
        m.d.comb += can_take.eq((~active | last) & (free | ~loaded.first))
        touched = [Signal(self.depth, name=name) for name in self._names("touched")]
        marks = [bits.bit_select(step.index, 1) for bits in touched]
        valid = self._valid(m, step, cols_left, active)
        with m.If(active):
            m.d.sync += [
                *(mark.eq(1 if self.px == 1 else mark | valid[j]) for j, mark in enumerate(marks)),
                load.eq(0),
            ]
            self._next_pixel(m, step, cols_left, last_in_row, row)
            m.d.sync += edge.col.eq(Mux(edge.col, single.col, cols_left == 2))
            with m.If(edge.col):
                m.d.sync += edge.row.eq(Mux(edge.row, single.row, step.rows == 2))
            if self.several:
                self._next_frame(m, step, edge, row)
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(hand_over):
            m.d.sync += [
                edge.eq(self.one),
                single.eq(self.one),
                step.eq(loaded),
                bank.eq(next_bank),
                active.eq(1),
                load.eq(1),
                cols_left.eq(loaded.cols),
                *(row[n].eq(loaded[n]) for n in kept),
            ]
            if self.several:
                m.d.sync += [self.frame[n].eq(loaded[n]) for n in self.frame.shape().members]
                m.d.sync += self.frames_left.eq(d.tile_frames)
            with m.If(loaded.first):
                m.d.sync += [bits.eq(0) for bits in touched]
                m.d.comb += self.take.eq(Cat(~next_bank, next_bank))
        m.d.comb += [
            self.end.eq(last & step.last),
            self.free.eq(step.free),
            self.release.eq(last & step.band_end),
            self.finish.eq(last & step.stage_end),
            o.valid.eq(valid),
            o.load.eq(active & load),
            o.first.eq(Cat(~mark for mark in marks) if self.px > 1 else ~marks[0]),
            o.bank.eq(bank),
            o.index.eq(step.index),
            o.count.eq(Mux(step.last_kc, d.last_count, self.lanes_in)),
            o.src.eq(step.src),
            o.phase.eq(step.phase),
            o.byte.eq(step.byte),
        ]
        if "buffered" in d.shape().members:
            m.d.comb += [o[n].eq(step[n]) for n in sums_fields(d.shape())]
        if self.px > 1:
            unit = d.col_src >> exact_log2(self.px)  # a group's step is that of its pixels' number
            apart = self._multiples(m, unit, "apart")
            m.d.comb += [o.px_src[j].eq(step.src + words) for j, words in enumerate(apart)]
        if self.filled:
            inside_row = (step.in_row >= 0) & (step.in_row < d.in_rows)
            steps = self._multiples(m, d.col_step >> exact_log2(self.px), "columns")
            cols = [step.in_col, *(step.in_col + n for n in steps[1:])]
            inside = [inside_row & ((col >= 0) & (col < d.in_cols)) for col in cols]
            m.d.comb += [o.outside[j].eq(d.filled & ~here) for j, here in enumerate(inside)]

    def _frames(self, m: Module, last) -> None:
        """Frames of the tile, and where the first pixel of the current one is."""
        kept = ["rows", "src", "index", *(["in_row"] if self.filled else [])]
        layout = data.StructLayout({n: self.step_layout[n].shape for n in kept})
        self.frame, self.frames_left = Signal(layout, name="frame"), Signal.like(self.d.tile_frames)
        with m.If(self.frames_left != 1):
            m.d.comb += last.eq(0)

    def _next_frame(self, m: Module, step, edge, row) -> None:
        """The first pixel of the tile's next frame, behind the last one of a frame."""
        d, frame = self.d, self.frame
        src, index = frame.src + d.frame_src, frame.index + d.frame_index
        with m.If(edge.col & edge.row):
            m.d.sync += [
                self.frames_left.eq(self.frames_left - 1),
                step.rows.eq(frame.rows),
                *(place.src.eq(src) for place in (step, row, frame)),
                *(place.index.eq(index) for place in (step, row, frame)),
            ]
            if self.filled:
                m.d.sync += step.in_row.eq(frame.in_row)

    def _names(self, name: str) -> list[str]:
        """One per pixel of a group."""
        return [name] if self.px == 1 else [f"{name}_{j}" for j in range(self.px)]

    def _valid(self, m: Module, step, cols_left, active):
        """Which pixels of the group are valid: a row's first and last group may lack some."""
        if self.px == 1:
            return active
        valid = Signal(self.px, name="valid_pixels")
        for j in range(self.px):
            begun = (cols_left != step.cols) | (j >= step.skipped)
            m.d.comb += valid[j].eq(active & begun & ((cols_left != 1) | (j <= step.kept)))
        return valid

    def _multiples(self, m: Module, unit, name: str) -> list:
        """0, 1, 2 ... times a value of the descriptor, which stands long before the first pixel."""
        found = [0]
        for j in range(1, self.px):
            multiple = Signal(self.address_width, name=f"{name}_{j}")
            m.d.sync += multiple.eq(found[-1] + unit)
            found.append(multiple)
        return found

    def _next_pixel(self, m: Module, step, cols_left, last_in_row, row) -> None:
        """One column on, or to the next row's first valid column."""
        d = self.d
        phase = Signal(range(2 * self.lanes))
        m.d.comb += phase.eq(step.phase + d.col_phase)
        wrap = phase >= self.lanes
        m.d.sync += [
            cols_left.eq(cols_left - 1),
            step.index.eq(step.index + 1),
            step.src.eq(step.src + d.col_src + wrap),
            step.phase.eq(Mux(wrap, phase - self.lanes, phase)),
            step.byte.eq(step.byte + d.col_byte),
        ]
        with m.If(last_in_row):
            m.d.sync += [
                cols_left.eq(step.cols),
                step.rows.eq(step.rows - 1),
                step.index.eq(row.index + step.tile_cols),
                row.index.eq(row.index + step.tile_cols),
                step.src.eq(row.src + d.row_src),
                row.src.eq(row.src + d.row_src),
                step.phase.eq(row.phase),
                step.byte.eq(row.byte),
            ]
        if self.filled:
            m.d.sync += step.in_col.eq(Mux(last_in_row, row.in_col, step.in_col + d.col_step))
            with m.If(last_in_row):
                m.d.sync += step.in_row.eq(step.in_row + d.row_step)
