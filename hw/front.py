"""The front: the first stage on hardware of its own, for the next frame, and its results."""

from __future__ import annotations

from amaranth.hdl import EnableInserter, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect

from r2b.hw import epilogue, stem
from r2b.hw.engine import Engine
from r2b.hw.epilogue import Epilogue
from r2b.hw.halves import Ports
from r2b.hw.memory import Banked, registered_read, rom, sign_copy
from r2b.hw.params import CoreParams
from r2b.hw.pool import MaxPool
from r2b.hw.sequencer import FrontSequencer
from r2b.hw.sinks import Sinks

TRACE = ("busy", "go", "done", "fm_en", "fm_addr", "fm_data", "sm_en", "sm_addr", "sm_data")
"""What the front shows of itself to a simulator, as the core does."""


class Front(wiring.Component):
    """Runs the first stage on a frame when the results of the one before are no longer read.

    It has one enable, as the core has: a missing input row takes it away, and nothing else does.

    Parameters
    ----------
    params : CoreParams
        Of the front's geometry.
    ports : Ports
        What is read of its memories.

    Members
    -------
    frames : In(frame_stream)
    run : In(1)
        A frame may begin.
    full, take : Out(1), In(1)
        A frame's results are there; the back begins with them.
    bad : Out(1)
        With ``full``: the frame's result is to be suppressed.
    free : In(1)
        Pulse: nothing reads the results any more.
    begun, busy : Out(1)
        Pulse: a frame begins; a frame is worked on, or waits for the back.
    early, late : Out(1)
        As of :class:`r2b.hw.stem.FrameInput`.
    fm_read_addr : In, fm_read : Out
        Feature memory, ``Banked.LATENCY`` cycles later; an entry for each of its ports.
    sm_read_addr : In, sm_read : Out
        Sign memory, one cycle later, likewise.
    sum_addr : In, sum_data : Out
        Channel sums, combinational.
    shown_... : Out
        TRACE.
    """

    def __init__(self, params: CoreParams, ports: Ports) -> None:
        self.params = p = params
        self.ports = ports
        sink = p.sinks
        word = sink.lanes * sink.sign_banks
        groups = range(max(2, sink.sum_depth))
        self.trace = {
            "busy": 1, "go": 1, "done": 1, "fm_en": 1, "fm_addr": sink.fm_width,
            "fm_data": sink.values, "sm_en": sink.sign_banks, "sm_addr": sink.sm_width,
            "sm_data": sink.lanes,
        }  # fmt: skip
        members = {"frames": In(stem.frame_stream(p.frame.channels))}
        members |= dict.fromkeys(("run", "take", "free"), In(1))
        members |= dict.fromkeys(("full", "bad", "begun", "busy", "early", "late"), Out(1))
        members |= {
            "fm_read_addr": In(data.StructLayout(dict.fromkeys(ports.features, sink.fm_width))),
            "fm_read": Out(data.StructLayout(dict.fromkeys(ports.features, sink.values))),
            "sm_read_addr": In(data.ArrayLayout(unsigned(sink.sm_width), ports.signs)),
            "sm_read": Out(data.ArrayLayout(unsigned(word), ports.signs)),
            "sum_addr": In(groups),
            "sum_data": Out(sink.sums),
        }
        super().__init__(members | {f"shown_{name}": Out(w) for name, w in self.trace.items()})

    def elaborate(self, platform) -> Module:
        """Control, frame, engine, then what becomes of its sums."""
        m = Module()
        p, go = self.params, Signal()
        m.submodules.sequencer = sequencer = EnableInserter(go)(FrontSequencer())
        m.submodules.real = engine = Engine(p.engines[False])
        d = Signal(p.stages.layout, name="descriptor")
        stages = rom(m, "stages", p.stages.layout, p.stages.content)
        with m.If(go):
            m.d.sync += d.eq(stages.read_port(domain="comb").data)
        m.d.comb += [
            go.eq(~engine.starved),
            engine.d.eq(d),
            engine.enable.eq(go),
            engine.start.eq(sequencer.start),
            sequencer.stage_done.eq(engine.done),
        ]
        self._frame(m, d, engine, sequencer)
        self._state(m, go, sequencer)
        sink = self._results(m, d, engine)
        self._memories(m, sink)
        shown = {"busy": sequencer.busy, "go": go, "done": sequencer.done & go}
        for name in self.trace:
            value = shown[name] if name in shown else getattr(sink, name)
            m.d.comb += getattr(self, f"shown_{name}").eq(value)
        return m

    def _frame(self, m: Module, d, engine, sequencer) -> None:
        """The frame's way to the array; see :meth:`r2b.hw.core.Core._frame`."""
        p = self.params
        m.submodules.frame = frame = stem.FrameInput(p.frame, p.address_width)
        m.submodules.line = line = stem.LineBuffer(p.frame, p.address_width)
        connect(m, wiring.flipped(self.frames), frame.i)
        freed = Signal(signed(p.address_width))
        with m.If(engine.release):
            m.d.sync += freed.eq(engine.free)
        with m.If(engine.finish):
            m.d.sync += [freed.eq(0), self.bad.eq(frame.bad)]
        width = p.engines[False].array.a_width
        operands = Signal(data.ArrayLayout(signed(width), p.sinks.lanes), name="operands")
        pixels = Signal.like(line.o, name="pixels")  # as late as in the core
        m.d.sync += pixels.eq(line.o)
        m.d.sync += [operands[lane].eq(pixels[lane]) for lane in range(p.sinks.lanes)]
        m.d.comb += [
            *(getattr(line, n).eq(getattr(frame, n)) for n in ("w_en", "w_addr", "w_data")),
            *(getattr(line, n).eq(engine.pixel[n]) for n in ("src", "phase", "byte")),
            line.row_bytes.eq(d.row_bytes),
            engine.operand.eq(operands),
            engine.rows_ready.eq(frame.rows_ready),
            frame.freed.eq(freed),
            frame.release.eq(engine.finish),
            self.early.eq(frame.early),
            self.late.eq(frame.late),
        ]
        self.arrived = frame.started

    def _state(self, m: Module, go, sequencer) -> None:
        """Whose the memories are: ``held`` from a frame's end until nothing reads its results."""
        held = Signal()
        done = sequencer.done & go
        m.d.sync += [
            held.eq((held | done) & ~self.free),
            self.full.eq((self.full | done) & ~self.take),
        ]
        m.d.comb += [
            sequencer.frame.eq(self.arrived & self.run & ~held),
            self.begun.eq(sequencer.begun),
            self.busy.eq(sequencer.busy | self.full),
        ]

    def _results(self, m: Module, d, engine) -> Sinks:
        """The sums through the epilogue, the pool and into the sinks."""
        p = self.params
        fields = {name: field.width for name, field in engine.request_layout if name != "px"}
        request = data.StructLayout({name: unsigned(width) for name, width in fields.items()})
        m.submodules.epilogue = lanes = Epilogue(p.epilogue, p.stages.layout, request)
        token = epilogue.token_layout(request)
        m.submodules.sinks = sink = Sinks(p.sinks, p.stages.layout, token)
        acc = Signal.like(lanes.acc, name="acc")
        m.d.sync += [acc[lane].eq(engine.acc[lane]) for lane in range(p.epilogue.lanes)]
        last = lanes.token, lanes.values
        if p.pooled:
            m.submodules.pool = pool = MaxPool(
                p.pools, p.stages.layout, token, p.epilogue.lanes, p.epilogue.value_width,
                p.pool_channels, p.pool_depth, near=p.pool_near,
            )  # fmt: skip
            m.d.comb += [pool.d.eq(d), pool.token.eq(lanes.token), pool.values.eq(lanes.values)]
            last = pool.o_token, pool.o_values
        m.d.comb += [
            lanes.d.eq(d),
            *(lanes.request[name].eq(engine.request[name]) for name in fields),
            lanes.acc.eq(acc),
            sink.d.eq(d),
            sink.token.eq(last[0]),
            sink.values.eq(last[1]),
            sink.sum_addr.eq(self.sum_addr),
            self.sum_data.eq(sink.sum_data),
        ]
        return sink

    def _memories(self, m: Module, sink) -> None:
        """Written by the sinks, read by the back."""
        p, ports = self.params.sinks, self.ports
        if ports.features:
            memory = Banked(m, "features", p.values, self.params.fm_words)
            memory.write(m, sink.fm_en, sink.fm_addr, sink.fm_data)
            for name in ports.features:
                found = memory.read(m, self.fm_read_addr[name], name)
                m.d.comb += self.fm_read[name].eq(found)
        for copy in range(ports.signs):
            memory = sign_copy(m, f"signs_{copy}", self.params, sink)
            found = registered_read(m, memory, self.sm_read_addr[copy], f"sign_word_{copy}")
            m.d.comb += self.sm_read[copy].eq(found)
