"""An engine: control, contraction array and weights of one kind of convolution."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import EnableInserter, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from r2b.hw import pool, sinks, weights
from r2b.hw.array import ArrayParams, sample_layout
from r2b.hw.batch import ALONE, Batch
from r2b.hw.descriptor import Table
from r2b.hw.drain import Drain, request_layout
from r2b.hw.issue import Issuer, pixel_layout
from r2b.hw.pixels import make_array
from r2b.hw.steps import StepGenerator

SOURCE_LATENCY = {True: 2, False: 4}
"""Cycles from a pixel's address to its operands at the array: sign memory, and feature memory or
line buffer with the choice between them."""


@dataclass(frozen=True)
class EngineParams:
    """Shape of an engine.

    Parameters
    ----------
    array : ArrayParams
    descriptor : StructLayout
    taps : Table
    lanes : int
        Epilogue lanes.
    sign_banks : int
        Groups per word of the sign memory.
    address_width : int
    pooled : bool
        Some stage of the network pools, so results take longer to arrive.
    epilogue : int
        Cycles of the epilogue.
    words : tuple of int or None
        Weight words on chip; None if they are streamed.
    segment_words : int
        Largest weight segment.
    shared : bool
        The weight stream is the vector unit's, too; and memory is short, so segments are packed.
    batch : Batch
        Frames that a stage runs for.
    frame : bool
        Some stage reads the frame, whose rows may be missing.
    """

    array: ArrayParams
    descriptor: data.StructLayout
    taps: Table
    lanes: int
    sign_banks: int
    address_width: int
    pooled: bool
    epilogue: int
    words: tuple[int, ...] | None
    segment_words: int
    shared: bool = False
    batch: Batch = ALONE
    frame: bool = False

    @property
    def pixel_layout(self) -> data.StructLayout:
        """What is asked of the source memory."""
        a = self.array
        return pixel_layout(
            self.descriptor, self.lanes, self.address_width, a.depth, a.lanes_in, a.px
        )

    @property
    def source_latency(self) -> int:
        """Cycles from a pixel's address to the array."""
        return SOURCE_LATENCY[self.array.binary]

    @property
    def turnaround(self) -> int:
        """Cycles after a hand-over for which the shadow weights must not change."""
        array = self.array
        late = self.source_latency + array.shadow_hops - array.load_ahead
        return max(1, late - Issuer.WORD_LATENCY)

    @property
    def settle(self) -> int:
        """Cycles from a tile's last pixel until its bank may be drained."""
        return self.source_latency + self.array.latency - 2

    @property
    def flush(self) -> int:
        """Cycles from a drain request until every memory holds its result."""
        return self.epilogue + (pool.LATENCY if self.pooled else 0) + sinks.LATENCY


def needed(m: Module, enable, asked, name: str):
    """Whether something is needed in the next cycle: asked for now, or still waited for.

    What stops everything is a register, and so is made of what is known in the cycle before.
    """
    before, needs = Signal(name=f"{name}_before"), Signal(name=f"{name}_needed")
    m.d.comb += needs.eq(Mux(enable, asked, before))
    m.d.sync += before.eq(needs)
    return needs


