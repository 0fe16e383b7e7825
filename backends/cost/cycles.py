"""Predicted cycles of a Program on a Plan; the formula is the hardware's own."""

from __future__ import annotations

from dataclasses import dataclass

from r2b.hw.geometry import ProgramGeometry
from r2b.hw.plan import Plan
from r2b.hw.timing import StageCycles, predict
from r2b.ir.program import Program


@dataclass(frozen=True)
class Cycles:
    """Clock cycles in which the accelerator works on a frame, or on a batch of them.

    Parameters
    ----------
    stages : dict of str to StageCycles
        By name; the head is the last one.
    """

    stages: dict[str, StageCycles]

    @property
    def frame(self) -> int:
        """Cycles of all stages."""
        return sum(stage.active for stage in self.stages.values())

    def active(self, name: str) -> int:
        """Cycles of one stage."""
        return self.stages[name].active


def predict_cycles(program: Program, plan: Plan) -> Cycles:
    """Cycles of every stage and of the head."""
    found = predict(ProgramGeometry(program, plan))
    return Cycles({stage.name: stage for stage in found})
