"""What an accelerator costs and gives, from its Program and Plan alone, without synthesis.

Cycles are exact (:mod:`r2b.hw.timing`, :mod:`r2b.hw.flow`), with streams that deliver one transfer
per cycle::

    compute   = cycles in which the array takes a pixel
    weights   = steps * (load_words + WORD_LATENCY + turnaround + 1), the fastest that steps follow
    epilogue  = words of ``lanes`` values that leave the accumulators, and one cycle per tile
    gate      = cycles until the gate is ready
    attained  = executed multiply-accumulates / cycles
    intensity = executed multiply-accumulates / bits of the weight words loaded
    roof      = min(peak, weight word * intensity)
    interval  = cycles from a frame's end to the next one's

Where the Plan works on batches of frames, all cycles and multiply-accumulates are those of a batch,
and ``interval`` and bytes are a frame's share of them.

No stage takes fewer cycles than any of its bounds, and none attains more than its roof.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.backends.cost.critical import Critical, critical
from r2b.backends.cost.ops import Ops, factor_products, gate_macs, head_ops, stage_ops
from r2b.backends.cost.resources import Resources, estimate_params
from r2b.hw.devices import Device, device
from r2b.hw.engine import EngineParams
from r2b.hw.flow import FrameCycles, predict_frames
from r2b.hw.geometry import ConvGeometry, ProgramGeometry, ceil_div
from r2b.hw.halves import FRONT
from r2b.hw.issue import Issuer
from r2b.hw.memo import remember
from r2b.hw.params import CoreParams, core_params
from r2b.hw.plan import Plan
from r2b.hw.timing import StageCycles, predict
from r2b.hw.weights import stream_length
from r2b.ir.program import Program, Stage

FRAMES = 4
"""Frames after which the interval repeats: buffers are full and two segments are under way."""
LOGIT_BYTES = 4
BOUNDS = ("compute", "weights", "epilogue", "gate")
PIPELINE = "pipeline"
"""What binds a stage whose largest bound is less than half of its cycles: look-ups, filling and
emptying."""


@dataclass(frozen=True)
class StageCost:
    """One stage of a frame, or of a batch of frames.

    Parameters
    ----------
    name : str
    engine : str
        ``binary``, ``real``, ``vector``, or ``front``: its MAC array, which is no other stage's.
    cycles : int
        In which the core does not wait for a stream.
    compute, weights, epilogue, gate : int
        Lower bounds of ``cycles``, see the module.
    macs, executed : int
        Multiply-accumulates of the array with every tap, and with those inside the image.
    peak : int
        Multiply-accumulates per cycle.
    weight_word : int
        Bits per cycle into the array; 0 for the vector unit, which reads its own table.
    loaded : int
        Words of that size, those of every step of every tile.
    """

    name: str
    engine: str
    cycles: int
    compute: int
    weights: int
    epilogue: int
    gate: int
    macs: int
    executed: int
    peak: int
    weight_word: int
    loaded: int

    @property
    def attained(self) -> float:
        """Executed multiply-accumulates per cycle."""
        return self.executed / self.cycles

    @property
    def intensity(self) -> float | None:
        """Executed multiply-accumulates per bit of weights loaded; None where none are."""
        bits = self.loaded * self.weight_word
        return self.executed / bits if bits else None

    @property
    def utilisation(self) -> float:
        """Share of the array's peak, counted with every tap, as publications count."""
        return self.macs / (self.peak * self.cycles)

    @property
    def utilisation_executed(self) -> float:
        """The same with the taps inside the image, which are those that run."""
        return self.attained / self.peak

    @property
    def binds(self) -> str:
        """The largest bound, or ``pipeline``."""
        largest = max(BOUNDS, key=lambda name: getattr(self, name))
        return largest if 2 * getattr(self, largest) >= self.cycles else PIPELINE


@dataclass(frozen=True)
class Bytes:
    """Bytes over the ports per frame.

    Parameters
    ----------
    image, weights, result : int
        Weights are 0 where they are on chip, and a share of a batch's: no integer where they cannot
        be shared out evenly.
    """

    image: int
    weights: int | float
    result: int

    @property
    def total(self) -> int | float:
        """Of all ports."""
        return self.image + self.weights + self.result