class RowsMissing(wiring.Component):
    """Whether a tile waits for input rows: ``checks`` was there in the cycle before, or since then
    ``enable`` has been low, and LATENCY cycles ago fewer than ``need`` rows of the frame were.
    ``follows`` is ``missing`` of the next cycle.
    """

    LATENCY = 1

    def __init__(self, address_width: int) -> None:
        super().__init__(
            {
                "enable": In(1),
                "frame": In(1),
                "need": In(address_width),
                "checks": In(1),
                "rows_ready": In(address_width),
                "missing": Out(1),
                "follows": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """A comparison and its register."""
        m = Module()
        fewer = self.frame & (self.rows_ready < self.need)
        m.d.comb += self.follows.eq(needed(m, self.enable, self.checks, "checks") & fewer)
        m.d.sync += self.missing.eq(self.follows)
        return m


class Engine(wiring.Component):
    """Runs one convolution stage per ``start``; ``done`` when its results are in memory.

    Members
    -------
    d : In(descriptor)
    start, enable : In(1)
        ``enable`` low freezes what is issued, not what is under way.
    hold : In(1)
        Nothing may be drained yet (the gate is not ready).
    rows_ready : In, starved : Out(1)
        Complete rows of the frame; a tile needs rows that are missing. A register, as ``unfed`` is.
    unfed : Out(1)
        A weight segment is needed that is not there.
    stops : Out(1)
        Either of both in the next cycle.
    pixel : Out, operand : In
        Address of a pixel, and its values ``source_latency`` cycles later.
    free : Out, signed
        With ``release``: input rows below are no longer needed.
    release, finish : Out(1)
        Pulses: a row of tiles, and the whole source, have been read; once per frame.
    request, acc : Out
        Drain requests, and their sums ``DRAIN_LATENCY`` cycles later.
    done : Out(1)
    w_data, w_valid, w_last : In, w_ready : Out
        Weight words (streamed weights only).
    reading : In(1)
        The vector unit reads weights that come before the next segment (only if ``shared``).
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = p = params
        a = p.array
        groups = a.lanes_out // p.lanes
        self.request_layout = request_layout(
            p.descriptor, p.address_width, a.depth, groups, a.px, p.batch
        )
        self.pixel_layout = p.pixel_layout
        super().__init__(
            ({"reading": In(1)} if p.shared else {})
            | {
                "d": In(p.descriptor),
                "start": In(1),
                "enable": In(1),
                "hold": In(1),
                "rows_ready": In(p.address_width),
                "starved": Out(1),
                "unfed": Out(1),
                "stops": Out(1),
                "pixel": Out(self.pixel_layout),
                "operand": In(a.px * a.lanes_in * a.a_width),
                "free": Out(signed(p.address_width)),
                "release": Out(1),
                "finish": Out(1),
                "request": Out(self.request_layout),
                "acc": Out(data.ArrayLayout(signed(a.acc_width), p.lanes)),
                "done": Out(1),
                "w_data": In(a.word),
                "w_valid": In(1),
                "w_last": In(1),
                "w_ready": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Gated control on one side, free-running array on the other."""
        m = Module()
        p, a = self.params, self.params.array
        control = EngineControl(p, self.request_layout)
        m.submodules.control = EnableInserter(self.enable)(control)
        starved, unfed = Signal(name="starved_follows"), Signal(name="unfed_follows")
        m.d.comb += self.stops.eq(starved | unfed)
        m.d.sync += self.unfed.eq(unfed)
        m.submodules.array = array = make_array(a)
        if p.frame:
            m.submodules.rows = rows = RowsMissing(p.address_width)
            m.d.comb += [
                rows.enable.eq(self.enable),
                rows.frame.eq(self.d.frame),
                rows.need.eq(control.need),
                rows.checks.eq(control.checks),
                rows.rows_ready.eq(self.rows_ready),
                starved.eq(rows.follows),
                self.starved.eq(rows.missing),
            ]
        m.d.comb += [
            *(getattr(control, n).eq(getattr(self, n)) for n in ("d", "start", "hold")),
            *(getattr(self, n).eq(getattr(control, n)) for n in ("pixel", "free", "done")),
            self.release.eq(control.release & self.enable),
            self.finish.eq(control.finish & self.enable),
            self.request.eq(control.request),
            self.request.valid.eq(control.request.valid & self.enable),
            array.drain.bank.eq(control.request.bank),
            array.drain.index.eq(control.request.index),
            array.drain.group.eq(control.request.group),
            self.acc.eq(array.o),
        ]
        if p.shared:
            m.d.comb += control.reading.eq(self.reading)
        if a.px > 1:
            m.d.comb += array.drain.px.eq(control.request.px)
        m.d.comb += unfed.eq(self._weights(m, control, array))
        self._samples(m, array)
        return m

    def _samples(self, m: Module, array) -> None:
        """The pixel's control meets its operands at the array."""
        layout = sample_layout(self.params.array)
        names = [name for name, _ in layout if name != "data"]
        stages = [self.pixel]
        for age in range(self.params.source_latency):
            stage = Signal(layout, name=f"sample_{age + 1}")
            m.d.sync += [stage[n].eq(stages[-1][n]) for n in names]
            if age == 0:
                m.d.sync += stage.valid.eq(
                    self.pixel.valid & self.enable.replicate(len(stage.valid))
                )
                m.d.sync += stage.load.eq(self.pixel.load & self.enable)
            stages.append(stage)
        m.d.comb += [array.i[n].eq(stages[-1][n]) for n in names]
        m.d.comb += array.i.data.eq(self.operand)
        if self.params.array.load_ahead:
            m.d.comb += array.i.load.eq(stages[-1 - self.params.array.load_ahead].load)

    def _weights(self, m: Module, control, array):
        """Weight words for the array; whether a segment of them is missing in the next cycle."""
        p, missing = self.params, 0
        if p.words is not None:
            memory = weights.WeightRom(p.array.word, list(p.words), p.address_width)
        else:
            memory = weights.WeightBuffer(p.array.word, p.segment_words, p.address_width, p.shared)
            opens = needed(m, self.enable, control.opens, "opens")
            missing = opens & ~memory.available
            m.d.comb += [
                memory.close.eq(control.closes & self.enable),
                memory.w_data.eq(self.w_data),
                memory.w_valid.eq(self.w_valid),
                memory.w_last.eq(self.w_last),
                self.w_ready.eq(memory.w_ready),
            ]
        m.submodules.weights = memory
        shift = Signal()
        m.d.sync += shift.eq(control.word_valid & self.enable)
        m.d.comb += memory.addr.eq(control.word)
        word = Signal(p.array.word, name="word", reset_less=True)  # out of one of many block RAMs
        m.d.sync += [array.shift.eq(shift), word.eq(memory.data)]
        m.d.comb += array.shift_data.eq(word)
        return missing


class EngineControl(wiring.Component):
    """Step generator, issuer, drain and the banks' state: everything that ``enable`` freezes.

    A bank is taken by a tile's first hand-over, full ``settle`` cycles after its last pixel, and
    free again after its last drain request.
    """

    def __init__(self, params: EngineParams, request) -> None:
        self.params = p = params
        a = p.array
        self.generator = StepGenerator(
            p.descriptor, p.taps, p.lanes, p.address_width, a.depth, p.shared, a.px, p.batch
        )
        self.issuer = Issuer(p.descriptor, a.lanes_in, p.lanes, p.address_width, a.depth,
                             a.load_words, p.turnaround, a.px)  # fmt: skip
        self.drain = Drain(p.descriptor, p.lanes, p.address_width, a.depth, a.lanes_out // p.lanes,
                           p.sign_banks, p.flush, a.px, p.batch)  # fmt: skip
        super().__init__(
            ({"reading": In(1)} if p.shared else {})
            | {
                "d": In(p.descriptor),
                "start": In(1),
                "hold": In(1),
                "need": Out(p.address_width),
                "checks": Out(1),
                "pixel": Out(p.pixel_layout),
                "word": Out(p.address_width),
                "word_valid": Out(1),
                "opens": Out(1),
                "closes": Out(1),
                "free": Out(signed(p.address_width)),
                "release": Out(1),
                "finish": Out(1),
                "request": Out(request),
                "done": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Wiring, and the banks' flags."""
        m = Module()
        generator, issuer, drain = self.generator, self.issuer, self.drain
        m.submodules.generator, m.submodules.issuer, m.submodules.drain = generator, issuer, drain
        for part in (generator, issuer, drain):
            m.d.comb += part.d.eq(self.d)
        m.d.comb += [
            generator.start.eq(self.start),
            self.need.eq(generator.need),
            self.checks.eq(generator.checks),
            issuer.i.eq(generator.o),
            issuer.valid.eq(generator.valid),
            generator.ready.eq(issuer.ready),
            *(
                getattr(self, n).eq(getattr(issuer, n))
                for n in ("word", "word_valid", "opens", "closes")
            ),
            self.pixel.eq(issuer.o),
            *(getattr(self, n).eq(getattr(issuer, n)) for n in ("free", "release", "finish")),
            drain.start.eq(self.start),
            drain.hold.eq(self.hold),
            self.request.eq(drain.o),
            self.done.eq(drain.done),
        ]
        if self.params.shared:
            m.d.comb += generator.reading.eq(self.reading)
        if self.params.batch.several:
            m.d.comb += generator.finish.eq(issuer.finish)
        self._banks(m)
        return m

    def _banks(self, m: Module) -> None:
        p, issuer, drain = self.params, self.issuer, self.drain
        busy, full = Signal(2), Signal(2)
        bank = Signal()  # of the next tile to settle
        ends = [issuer.end]
        for age in range(p.settle - 1):
            end = Signal(name=f"end_{age + 1}")
            m.d.sync += end.eq(ends[-1])
            ends.append(end)
        settled = Signal(2)
        m.d.comb += settled.eq(ends[-1] << bank)
        m.d.sync += [
            bank.eq(bank ^ ends[-1]),
            busy.eq((busy | issuer.take) & ~drain.free),
            full.eq((full | settled) & ~drain.free),
        ]
        m.d.comb += [
            issuer.busy.eq(busy),
            drain.full.eq(full),
        ]
