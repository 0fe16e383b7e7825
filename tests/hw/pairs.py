"""Pairs of a Program and a Plan whose cycles are predicted and simulated (benchmarks/cycles.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from r2b.backends.fpga.planner import make_plan
from r2b.hw.plan import Plan
from r2b.ir.program import Program
from tests.hw.families import FAMILIES


@dataclass(frozen=True)
class Pair:
    """A Program's name for :func:`tests.hw.calibration.program`, and a Plan's parameters."""

    program: str
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique among the pairs."""
        shown = {"parallelism": lambda shape: f"{shape[0]}x{shape[1]}"}
        words = [
            shown[key](value) if key in shown else f"{key}={value}"
            for key, value in self.changes.items()
        ]
        return " ".join([self.program, *words])

    def plan(self, program: Program) -> Plan:
        """The Plan."""
        return make_plan(program, **self.changes)


def _chip(p_in: int, p_out: int, **more: Any) -> dict[str, Any]:
    return {"parallelism": (p_in, p_out), **more}


def _stream(p_in: int, p_out: int, word: int = 64, **more: Any) -> dict[str, Any]:
    words = {"weights": "stream", "weight_word": word, "mac_weight_word": word}
    return {"parallelism": (p_in, p_out), **words, **more}


PAIRS = (
    *(Pair(name, _stream(8, 8, 24, tile_pixels=11, mac_out=4, lanes=4, gate_macs=3))
      for name in FAMILIES),
    *(Pair(name, _chip(16, 4, tile_pixels=20, lanes=2, mac_out=6, gate_macs=5, hop=3))
      for name in FAMILIES),
    Pair("random1", _chip(8, 8, tile_pixels=16)),
    Pair("random2", _stream(4, 12, 40, tile_pixels=7)),
    Pair("random3", _chip(32, 8, tile_pixels=64, gate_macs=2)),
    Pair("random4", _stream(16, 16, 16, tile_pixels=32)),
    Pair("random5", _chip(6, 10, tile_pixels=13, mac_out=4)),
    Pair("random6", _stream(8, 16, 128, tile_pixels=48)),
    Pair("digits", _chip(8, 8, mac_out=8, gate_macs=4)),
    Pair("digits", _stream(16, 8, 32, tile_pixels=20, mac_out=8, gate_macs=4)),
)  # fmt: skip
