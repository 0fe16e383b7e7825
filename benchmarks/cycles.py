"""Predicted against simulated cycles, per stage and per frame, of many networks on many Plans.

    python benchmarks/cycles.py                 # all pairs of tests/hw/pairs.py
    python benchmarks/cycles.py --only random   # those whose name holds this
    python benchmarks/cycles.py --output cycles.md

Every pair's Verilog is built and run in Verilator with streams that never wait; every stored
tensor, sign map and logit is compared, too.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from r2b.backends.fpga.emit import emit_verilog
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.timing import predict
from r2b.sim import verilator
from r2b.sim.harness import Simulator, Streams
from r2b.sim.verify import verify

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
pairs: Any = importlib.import_module("tests.hw.pairs")
calibration: Any = importlib.import_module("tests.hw.calibration")
programs: Any = importlib.import_module("tests.hw.programs")

FRAMES = 3
verilator.OPTIMIZE = "-O0"  # a few frames run in no time, and compiling takes the rest of it
HEADINGS = ("network", "Plan", "stages", "frame", "simulated", "interval", "simulated",
            "largest difference", "differing bits")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A pair's cycles.

    Parameters
    ----------
    name : str
    stages : int
        With the head.
    predicted, simulated : int
        Active cycles of a frame.
    interval, measured : int
        Cycles from the last frame but one's end to the last one's, predicted and simulated.
    difference : int
        Largest one over all stages and frames, and over the frames' total cycles.
    bits : int
        Bits that differ from the Program's.
    """

    name: str
    stages: int
    predicted: int
    simulated: int
    interval: int
    measured: int
    difference: int
    bits: int

    @property
    def cells(self) -> list[str]:
        """Of the table."""
        network, _, plan = self.name.partition(" ")
        figures = (self.stages, self.predicted, self.simulated, self.interval, self.measured,
                   self.difference, self.bits)  # fmt: skip
        return [network, plan, *(f"{figure:,}" for figure in figures)]


def run(pair: Any) -> Row:
    """Predict, build, simulate."""
    program = calibration.program(pair.program)
    plan = pair.plan(program)
    geometry = ProgramGeometry(program, plan)
    stages = [stage.active for stage in predict(geometry)]
    frames = predict_frames(geometry, FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator([emit_verilog(program, plan, folder)], Streams.of(program, plan))
        found = verify(simulator, program, plan, programs.random_frames(program, FRAMES))
    per_stage = [
        abs(active - wanted)
        for frame in found.frames
        for (active, _), wanted in zip(frame.stages, stages, strict=True)
    ]
    totals = [
        abs(a.total - b.cycles) + abs(a.active - b.active)
        for a, b in zip(found.frames, frames, strict=True)
    ]
    return Row(
        pair.name, len(stages), sum(stages), found.frames[-1].active,
        frames[-1].last - frames[-2].last, found.frames[-1].done - found.frames[-2].done,
        max(per_stage + totals), found.report.total,
    )  # fmt: skip


def main(
    only: Annotated[str, typer.Option(help="only pairs whose name holds this")] = "",
    output: Annotated[Path | None, typer.Option(help="write the table here, as Markdown")] = None,
) -> None:
    """Print a row per pair; the exit status is 1 if one differs."""
    rows: list[Row] = []
    for pair in (p for p in pairs.PAIRS if only in p.name):
        rows.append(run(pair))
        print(*rows[-1].cells, sep=" | ", flush=True)
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*row.cells)
    Console(width=160).print(table)
    if output is not None:
        lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells for row in rows)]
        output.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    wrong = [row.name for row in rows if row.difference or row.bits]
    print(f"{len(rows)} pairs, {len(wrong)} with a difference", *wrong)
    raise typer.Exit(bool(wrong))


if __name__ == "__main__":
    typer.run(main)
