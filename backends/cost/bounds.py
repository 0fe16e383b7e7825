"""What holds each stage back: lower bounds of its cycles, utilisation, place on the roofline.

All of it follows from a Program and a Plan::

    compute   = cycles in which the array takes a pixel
    weights   = steps * (load_words + WORD_LATENCY + turnaround + 1), the fastest that steps follow
    epilogue  = words of ``lanes`` values that leave the accumulators, and one cycle per tile
    gate      = cycles until the stage's gate is ready
    attained  = executed multiply-accumulates / cycles
    intensity = executed multiply-accumulates / bits of the weight words loaded
    roof      = min(peak, weight word * intensity)

Cycles are :mod:`r2b.hw.timing`'s, in which nothing is fitted. No stage takes fewer than any of its
bounds; where even the largest is less than half of them, looking up, filling and emptying takes the
rest, and the ``pipeline`` binds.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.backends.cost.cycles import Cycles
from r2b.backends.cost.ops import factor_products, gate_macs, head_ops, stage_ops
from r2b.hw.engine import EngineParams
from r2b.hw.geometry import ConvGeometry, ProgramGeometry, ceil_div
from r2b.hw.issue import Issuer
from r2b.hw.params import core_params
from r2b.hw.plan import Plan
from r2b.hw.timing import StageCycles
from r2b.ir.program import Program, Stage

PIPELINE = "pipeline"
BOUNDS = ("compute", "weights", "epilogue", "gate")


@dataclass(frozen=True)
class StageBounds:
    """Lower bounds of one stage's cycles, and what its array does in them.

    Parameters
    ----------
    engine : str
        ``binary`` (XNOR array), ``real`` (MAC array) or ``vector`` (the head's unit).
    cycles : int
        Predicted.
    compute, weights, epilogue, gate : int
        Cycles, see the module.
    executed : int
        Multiply-accumulates of the array inside the image; those of gates and of factors in the
        epilogue run elsewhere.
    peak : int
        Multiply-accumulates per cycle of that array.
    weight_word : int
        Bits per cycle into it; 0 for the vector unit, which reads its own table.
    loaded : int
        Words of that size, those of every step of every tile.
    """

    engine: str
    cycles: int
    compute: int
    weights: int
    epilogue: int
    gate: int
    executed: int
    peak: int
    weight_word: int
    loaded: int

    @property
    def attained(self) -> float:
        """Multiply-accumulates per cycle."""
        return self.executed / self.cycles

    @property
    def utilisation(self) -> float:
        """Share of the array's peak."""
        return self.attained / self.peak

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates per bit of weights that is loaded; None where none are."""
        bits = self.loaded * self.weight_word
        return self.executed / bits if bits else None

    @property
    def binds(self) -> str:
        """The largest bound, or ``pipeline`` where it is less than half of the cycles."""
        largest = max(BOUNDS, key=lambda name: getattr(self, name))
        return largest if 2 * getattr(self, largest) >= self.cycles else PIPELINE


def stage_bounds(program: Program, plan: Plan, cycles: Cycles) -> dict[str, StageBounds]:
    """Bounds of every stage, by name; the head is the last one."""
    geometry = ProgramGeometry(program, plan)
    engines = core_params(geometry).engines
    passes: dict[int, list[ConvGeometry]] = {}
    for number, conv in zip(geometry.numbers, geometry.convs, strict=True):
        passes.setdefault(number, []).append(conv)
    found = {
        stage.name: _of_stage(program, stage, passes[number], cycles.stages[stage.name], engines)
        for number, stage in enumerate(program.stages)
    }
    return found | {program.head.name: _of_head(program, plan, cycles)}


def _of_stage(
    program: Program, stage: Stage, passes: list[ConvGeometry], timed: StageCycles,
    engines: dict[bool, EngineParams],
) -> StageBounds:  # fmt: skip
    first, plan = passes[0], passes[0].plan
    return StageBounds(
        engine="binary" if first.binary else "real",
        cycles=timed.active,
        compute=timed.issued,
        weights=sum(steps_of(conv) * _interval(conv, engines[conv.binary]) for conv in passes),
        epilogue=timed.drained + sum(1 for conv in passes for _ in conv.tiles()),
        gate=timed.gate,
        executed=array_macs(program, stage),
        peak=first.lanes_in * first.lanes_out,
        weight_word=plan.weight_word if first.binary else plan.mac_weight_word,
        loaded=sum(steps_of(conv) * conv.load_words for conv in passes),
    )


def _of_head(program: Program, plan: Plan, cycles: Cycles) -> StageBounds:
    classes, channels = program.head.weight.shape
    return StageBounds(
        engine="vector",
        cycles=cycles.active(program.head.name),
        compute=classes * ceil_div(channels, plan.gate_macs),
        weights=0,
        epilogue=0,
        gate=0,
        executed=head_ops(program).real,
        peak=plan.gate_macs,
        weight_word=0,
        loaded=0,
    )


def steps_of(conv: ConvGeometry) -> int:
    """Steps of a pass."""
    return conv.tiles_out * sum(len(conv.steps(tile)) for tile in conv.pixel_tiles())


def _interval(conv: ConvGeometry, engine: EngineParams) -> int:
    """Cycles from a step to the next one that its weights need alone."""
    return conv.load_words + Issuer.WORD_LATENCY + engine.turnaround + 1


def array_macs(program: Program, stage: Stage) -> int:
    """Multiply-accumulates of a stage's contraction inside the image."""
    ops = stage_ops(program, stage)
    elsewhere = gate_macs(stage.gate) + factor_products(program, stage)
    return ops.binary_executed + ops.real_executed - elsewhere