@dataclass(frozen=True)
class HardwareCost:
    """Cost of an accelerator.

    Parameters
    ----------
    device : Device
    clock_mhz : float
    resources : Resources
    stages : tuple of StageCost
        The head is the last one.
    frame : FrameCycles
        A frame, or batch, among others, offered without a gap.
    period : int
        Cycles from its end to the next one's.
    bytes_per_frame : Bytes
    batch : int
        Frames of a batch.
    """

    device: Device
    clock_mhz: float
    resources: Resources
    stages: tuple[StageCost, ...]
    frame: FrameCycles
    period: int
    bytes_per_frame: Bytes
    batch: int = 1

    @property
    def interval(self) -> int | float:
        """Cycles per frame: its share of the period."""
        return share(self.period, self.batch)

    @property
    def frame_cycles(self) -> int:
        """Cycles in which the core works on a frame, or batch; waiting for streams comes on top."""
        return self.frame.work

    def fps(self, clock_mhz: float | None = None) -> float:
        """Frames per second at a clock, by default the Plan's."""
        return (clock_mhz or self.clock_mhz) * 1e6 / self.interval

    @property
    def device_shares(self) -> dict[str, float]:
        """Needed share of the device's resources."""
        have = self.device.has()
        return {name: need / have[name] for name, need in self.resources.needs().items()}

    @property
    def critical(self) -> Critical:
        """What comes one after the other in every frame, and so binds."""
        return critical(self.frame, self.period, self.stages)

    @property
    def binds(self) -> str:
        """What most of a frame's cycles go to: ``input``, ``weights``, or its stages (``work``).

        With a front ``front`` or ``back`` in place of ``work``: the half that the other waits for.
        """
        return self.critical.largest

    def engine_utilisation(self, engine: str) -> float:
        """Executed share of an array's peak over the stages that use it."""
        mine = [stage for stage in self.stages if stage.engine == engine]
        offered = sum(stage.peak * stage.cycles for stage in mine)
        return sum(stage.executed for stage in mine) / offered if offered else 0.0


def cost(program: Program, plan: Plan) -> HardwareCost:
    """Cost of a Program on a Plan."""
    geometry = ProgramGeometry(program, plan)
    params = core_params(geometry)
    frames = predict_frames(geometry, FRAMES)
    target = device(plan.device)
    return HardwareCost(
        device=target,
        clock_mhz=plan.clock_mhz,
        resources=estimate_params(params, target.family),
        stages=stage_costs(geometry, params),
        frame=frames[-1],
        period=frames[-1].last - frames[-2].last,
        bytes_per_frame=bytes_per_frame(geometry),
        batch=plan.batch,
    )


def share(total: int, batch: int) -> int | float:
    """A frame's share of what a batch takes; an integer where it can be."""
    return total / batch if total % batch else total // batch


def stage_costs(geometry: ProgramGeometry, params: CoreParams) -> tuple[StageCost, ...]:
    """Cost of every stage, and of the head."""
    passes: dict[int, list[ConvGeometry]] = {}
    for number, conv in zip(geometry.numbers, geometry.convs, strict=True):
        passes.setdefault(number, []).append(conv)
    *timed, head = predict(geometry)
    program = geometry.program
    found = [
        _stage(program, program.stages[number], passes[number], params, cycles)
        for number, cycles in enumerate(timed)
    ]
    return (*found, _head(program, geometry.plan, head))


def _stage(
    program: Program, stage: Stage, passes: list[ConvGeometry], params: CoreParams,
    cycles: StageCycles,
) -> StageCost:  # fmt: skip
    first = passes[0]
    ops, elsewhere = remember(stage, "ops", None, lambda: _ops(program, stage))
    frames = first.plan.batch
    loaded = sum(conv.batch_tiles * conv.num_steps * conv.load_words for conv in passes)
    front = params.front if first.from_frame else None
    half = params if front is None else front
    return StageCost(
        name=stage.name,
        engine=FRONT if front is not None else "binary" if first.binary else "real",
        cycles=cycles.active,
        compute=cycles.issued,
        weights=sum(_loading(conv, half.engines[conv.binary]) for conv in passes),
        epilogue=cycles.drained + sum(conv.batch_tiles * conv.num_tiles for conv in passes),
        gate=cycles.gate,
        macs=frames * (ops.binary + ops.real - elsewhere),
        executed=frames * (ops.binary_executed + ops.real_executed - elsewhere),
        peak=first.lanes_in * first.lanes_out * first.px,
        weight_word=first.plan.weight_word if first.binary else first.plan.mac_weight_word,
        loaded=loaded,
    )


def _ops(program: Program, stage: Stage) -> tuple[Ops, int]:
    """Operations of a stage, and how many of them are not the array's."""
    elsewhere = gate_macs(stage.gate) + factor_products(program, stage)
    return stage_ops(program, stage), elsewhere


def _loading(conv: ConvGeometry, engine: EngineParams) -> int:
    """Cycles that the steps of a pass need for their weights alone."""
    steps = conv.batch_tiles * conv.num_steps
    return steps * (conv.load_words + Issuer.WORD_LATENCY + engine.turnaround + 1)


def _head(program: Program, plan: Plan, cycles: StageCycles) -> StageCost:
    classes, channels = program.head.weight.shape
    ops = head_ops(program)
    return StageCost(
        name=program.head.name, engine="vector", cycles=cycles.active,
        compute=plan.batch * classes * ceil_div(channels, plan.gate_macs), weights=0, epilogue=0,
        gate=0, macs=plan.batch * ops.real, executed=plan.batch * ops.real_executed,
        peak=plan.gate_macs, weight_word=0, loaded=0,
    )  # fmt: skip


def bytes_per_frame(geometry: ProgramGeometry) -> Bytes:
    """Bytes over the ports per frame."""
    program, plan = geometry.program, geometry.plan
    channels, rows, cols = program.input_shape
    words = stream_length(geometry) if plan.weights == "stream" else 0
    return Bytes(
        image=channels * rows * cols,
        weights=share(words * ceil_div(plan.weight_word, 8), plan.batch),
        result=LOGIT_BYTES * program.num_classes,
    )
