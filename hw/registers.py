"""The AXI4-Lite register file. Its map is a table: the hardware and the manual come from it."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect

from r2b import __version__
from r2b.hw.axi_lite import AxiLiteTarget, axi_lite
from r2b.hw.plan import Plan
from r2b.hw.sequencer import COUNTERS

MAGIC = int.from_bytes(b"R2BX", "big")

ACCESS = {
    "ro": "read only; a write is answered SLVERR and changes nothing",
    "rw": "read and write",
    "w1c": "write 1 to clear; an event in the same cycle wins",
    "rc": "clear on read; an event in the same cycle wins",
    "w1s": "write 1 to set; cleared by the hardware",
    "pulse": "write 1 for one cycle; reads 0",
}
"""What a field does when it is read or written."""


@dataclass(frozen=True)
class Field:
    """Bits of a register.

    Parameters
    ----------
    name : str
        Unique in its register.
    bit, width : int
        Lowest bit, number of bits.
    access : str
        A key of ACCESS.
    meaning : str
    reset : int
        Value after a reset.
    """

    name: str
    bit: int
    width: int
    access: str
    meaning: str
    reset: int = 0


@dataclass(frozen=True)
class Register:
    """A 32-bit register; bits without a field read 0 and ignore writes."""

    offset: int
    name: str
    meaning: str
    fields: tuple[Field, ...]

    @property
    def writable(self) -> bool:
        """Whether a write is answered OKAY."""
        return any(field.access != "ro" for field in self.fields)


def _word(offset: int, name: str, access: str, meaning: str) -> Register:
    return Register(offset, name, meaning, (Field("value", 0, 32, access, meaning),))


_EVENTS = ("done", "error")
ERRORS = {
    "in_tlast_early": "a frame's TLAST came before its last pixel; the frame gave no result",
    "in_tlast_late": "a frame's last pixel came without TLAST; the frame gave no result",
    "w_tlast": "the weight stream's TLAST was not on the last word of a frame's weights",
}
"""Bits of ERR, lowest first."""

REGISTERS = (
    Register(
        0x00,
        "CTRL",
        "control",
        (
            Field("start", 0, 1, "w1s", "lets one frame begin; reads 1 until it has begun"),
            Field("done", 1, 1, "rc", "a frame has ended since the last read"),
            Field("idle", 2, 1, "ro", "no frame is being worked on"),
            Field("ready", 3, 1, "ro", "no start is pending"),
            Field(
                "soft_reset",
                4,
                1,
                "pulse",
                "resets core, input and output, drops every frame and result in them and a pending"
                " start; sender and receiver must begin a new frame, too",
            ),
            Field("auto_restart", 7, 1, "rw", "frames begin without a start", 1),
        ),
    ),
    Register(
        0x04,
        "GIE",
        "global interrupt enable",
        (Field("enable", 0, 1, "rw", "the interrupt output follows ISR & IER"),),
    ),
    Register(
        0x08,
        "IER",
        "interrupt enable",
        tuple(Field(n, i, 1, "rw", f"ISR.{n} interrupts") for i, n in enumerate(_EVENTS)),
    ),
    Register(
        0x0C,
        "ISR",
        "interrupt status",
        (
            Field("done", 0, 1, "w1c", "a frame has ended"),
            Field("error", 1, 1, "w1c", "a bit of ERR was set"),
        ),
    ),
    _word(0x10, "ID", "ro", "0x52324258, 'R2BX'"),
    Register(
        0x14,
        "VERSION",
        "version of the generator",
        (
            Field("patch", 0, 8, "ro", "patch"),
            Field("minor", 8, 8, "ro", "minor"),
            Field("major", 16, 16, "ro", "major"),
        ),
    ),
    _word(0x18, "MODEL_HASH", "ro", "first 32 bits of the SHA-256 of the compiled model"),
    Register(
        0x1C,
        "CONFIG",
        "parallelism and width",
        (
            Field("p_in", 0, 10, "ro", "input lanes of a processing element"),
            Field("p_out", 10, 10, "ro", "processing elements"),
            Field("p_px", 20, 4, "ro", "pixels per cycle"),
            Field("act_bits", 24, 5, "ro", "bits of a fixed tensor"),
            Field("streamed", 29, 1, "ro", "weights come over s_axis_weights"),
        ),
    ),
    Register(
        0x20,
        "STATUS",
        "what runs",
        (
            Field("busy", 0, 1, "ro", "a frame is being worked on"),
            Field("error", 1, 1, "ro", "a bit of ERR is set"),
            Field("stage", 8, 8, "ro", "index of the running stage"),
        ),
    ),
    Register(
        0x24,
        "ERR",
        "errors",
        tuple(Field(n, i, 1, "w1c", meaning) for i, (n, meaning) in enumerate(ERRORS.items())),
    ),
    _word(0x28, "CYCLES_LO", "ro", "cycles of the last frame: ACTIVE and the three STALL"),
    _word(0x2C, "CYCLES_HI", "ro", "0: a frame has fewer than 2**32 cycles"),
    _word(0x30, "STALL_IN", "ro", "cycles of the last frame spent waiting for its pixels"),
    _word(0x34, "STALL_W", "ro", "cycles of the last frame spent waiting for weights"),
    _word(0x38, "STALL_OUT", "ro", "cycles of the last frame spent waiting to give its result"),
    _word(0x40, "FRAMES", "ro", "frames that gave a result, modulo 2**32"),
    _word(0x50, "SCRATCH", "rw", "for tests; nothing reads it"),
    _word(0x54, "ACTIVE", "ro", "cycles of the last frame in which the core worked"),
    _word(0x58, "DROPPED", "ro", "frames that gave no result, modulo 2**32"),
)
"""The map, by offset. 0x3C, 0x44, 0x48 and 0x4C stay free for saturation, batch and weight DMA.

