"""The stage processor: engines, epilogue, memories, vector unit and the stage sequencer."""

from __future__ import annotations

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect

from r2b.hw import epilogue, stem, vector, weights
from r2b.hw.engine import Engine
from r2b.hw.epilogue import Epilogue
from r2b.hw.front import TRACE as FRONT_TRACE
from r2b.hw.front import Front
from r2b.hw.halves import ports_of
from r2b.hw.maps import Maps
from r2b.hw.memory import rom
from r2b.hw.params import CoreParams
from r2b.hw.pool import MaxPool
from r2b.hw.sequencer import COUNTERS, Sequencer
from r2b.hw.sinks import Sinks

TRACE = {
    "stage": 8, "busy": 1, "go": 1, "done": 1,
    "fm_en": 1, "fm_addr": 32, "sm_en": 64, "sm_addr": 32,
}  # fmt: skip
"""What the core shows of itself to a simulator, besides the data words; unconnected in the top."""


class Core(wiring.Component):
    """Runs the Program's stages on each frame, or batch of frames, and puts out its logits.

    With several frames to a batch, ``busy``, ``done``, ``run`` and ``counters`` are the batch's.

    With a front in the Plan that one runs the first stage, and everything here is for the others.

    Members
    -------
    frames : In(frame_stream)
    weights : In(weight_stream)
        Only with streamed weights.
    logit, logit_valid, logit_last : Out
        Written without waiting; ``space`` promises room for a whole result.
    space : In(1)
    run : In(1)
        A frame may begin.
    busy, done : Out(1)
        A frame is being worked on; pulse at its end.
    dropped, early, late, misplaced : Out(1)
        Pulses: a bad frame's result was suppressed; a frame's ``last`` came early or late; the
        weight stream's ``last`` did not match.
    given : Out(1)
        Only with several frames: pulse, a frame's result was put out.
    stage : Out
        Index of the running stage.
    counters : Out
        The last frame's cycles, by cause; two cycles after ``done``. Of the other stages where
        there is a front.
    begun : Out(1)
        Only with a front. Pulse: a frame begins.
    """

    def __init__(self, params: CoreParams) -> None:
        self.params = p = params
        plan = p.geometry.plan
        self.streamed = plan.weights == "stream"
        members = {
            "frames": In(stem.frame_stream(p.frame.channels)),
            "logit": Out(signed(vector.ACC_BITS)),
            "logit_valid": Out(1),
            "logit_last": Out(1),
            "space": In(1),
            "run": In(1),
            "busy": Out(1),
            "done": Out(1),
            "dropped": Out(1),
            "early": Out(1),
            "late": Out(1),
            "misplaced": Out(1),
            "stage": Out(8),
            "counters": Out(data.StructLayout(dict.fromkeys(COUNTERS, 32))),
        }
        if self.streamed:
            members["weights"] = In(weights.weight_stream(plan.weight_word))
        if p.batch.several:
            members["given"] = Out(1)
        members |= {f"trace_{name}": Out(width) for name, width in TRACE.items()}
        members["trace_fm_data"] = Out(plan.lanes * plan.act_bits)
        members["trace_sm_data"] = Out(plan.lanes)
        self.front = None
        if p.front is not None:
            self.front = front = Front(p.front, ports_of(p.geometry))
            members["begun"] = Out(1)
            members |= {f"trace_front_{name}": Out(front.trace[name]) for name in FRONT_TRACE}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        """Sequencer, then the path of the data: frame, engines, epilogue, sinks, vector unit."""
        m = Module()
        p = self.params
        go = Signal()
        m.submodules.sequencer = sequencer = EnableInserter(go)(Sequencer(len(p.stages.rows)))
        stages = rom(m, "stages", p.stages.layout, p.stages.content)
        d = Signal(p.stages.layout, name="descriptor")
        port = stages.read_port(domain="comb")
        m.d.comb += [port.addr.eq(sequencer.stage), sequencer.gated.eq(port.data.gated)]
        self._number(m, sequencer)
        with m.If(go):
            m.d.sync += d.eq(port.data)
        engines = self._engines(m, d, go, sequencer)
        if self.front is None:
            frame, line = self._frame(m, engines, sequencer)
        else:
            frame, line = self._split(m, d, go, sequencer), None
        unit = self._vector(m, d, go, engines, sequencer)
        if self.streamed:
            self._feed(m, d, engines, unit)
        lanes, sink = self._results(m, d, engines, unit)
        maps = Maps(p, self.front)
        signs = maps.signs(m, d, engines, sink)
        maps.features(m, d, engines, lanes, sink, line, signs)
        self._stalls(m, go, engines, sequencer, unit)
        self._trace(m, go, sequencer, sink)
        m.d.comb += [self.early.eq(frame.early), self.late.eq(frame.late)]
        return m

    def _number(self, m: Module, sequencer) -> None:
        """The running stage's number; several passes of a stage have the same."""
        p = self.params
        self.number = sequencer.stage
        if p.geometry.split:
            numbers = [*p.geometry.numbers, len(p.geometry.program.stages)]
            table = rom(m, "numbers", unsigned(8), numbers)
            port = table.read_port(domain="comb")
            self.number = Signal(8, name="number")
            m.d.comb += [port.addr.eq(sequencer.stage), self.number.eq(port.data)]

    # --- control -----------------------------------------------------------------------------

    def _engines(self, m: Module, d, go, sequencer) -> dict[bool, Engine]:
        engines = {}
        for binary, params in self.params.engines.items():
            engine = Engine(params)
            m.submodules["binary" if binary else "real"] = engine
            m.d.comb += [
                engine.d.eq(d),
                engine.enable.eq(go),
                engine.start.eq(sequencer.start & (d.binary == binary)),
            ]
            engines[binary] = engine
        done = 0
        for engine in engines.values():
            done = done | engine.done
        m.d.comb += sequencer.stage_done.eq(done)
        return engines

    def _feed(self, m: Module, d, engines, unit) -> None:
        m.submodules.feeder = feeder = weights.WeightFeeder(self.params.geometry)
        connect(m, wiring.flipped(self.weights), feeder.i)
        m.d.comb += self.misplaced.eq(feeder.misplaced)
        for binary, engine in engines.items():
            m.d.comb += [
                engine.w_data.eq(feeder.word),
                engine.w_valid.eq(feeder.valid[binary]),
                engine.w_last.eq(feeder.last),
                feeder.ready[binary].eq(engine.w_ready),
            ]
        if self.params.vector.bus:
            m.d.comb += [
                unit.w_data.eq(feeder.word),
                unit.w_valid.eq(feeder.valid[weights.VECTOR :]),
                unit.w_last.eq(feeder.last),
                feeder.ready[weights.VECTOR :].eq(unit.w_ready),
                *(engine.reading.eq(d.gated & unit.reading) for engine in engines.values()),
            ]

    def _frame(self, m: Module, engines, sequencer):
        p = self.params
        m.submodules.frame = frame = stem.FrameInput(p.frame, p.address_width)
        m.submodules.line = line = stem.LineBuffer(p.frame, p.address_width)
        connect(m, wiring.flipped(self.frames), frame.i)
        freed, bad = Signal(signed(p.address_width)), Signal(p.batch.frames)
        m.d.comb += [getattr(line, n).eq(getattr(frame, n)) for n in ("w_en", "w_addr", "w_data")]
        m.d.comb += [frame.freed.eq(freed), sequencer.frame.eq(frame.started & self.run)]
        engine = engines[False]
        from_frame = engine.d.frame
        with m.If(engine.release & from_frame):
            m.d.sync += freed.eq(engine.free)
        after = Cat(bad[1:], frame.bad) if p.batch.several else frame.bad
        with m.If(engine.finish & from_frame):
            m.d.sync += [freed.eq(0), bad.eq(after)]
        m.d.comb += [
            engine.rows_ready.eq(frame.rows_ready),
            frame.release.eq(engine.finish & from_frame),
            sequencer.bad.eq(bad.all() if p.batch.several else bad),
        ]
        self.bad = bad
        return frame, line

    def _split(self, m: Module, d, go, sequencer) -> Front:
        """The front: its results are taken when a frame begins, and free when they were read."""
        m.submodules.front = front = self.front
        ports, bad = front.ports, Signal()
        ended = sequencer.done if ports.head else sequencer.stage_done & d.front_free
        connect(m, wiring.flipped(self.frames), front.frames)
        m.d.comb += [
            front.run.eq(self.run),
            front.take.eq(front.full & sequencer.new_frame & go),
            front.free.eq(ended & go),
            sequencer.frame.eq(front.full),
            sequencer.bad.eq(bad),
            self.begun.eq(front.begun),
        ]
        for name in FRONT_TRACE:
            m.d.comb += getattr(self, f"trace_front_{name}").eq(getattr(front, f"shown_{name}"))
        with m.If(front.take):
            m.d.sync += bad.eq(front.bad)
        return front

    def _vector(self, m: Module, d, go, engines, sequencer) -> vector.VectorUnit:
        m.submodules.vector = unit = vector.VectorUnit(self.params.vector)
        bad = sequencer.bad
        if self.params.batch.several:
            bad = Signal(name="bad_frame")
            ended = unit.ended & unit.head
            m.d.comb += [
                bad.eq(self.bad.bit_select(unit.frame, 1)),
                self.given.eq(ended & ~bad),
                self.dropped.eq(ended & bad),
            ]
        for engine in engines.values():
            m.d.comb += engine.hold.eq(d.gated & ~unit.ready)
        m.d.comb += [
            unit.enable.eq(go),
            unit.new_frame.eq(sequencer.new_frame),
            unit.start.eq(sequencer.job),
            unit.starts.eq(Mux(go, sequencer.job_follows, sequencer.job)),
            sequencer.head_done.eq(unit.ready),
            self.logit.eq(unit.logit),
            self.logit_valid.eq(unit.logit_valid & ~bad),
            self.logit_last.eq(unit.logit_last),
        ]
        return unit

    def _stalls(self, m: Module, go, engines, sequencer, unit) -> None:
        """One cause per waiting cycle; whatever waits, everything that issues stands still.

        Everything is behind ``go``, so it is a register: each cause is known the cycle before.
        """
        parts = [*engines.values(), *([unit] if self.params.vector.bus else [])]
        starved = Cat(engine.starved for engine in engines.values()).any()
        unfed = Cat(part.unfed for part in parts).any()
        blocks, blocked, stopped = (Signal(name=name) for name in ("blocks", "blocked", "stopped"))
        at_head = Mux(go, sequencer.head_follows, sequencer.at_head)
        m.d.sync += [blocked.eq(blocks), stopped.eq(Cat(blocks, *(p.stops for p in parts)).any())]
        m.d.comb += [
            blocks.eq(at_head & ~(self.space | sequencer.bad)),
            go.eq(~stopped),
            *self._running(sequencer),
            self.done.eq(sequencer.done & go),
        ]
        if not self.params.batch.several:
            m.d.comb += self.dropped.eq(sequencer.done & go & sequencer.bad)
        self._count(m, sequencer.busy, (starved, unfed, blocked))

    def _count(self, m: Module, busy, causes) -> None:
        """Cycles of the frame; long sums, and the choice of a cause, are made a cycle later."""
        running = Signal(self.counters.shape(), name="running")
        now, ended = Signal(1 + len(causes), name="counted"), Signal(name="ended")
        m.d.sync += [ended.eq(self.done), now.eq(Cat(busy, *causes))]
        starved, unfed, blocked = now[1:]
        waits = [starved, unfed & ~starved, blocked & ~(starved | unfed)]
        conditions = (now[0], now[0] & ~now[1:].any(), *waits)
        for name, condition in zip(COUNTERS, conditions, strict=True):
            after = Signal(32, name=f"{name}_after")
            m.d.comb += after.eq(running[name] + condition)
            m.d.sync += running[name].eq(after)
            with m.If(ended):
                m.d.sync += [self.counters[name].eq(after), running[name].eq(0)]

    def _running(self, sequencer) -> list:
        """Whether a frame is worked on, and the number of the stage that runs."""
        if self.front is None:
            return [self.busy.eq(sequencer.busy), self.stage.eq(self.number)]
        return [
            self.busy.eq(sequencer.busy | self.front.busy),
            self.stage.eq(Mux(sequencer.busy, self.number, 0)),
        ]

    # --- data --------------------------------------------------------------------------------

    def _results(self, m: Module, d, engines, unit):
        """The running engine's sums through the epilogue, the pool and into the sinks."""
        p = self.params
        request = self._request_layout(engines)
        chosen = Signal(request, name="request")
        acc = Signal(data.ArrayLayout(signed(p.epilogue.acc_width), p.epilogue.lanes), name="acc")
        for binary, engine in engines.items():
            with m.If(d.binary == binary):
                m.d.comb += [chosen[n].eq(engine.request[n]) for n, _ in request]
                m.d.sync += [acc[i].eq(engine.acc[i]) for i in range(p.epilogue.lanes)]
        lanes = Epilogue(p.epilogue, p.stages.layout, request, p.batch)
        m.submodules.epilogue = lanes
        token = epilogue.token_layout(request)
        sink = Sinks(p.sinks, p.stages.layout, token)
        m.submodules.sinks = sink
        m.d.comb += [
            lanes.d.eq(d),
            lanes.request.eq(chosen),
            lanes.acc.eq(acc),
            unit.gate_addr.eq(lanes.gate_addr),
            lanes.gate_data.eq(unit.gate_data),
            sink.d.eq(d),
            sink.sum_addr.eq(self._sum_place(unit)),
            unit.sum_data.eq(self._sums(m, d, unit, sink.sum_data)),
            sink.token.eq(lanes.token),
            sink.values.eq(lanes.values),
        ]
        if p.batch.several:
            m.d.comb += unit.gate_frame.eq(lanes.gate_frame)
        if p.pooled:
            m.submodules.pool = pool = MaxPool(
                p.pools, p.stages.layout, token, p.epilogue.lanes, p.epilogue.value_width,
                p.pool_channels, p.pool_depth, p.batch, p.pool_near,
            )  # fmt: skip
            m.d.comb += [pool.d.eq(d), pool.token.eq(lanes.token), pool.values.eq(lanes.values)]
            m.d.comb += pool.token.valid.eq(lanes.token.valid & d.pool)
            with m.If(d.pool):
                m.d.comb += [sink.token.eq(pool.o_token), sink.values.eq(pool.o_values)]
        return lanes, sink

    def _sum_place(self, unit):
        """Where the vector unit's sums are: frame after frame."""
        batch = self.params.batch
        if not batch.several:
            return unit.sum_addr
        return unit.sum_addr + batch.offset(unit.frame, self.params.sinks.sum_depth)

    def _sums(self, m: Module, d, unit, own):
        """The channel sums that a job of the vector unit reads: the own ones, or the front's."""
        front = self.front
        if front is None or not (front.ports.sums or front.ports.head):
            return own
        m.d.comb += front.sum_addr.eq(unit.sum_addr)
        gates = d.front_sums if front.ports.sums else 0
        return Mux(Mux(unit.head, int(front.ports.head), gates), front.sum_data, own)

    def _request_layout(self, engines) -> data.StructLayout:
        """Fields of a drain request that the epilogue uses; widths of the wider engine."""
        widths: dict[str, int] = {}
        for engine in engines.values():
            for name, field in engine.request_layout:
                widths[name] = max(widths.get(name, 0), field.width)
        widths.pop("px", None)
        return data.StructLayout({n: unsigned(w) for n, w in widths.items()})

    def _trace(self, m: Module, go, sequencer, sink) -> None:
        m.d.comb += [
            self.trace_stage.eq(self.number),
            self.trace_busy.eq(sequencer.busy),
            self.trace_go.eq(go),
            self.trace_done.eq(self.done),
            self.trace_fm_en.eq(sink.fm_en),
            self.trace_fm_addr.eq(sink.fm_addr),
            self.trace_fm_data.eq(sink.fm_data),
            self.trace_sm_en.eq(sink.sm_en),
            self.trace_sm_addr.eq(sink.sm_addr),
            self.trace_sm_data.eq(sink.sm_data),
        ]
