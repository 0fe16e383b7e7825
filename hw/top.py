"""The accelerator's top level: the core between AXI ports with flat names."""

from __future__ import annotations

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
)

from r2b.hw import registers
from r2b.hw.core import Core
from r2b.hw.geometry import ceil_div
from r2b.hw.output import LOGIT_BITS, OutputBuffer
from r2b.hw.params import CoreParams
from r2b.hw.registers import ERRORS, RegisterFile

AXI_LITE = "s_axil"


class Top(Elaboratable):
    """Frames in over AXI4-Stream, logits out over AXI4-Stream, control over AXI4-Lite.

    Every output is a function of registers and of ``aresetn`` only. A port's signals are attributes
    of the same name.

    Parameters
    ----------
    params : CoreParams
    model_hash : int
        First 32 bits of the model's SHA-256, for MODEL_HASH.

    Attributes
    ----------
    aclk, aresetn
        Clock; reset, synchronous, active low.
    s_axis_*
        Frames: a pixel per transfer, channels interleaved, the first one in the lowest byte; TLAST
        on the last pixel. A pixel of more than 16 channels takes several transfers, of equal size.
    s_axis_weights_*
        Only with streamed weights: a weight word per transfer, filled up to whole bytes; TLAST on
        the last word of a frame's weights.
    m_axis_*
        Results: a logit per transfer, signed; TLAST on the last class.
    s_axil_*
        The registers of :data:`r2b.hw.registers.REGISTERS`.
    interrupt
    ports : list of Signal
        All of them, in this order.
    """

    def __init__(self, params: CoreParams, model_hash: int) -> None:
        self.params = params
        self.model_hash = model_hash
        plan = params.geometry.plan
        self.streamed = plan.weights == "stream"
        self.ports: list[Signal] = []
        self._port("aclk")
        self._port("aresetn")
        self._stream("s_axis", 8 * params.frame.channels)
        if self.streamed:
            self._stream("s_axis_weights", 8 * ceil_div(plan.weight_word, 8))
        self._stream("m_axis", LOGIT_BITS)
        for name, member in registers.axi_lite().members.items():
            self._port(f"{AXI_LITE}_{name}", member.shape)
        self._port("interrupt")

    def _port(self, name: str, shape=1) -> None:
        signal = Signal(shape, name=name)
        setattr(self, name, signal)
        self.ports.append(signal)

    def _stream(self, prefix: str, width: int) -> None:
        for name, shape in (("tdata", width), ("tvalid", 1), ("tready", 1), ("tlast", 1)):
            self._port(f"{prefix}_{name}", shape)

    def elaborate(self, platform) -> Module:
        """The clock domain; register file; core and output buffer, which a soft reset resets."""
        m = Module()
        m.domains += ClockDomain("sync")
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        batch = self.params.batch
        constants = registers.constants(self.params.geometry.plan, self.model_hash)
        overlapped = self.params.front is not None
        m.submodules.registers = file = RegisterFile(constants, batch.several, overlapped)
        soft = ResetInserter(file.soft_reset)
        m.submodules.core = processor = soft(Core(self.params))
        logits = batch.frames * self.params.geometry.program.num_classes
        m.submodules.output = output = soft(OutputBuffer(logits))
        awake = Signal()  # low in a reset, a soft one too, and in the cycle after
        m.d.sync += awake.eq(~file.soft_reset)
        open_ = Signal()
        # not of aresetn: what a stream gives in its first cycle is reset with all else at its end
        m.d.comb += open_.eq(awake & ~file.soft_reset)
        self._input(m, "s_axis", processor.frames, open_)
        if self.streamed:
            self._input(m, "s_axis_weights", processor.weights, open_)
        self._output(m, processor, output)
        self._control(m, processor, file)
        return m

    def _input(self, m: Module, prefix: str, stream, open_) -> None:
        """A stream port that takes nothing in a reset."""
        m.d.comb += [
            stream.payload.data.eq(getattr(self, f"{prefix}_tdata")),
            stream.payload.last.eq(getattr(self, f"{prefix}_tlast")),
            stream.valid.eq(getattr(self, f"{prefix}_tvalid") & open_),
            getattr(self, f"{prefix}_tready").eq(stream.ready & open_ & self.aresetn),
        ]

    def _output(self, m: Module, processor: Core, output: OutputBuffer) -> None:
        m.d.comb += [
            output.logit.eq(processor.logit),
            output.valid.eq(processor.logit_valid),
            output.last.eq(processor.logit_last),
            processor.space.eq(output.space),
            self.m_axis_tdata.eq(output.o.payload.data),
            self.m_axis_tlast.eq(output.o.payload.last),
            self.m_axis_tvalid.eq(output.o.valid),
            output.o.ready.eq(self.m_axis_tready),
        ]

    def _control(self, m: Module, processor: Core, file: RegisterFile) -> None:
        for name, member in file.axil.signature.members.items():
            port, signal = getattr(self, f"{AXI_LITE}_{name}"), getattr(file.axil, name)
            incoming = member.flow.name == "In"
            m.d.comb += signal.eq(port) if incoming else port.eq(signal)
        pulses = {
            "in_tlast_early": processor.early,
            "in_tlast_late": processor.late,
            "w_tlast": processor.misplaced,
        }
        m.d.comb += [
            processor.run.eq(file.run),
            file.busy.eq(processor.busy),
            file.stage.eq(processor.stage),
            file.done.eq(processor.done),
            file.dropped.eq(processor.dropped),
            file.errors.eq(Cat(pulses[name] for name in ERRORS)),
            file.counters.eq(processor.counters),
            self.interrupt.eq(file.interrupt),
        ]
        if self.params.batch.several:
            m.d.comb += file.given.eq(processor.given)
        if file.overlapped:
            m.d.comb += file.begun.eq(processor.begun)
