"""Runs the emitted Verilog on frames and compares every stage with the Program, bit by bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir.program import Program
from r2b.sim.harness import Simulator, read_compiled
from r2b.sim.job import FrameCycles, SimulationError
from r2b.sim.verify import Verified
from r2b.sim.verify import verify as simulate_and_compare
from r2b.sim.verilator import find_tools

TRACE_FILE = "mismatch.vcd"
"""Waves of a frame that differs, in the output folder."""
MAX_MESSAGES = 5

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Verification:
    """What the simulation found.

    Parameters
    ----------
    frames : int
    equal : bool
        Every bit is the Program's, and every word was written once.
    differing_bits, compared_bits : int
        Over stored tensors, sign maps and logits of all frames.
    frame : int or None
        Cycles in which the accelerator works on a frame: the largest of all frames.
    stages : dict
        The same for each stage, by name.
    messages : tuple of str
        The first differences, or why the simulation ended: where, expected, got.
    """

    frames: int
    equal: bool
    differing_bits: int
    compared_bits: int
    frame: int | None
    stages: dict[str, int]
    messages: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def check_tools() -> None:
    """Check that the machine can build a simulator.

    Raises
    ------
    ToolError
        With everything that is missing.
    """
    find_tools()


def verify(
    folder: Path, program: Program, frames: Frames, say: Callable[[str], None]
) -> Verification:
    """Simulate what a folder holds on some frames, and compare every stage with ``program``.

    ``say`` is told how far it is. Where a bit differs, the waves of such a frame are written into
    the folder.
    """
    simulator, plan = Simulator.of_folder(folder), read_compiled(folder).plan

    def progress(done: int, cycle: int) -> None:
        say(f"{done} of {len(frames)} frames, cycle {cycle:,}")

    try:
        done = simulate_and_compare(
            simulator, program, plan, frames, failure_trace=folder / TRACE_FILE, progress=progress
        )
    except SimulationError as error:
        # the temporary folder's name is of no use to anyone
        message = str(error).replace(f"{folder}{os.sep}", "")
        return Verification(len(frames), False, 0, 0, None, {}, (message,))
    return Verification(
        len(frames),
        done.report.equal,
        done.report.total,
        sum(done.report.compared_bits.values()),
        max(entry.active for entry in done.frames),
        stage_cycles(program, done.frames),
        messages(done),
    )


def messages(done: Verified) -> tuple[str, ...]:
    """The first differences, and where the waves are."""
    found = [str(mismatch) for mismatch in done.report.mismatches[:MAX_MESSAGES]]
    return (*found, f"waves: {done.trace_file.name}") if done.trace_file else tuple(found)


def stage_cycles(program: Program, frames: Sequence[FrameCycles]) -> dict[str, int]:
    """Cycles in which each stage and the head wait for no stream; the largest of all frames."""
    names = [*(stage.name for stage in program.stages), program.head.name]
    columns = zip(*(entry.stages for entry in frames), strict=True)
    found = [max(active for active, _ in column) for column in columns]
    return dict(zip(names, found, strict=True))
