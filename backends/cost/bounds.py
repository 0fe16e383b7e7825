"""What holds each stage back: lower bounds of its cycles, utilisation, place on the roofline.

All of it follows from a Program and a Plan::

    compute   = cycles in which the array takes a pixel
    weights   = words that fill the array's weight registers, one per cycle
    epilogue  = words of ``lanes`` values that the epilogue takes, one per cycle
    gate      = cycles until the stage's gate is ready
    attained  = executed multiply-accumulates / cycles
    intensity = executed multiply-accumulates / bits of those weight words
    roof      = min(peak, weight word * intensity)

Cycles are :mod:`r2b.hw.timing`'s, in which nothing is fitted. No stage takes fewer than any of its
bounds; where even the largest is less than half of them, filling and draining the pipelines takes
the rest, and the stage is bound by ``latency``.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.backends.cost.cycles import Cycles
from r2b.backends.cost.ops import factor_products, gate_macs, head_ops, stage_ops
from r2b.hw.geometry import ConvGeometry, ProgramGeometry, ceil_div
from r2b.hw.plan import Plan
from r2b.ir.program import Program, Stage

LATENCY = "latency"
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
    macs : int
        Multiply-accumulates that the array executes; those of gates and of factors in the epilogue
        run elsewhere.
    peak : int
        Multiply-accumulates per cycle of that array.
    weight_word : int
        Bits per cycle into it; 0 for the vector unit, which reads its own table.
    """

    engine: str
    cycles: int
    compute: int
    weights: int
    epilogue: int
    gate: int
    macs: int
    peak: int
    weight_word: int

    @property
    def attained(self) -> float:
        """Multiply-accumulates per cycle."""
        return self.macs / self.cycles

    @property
    def utilisation(self) -> float:
        """Share of the array's peak."""
        return self.attained / self.peak

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates per bit of weights that is loaded; None where none are."""
        bits = self.weights * self.weight_word
        return self.macs / bits if bits else None

    @property
    def binds(self) -> str:
        """The largest bound, or ``latency`` where it is less than half of the cycles."""
        largest = max(BOUNDS, key=lambda name: getattr(self, name))
        return largest if 2 * getattr(self, largest) >= self.cycles else LATENCY


def stage_bounds(program: Program, plan: Plan, cycles: Cycles) -> dict[str, StageBounds]:
    """Bounds of every stage, by name; the head is the last one."""
    geometry = ProgramGeometry(program, plan)
    passes: dict[int, list[ConvGeometry]] = {}
    for number, conv in zip(geometry.numbers, geometry.convs, strict=True):
        passes.setdefault(number, []).append(conv)
    found = {
        stage.name: _of_stage(program, stage, passes[number], cycles)
        for number, stage in enumerate(program.stages)
    }
    return found | {program.head.name: _of_head(program, plan, cycles)}


def _of_stage(
    program: Program, stage: Stage, passes: list[ConvGeometry], cycles: Cycles
) -> StageBounds:
    first, timed = passes[0], cycles.stages[stage.name]
    plan = first.plan
    return StageBounds(
        engine="binary" if first.binary else "real",
        cycles=timed.active,
        compute=timed.issued,
        weights=sum(map(loaded_words, passes)),
        epilogue=timed.drained,
        gate=timed.gate,
        macs=array_macs(program, stage),
        peak=first.lanes_in * first.lanes_out,
        weight_word=plan.weight_word if first.binary else plan.mac_weight_word,
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
        macs=head_ops(program).real,
        peak=plan.gate_macs,
        weight_word=0,
    )


def loaded_words(conv: ConvGeometry) -> int:
    """Weight words that a pass loads: those of every step of every tile."""
    steps = sum(len(conv.steps(tile)) for tile in conv.pixel_tiles())
    return steps * conv.tiles_out * conv.load_words


def array_macs(program: Program, stage: Stage) -> int:
    """Multiply-accumulates of a stage's contraction inside the image."""
    ops = stage_ops(program, stage)
    elsewhere = gate_macs(stage.gate) + factor_products(program, stage)
    return ops.binary_executed + ops.real_executed - elsewhere