With batches in the Plan an end and the cycles are a batch's; FRAMES and DROPPED count frames. With
a front the cycles are those of the other stages, and ``busy`` is that of either half.
"""

_COUNTER_REGISTERS = dict(
    zip(COUNTERS, ("CYCLES_LO", "ACTIVE", "STALL_IN", "STALL_W", "STALL_OUT"), strict=True)
)


def offset_of(name: str) -> int:
    """Offset of a register."""
    return next(register.offset for register in REGISTERS if register.name == name)


def constants(plan: Plan, model_hash: int) -> dict[str, int]:
    """Values of what never changes, by ``register`` or ``register.field``."""
    major, minor, patch = (int(part) for part in __version__.split("+")[0].split(".")[:3])
    return {
        "ID": MAGIC,
        "VERSION.major": major,
        "VERSION.minor": minor,
        "VERSION.patch": patch,
        "MODEL_HASH": model_hash & 0xFFFF_FFFF,
        "CONFIG.p_in": plan.p_in,
        "CONFIG.p_out": plan.p_out,
        "CONFIG.p_px": plan.p_px,
        "CONFIG.act_bits": plan.act_bits,
        "CONFIG.streamed": int(plan.weights == "stream"),
        "CYCLES_HI": 0,
    }


class RegisterFile(wiring.Component):
    """The registers of REGISTERS on AXI4-Lite, and the accelerator's side of them.

    Parameters
    ----------
    constants : dict
        Values of the registers that never change, see :func:`constants`.
    several : bool
        A batch has several frames: ``done`` is its end, not a frame's.

    Members
    -------
    axil : In(axi_lite)
    interrupt : Out(1)
        ``GIE & any(ISR & IER)``, one cycle later.
    run : Out(1)
        A frame may begin: auto-restart, or a start is pending.
    soft_reset : Out(1)
        Pulse.
    busy : In(1), stage : In(8)
    done, dropped : In(1)
        Pulses: a frame has ended; it gave no result.
    given : In(1)
        Only with several frames to a batch: a frame gave its result.
    errors : In
        Pulses, in the order of ERRORS.
    counters : In
        The last frame's cycles, by cause.
    begun : In(1)
        Only if ``overlapped``, since ``busy`` may stay then. Pulse: a frame begins.
    """

    def __init__(
        self, constants: dict[str, int], several: bool = False, overlapped: bool = False
    ) -> None:
        self.constants, self.several, self.overlapped = constants, several, overlapped
        super().__init__(
            ({"given": In(1)} if several else {})
            | ({"begun": In(1)} if overlapped else {})
            | {
                "axil": In(axi_lite()),
                "interrupt": Out(1),
                "run": Out(1),
                "soft_reset": Out(1),
                "busy": In(1),
                "stage": In(8),
                "done": In(1),
                "dropped": In(1),
                "errors": In(len(ERRORS)),
                "counters": In(data.StructLayout(dict.fromkeys(COUNTERS, 32))),
            }
        )

    def elaborate(self, platform) -> Module:
        """What each field takes from the accelerator, then the table, then what it gives."""
        m = Module()
        m.submodules.target = target = AxiLiteTarget()
        connect(m, wiring.flipped(self.axil), target.axil)
        state = self._fields(m, target)
        given = self.given if self.several else self.done & ~self.dropped
        frames = self._count(m, "frames", given)
        dropped = self._count(m, "dropped", self.dropped)
        begins = self.begun if self.overlapped else self._begins(m)
        error = Cat(state[f"ERR.{name}"] for name in ERRORS).any()
        inputs = {
            "CTRL.done": self.done,
            "CTRL.idle": ~self.busy,
            "CTRL.ready": ~state["CTRL.start"],
            "CTRL.start": begins | self.soft_reset,
            "ISR.done": self.done,
            "ISR.error": self.errors.any(),
            "STATUS.busy": self.busy,
            "STATUS.error": error,
            "STATUS.stage": self.stage,
            "FRAMES": frames,
            "DROPPED": dropped,
        }
        inputs |= {f"ERR.{name}": self.errors[i] for i, name in enumerate(ERRORS)}
        inputs |= {reg: self.counters[name] for name, reg in _COUNTER_REGISTERS.items()}
        inputs |= {name: Const(value, 32) for name, value in self.constants.items()}
        self._connect(m, inputs)
        pending = Cat(state[f"ISR.{name}"] & state[f"IER.{name}"] for name in _EVENTS)
        m.d.sync += self.interrupt.eq(state["GIE.enable"] & pending.any())
        m.d.comb += [
            self.run.eq(state["CTRL.auto_restart"] | state["CTRL.start"]),
            self.soft_reset.eq(state["CTRL.soft_reset"]),
        ]
        return m

    def _begins(self, m: Module):
        """Where frames follow each other: busy, and not a cycle ago."""
        began = Signal()
        m.d.sync += began.eq(self.busy)
        return self.busy & ~began

    def _count(self, m: Module, name: str, event) -> Signal:
        count = Signal(32, name=f"count_{name}")
        with m.If(event):
            m.d.sync += count.eq(count + 1)
        return count

    def _connect(self, m: Module, inputs) -> None:
        for name, signal in self.inputs.items():
            m.d.comb += signal.eq(inputs[name])

    def _fields(self, m: Module, target: AxiLiteTarget) -> dict[str, Signal]:
        """Every register's fields; ``self.inputs`` collects what the accelerator must drive."""
        self.inputs: dict[str, Signal] = {}
        state: dict[str, Signal] = {}
        with m.Switch(target.w_addr):
            for register in REGISTERS:
                with m.Case(register.offset >> 2):
                    m.d.comb += target.w_error.eq(not register.writable)
            with m.Default():
                m.d.comb += target.w_error.eq(1)
        m.d.comb += target.r_error.eq(1)
        for register in REGISTERS:
            word = Signal(32, name=register.name)
            here = register.offset >> 2
            written = target.w_en & (target.w_addr == here)
            fetched = target.r_en & (target.r_addr == here)
            for field in register.fields:
                bits = slice(field.bit, field.bit + field.width)
                write = (target.w_data[bits], target.w_mask[bits], written)
                name = register.name if field.name == "value" else f"{register.name}.{field.name}"
                state[name] = self._field(m, name, field, write, fetched)
                m.d.comb += word[bits].eq(0 if field.access == "pulse" else state[name])
            with m.If(target.r_addr == here):
                m.d.comb += [target.r_data.eq(word), target.r_error.eq(0)]
        return state

    def _field(self, m: Module, name: str, field: Field, write, fetched) -> Signal:
        """One field's register, if it has one, by its access."""
        value, mask, written = write
        state = Signal(field.width, name=name.replace(".", "_"), init=field.reset)
        ones = Signal.like(state, name=f"{name}_ones".replace(".", "_"))
        m.d.comb += ones.eq(Mux(written, value & mask, 0))
        if field.access == "rw":
            with m.If(written):
                m.d.sync += state.eq((state & ~mask) | (value & mask))
            return state
        if field.access == "pulse":
            m.d.sync += state.eq(ones)
            return state
        given = self.inputs[name] = Signal.like(state, name=f"{name}_in".replace(".", "_"), init=0)
        if field.access == "ro":
            m.d.comb += state.eq(given)
        elif field.access == "w1s":
            m.d.sync += state.eq((state & ~given) | ones)
        elif field.access == "w1c":
            m.d.sync += state.eq((state & ~ones) | given)
        else:
            m.d.sync += state.eq((state & ~fetched) | given)
        return state


def table() -> list[tuple[str, str, str, str]]:
    """The map for the manual: offset, name with bits, access, meaning; one row per field."""
    rows = []
    for register in REGISTERS:
        for field in register.fields:
            top = field.bit + field.width - 1
            bits = f"[{field.bit}]" if field.width == 1 else f"[{top}:{field.bit}]"
            name = register.name if field.name == "value" else f"{register.name}.{field.name}"
            rows.append((f"0x{register.offset:02X}", name + bits, field.access, field.meaning))
    return rows
