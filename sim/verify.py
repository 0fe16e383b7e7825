"""Simulates frames, compares every stage with the Program, and traces the frame that differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r2b.hw.plan import Plan
from r2b.ir.errors import UserError
from r2b.ir.execute import execute
from r2b.ir.program import Program
from r2b.sim.compare import Report, compare
from r2b.sim.harness import Frames, SimResult, Simulator
from r2b.sim.job import FrameCycles, Progress, SimulationError

RECORD_BYTES = 1 << 27
"""About so many bytes of recorded writes are held at a time."""
MOST_FRAMES = 64
"""Frames per batch at most; the Program's values of a batch are held, too."""
BEFORE, BEHIND = 4_000, 200
"""Cycles before and behind a difference that its trace shows."""


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Parameters
    ----------
    logits : ndarray
        int32 [frames, classes], as simulated.
    frames : list of FrameCycles
    report : Report
    trace_file : Path or None
        The trace of a frame that differs.
    cycles : int
        Simulated cycles.
    seconds : float
        Wall time of the simulation, without the comparison.
    """

    logits: npt.NDArray[np.int32]
    frames: list[FrameCycles]
    report: Report
    trace_file: Path | None
    cycles: int
    seconds: float


def verify(
    simulator: Simulator,
    program: Program,
    plan: Plan,
    frames: Frames,
    *,
    stalls: int | None = None,
    trace_file: Path | None = None,
    failure_trace: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Verified:
    """Simulate frames in batches and compare each stored tensor, sign map and logit.

    Parameters
    ----------
    simulator : Simulator
    program, plan : Program, Plan
        What the Verilog was made from.
    frames : ndarray
        uint8 N x C x H x W.
    stalls : int, optional
        Seed of random gaps on all streams.
    trace_file : Path, optional
        Trace of everything; all frames are one batch then.
    failure_trace : Path, optional
        Where to write the trace of the first frame that differs, or hangs.
    jobs : int
        Processes.
    progress : callable, optional
        Called with the number of results and the cycle.

    Raises
    ------
    SimulationError
        A hang, a broken protocol or a crash; the message names the trace.
    """
    report = Report()
    results: list[SimResult] = []
    trace = trace_file
    for start, batch in _batches(program, plan, frames, trace_file is not None):
        shown = _shift(progress, start, sum(r.cycles for r in results))
        try:
            result = simulator.simulate(
                batch, stalls=stalls, record=True, trace_file=trace_file, jobs=jobs, progress=shown
            )
        except SimulationError as error:
            raise _traced(error, simulator, batch, stalls, trace or failure_trace) from None
        expected = execute(program, batch)
        found = compare(program, plan, result, expected)
        if found.first is not None and trace is None and failure_trace is not None:
            last = found.first.frame
            trace = failure_trace
            _trace_difference(simulator, program, plan, batch, last, stalls, failure_trace)
        report.add(found, start)
        results.append(_without_records(result))
    return Verified(
        np.concatenate([result.logits for result in results]),
        [frame for result in results for frame in result.frames],
        report,
        trace,
        sum(result.cycles for result in results),
        sum(result.seconds for result in results),
    )


def _batches(
    program: Program, plan: Plan, frames: Frames, whole: bool
) -> Iterator[tuple[int, Frames]]:
    """First frame and frames of each batch."""
    if not len(frames):
        raise UserError("there are no frames to verify with")
    size = len(frames) if whole else _batch_size(program, plan)
    for start in range(0, len(frames), size):
        yield start, frames[start : start + size]


def _batch_size(program: Program, plan: Plan) -> int:
    words = 0
    shapes = [t.shape for t in program.tensors.values()] + list(program.sign_shapes.values())
    for channels, rows, cols in shapes:
        words += -(-channels // plan.lanes) * rows * cols
    size = 32 + 8 * -(-plan.lanes * plan.act_bits // 64)
    frames = max(1, min(MOST_FRAMES, RECORD_BYTES // (words * size)))
    return -(-frames // plan.batch) * plan.batch


def _shift(progress: Progress | None, frames: int, cycles: int) -> Progress | None:
    """Report of a batch as one of the whole."""
    if progress is None:
        return None
    return lambda done, cycle: progress(frames + done, cycles + cycle)


def _without_records(result: SimResult) -> SimResult:
    values = dict(vars(result), features=None, signs=None)
    return SimResult(**values)


def _trace_difference(
    simulator: Simulator, program: Program, plan: Plan, batch: Frames, last: int,
    stalls: int | None, path: Path,
) -> None:  # fmt: skip
    """Trace the frame alone; if it is right then, with all frames of the batch before it."""
    for first in (last, 0):
        frames = batch[first : last + 1]
        result = simulator.simulate(frames, stalls=stalls, record=True)
        found = compare(program, plan, result, execute(program, frames)).first
        if found is not None or first == 0:
            cycle = result.cycles if found is None else found.cycle
            window = (max(0, cycle - BEFORE), cycle + BEHIND)
            simulator.simulate(frames, stalls=stalls, trace_file=path, trace_window=window)
            return


def _traced(
    error: SimulationError, simulator: Simulator, batch: Frames, stalls: int | None,
    path: Path | None,
) -> SimulationError:  # fmt: skip
    """The same error, with a trace that ends where it happened."""
    if path is None:
        return error
    try:  # in one process: only then its cycles are those of the trace
        simulator.simulate(batch, stalls=stalls)
    except SimulationError as again:
        error = again
    try:
        window = (max(0, error.event - BEFORE), error.event + BEHIND)
        simulator.simulate(batch, stalls=stalls, trace_file=path, trace_window=window)
    except SimulationError:
        text = f"{error}; trace: {path}"
        return SimulationError(text, error.cycle, error.frame, error.stage, error.event)
    return error
