"""``r2b-sim``: runs the Verilog of a compiled network on frames."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from r2b.calibration import load_array
from r2b.console import DIFFERENT, Reporter, exit_statuses, show_version, termination
from r2b.ir.errors import CalibrationError, OutputError, UserError

if TYPE_CHECKING:
    from r2b.sim.compare import Report
    from r2b.sim.harness import Compiled, Simulator
    from r2b.sim.job import FrameCycles
    from r2b.sim.job import Progress as Listener

EPILOG = """
Examples:

    r2b-sim digits.r2b frames.npy -o logits.npy\n
    r2b-sim digits.r2b frames.npy --check --junit results.xml\n
    r2b-sim digits.r2b frames.npy --stalls 7 --check\n
    r2b-sim digits.r2b frames.npy --trace run.vcd\n
    r2b-sim digits.r2b frames.npy --check --cycles cycles.json

Exit status: 0 all equal, 1 results differ or a frame is slower, 2 bad input.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Options:
    """The command line, read."""

    folder: Path
    frames: Path
    output: Path | None
    stalls: int | None
    trace: Path | None
    check: bool
    junit: Path | None
    cycles: Path | None
    record_cycles: Path | None
    jobs: int


@dataclass(frozen=True)
class Run:
    """What a run gave; ``report`` only where it was compared."""

    logits: npt.NDArray[np.int32]
    frames: list[FrameCycles]
    stages: tuple[str, ...]
    cycles: int
    seconds: float
    trace: Path | None = None
    report: Report | None = None
    batch: int = 1


@app.command(epilog=EPILOG)
def sim_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Written by r2b-compile --target fpga.")
    ],
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES.npy", help="Frames, uint8 N x C x H x W.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.npy", help="Logits, int32 N x classes."),
    ] = None,
    stalls: Annotated[
        int | None,
        typer.Option(metavar="SEED", min=0, help="Random gaps on all streams at once."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a trace: .vcd or .fst.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare every stage and the logits with the Program, bit by bit; a frame that "
            "differs is traced.",
        ),
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the outcome as JUnit XML.")
    ] = None,
    cycles: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fail if a frame takes more cycles than recorded here."),
    ] = None,
    record_cycles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record the cycles for --cycles.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("-j", "--jobs", metavar="N", min=1, help="Processes that share the frames."),
    ] = 1,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Simulate the Verilog of a compiled network on frames."""
    reporter = Reporter(quiet, verbose, as_json)
    with exit_statuses(reporter, "interrupted"):
        options = Options(
            folder, frames, output, stalls, trace, check, junit, cycles, record_cycles, jobs
        )
        if simulate_and_report(options, reporter):
            raise typer.Exit(DIFFERENT)


def simulate_and_report(options: Options, reporter: Reporter) -> list[str]:
    """Do what the options say; return what differs, one message each."""
    from r2b.sim.cycles import read_cycles
    from r2b.sim.harness import SimulationError, check_frames, read_compiled

    check_outputs(options)
    compiled = read_compiled(options.folder)
    frames = read_frames(options.frames)
    check_frames(frames, compiled.program.input_shape)
    recorded = None if options.cycles is None else read_cycles(options.cycles)
    simulator = build(compiled, reporter)
    try:
        run = simulate(options, compiled, simulator, frames, reporter)
    except SimulationError as error:
        reporter.error(str(error))
        if options.junit is not None:
            write_junit(options.junit, [("simulate", str(error))], None, 0.0)
        return [str(error)]
    return report(options, run, recorded, reporter)


def check_outputs(options: Options) -> None:
    """Complain before the simulation about what cannot be written after it."""
    from r2b.sim.verilator import WAVES

    outputs = (options.output, options.trace, options.junit, options.record_cycles)
    for path in outputs:
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: the folder {path.parent} does not exist")
        if path.is_dir() or not os.access(
            path if path.exists() else path.absolute().parent, os.W_OK
        ):
            raise OutputError(f"{path} cannot be written")
    if options.trace is not None and options.trace.suffix.removeprefix(".") not in WAVES:
        raise OutputError(
            f"--trace takes a file that ends in .vcd or .fst, not {options.trace.name}"
        )
    if options.stalls is not None and (options.cycles or options.record_cycles):
        raise UserError("--stalls makes frames wait; leave it away with --cycles, --record-cycles")


def read_frames(path: Path) -> npt.NDArray[np.uint8]:
    """The frames of an ``.npy`` file."""
    wanted = "frames are an .npy file, uint8 N x C x H x W"
    try:
        frames = load_array(path)
    except CalibrationError as error:
        what = str(error).partition(";")[0]
        raise UserError(f"{path}: {what}; {wanted}") from None
    if not isinstance(frames, np.ndarray):
        raise UserError(f"{path} is an archive; {wanted}")
    if not len(frames.shape) or not len(frames):
        raise UserError(f"{path} holds no frames; {wanted}")
    return frames


# ------------------------------------------------------------------------------------ simulation


def build(compiled: Compiled, reporter: Reporter) -> Simulator:
    """The simulator of a compiled folder."""
    from r2b.sim.harness import Simulator, Streams

    with reporter.progress(1):
        reporter.step("building the simulator")
        simulator = Simulator(compiled.sources, Streams.of(compiled.program, compiled.plan))
    if reporter.verbose:
        found = "found in the cache" if simulator.built.cached else "built"
        reporter.show(f"simulator {found} in {simulator.built.seconds:.1f} s")
    return simulator


def simulate(
    options: Options,
    compiled: Compiled,
    simulator: Simulator,
    frames: npt.NDArray[np.uint8],
    reporter: Reporter,
) -> Run:
    """Run the frames, compared or not."""
    from r2b.sim.verify import verify

    stages = simulator.streams.stages
    with progress_bar(len(frames), reporter) as listener:
        if options.check:
            done = verify(
                simulator,
                compiled.program,
                compiled.plan,
                frames,
                stalls=options.stalls,
                trace_file=options.trace,
                failure_trace=failure_trace(options),
                jobs=options.jobs,
                progress=listener,
            )
            return Run(
                done.logits, done.frames, stages, done.cycles, done.seconds, done.trace_file,
                done.report, compiled.plan.batch,
            )  # fmt: skip
        result = simulator.simulate(
            frames,
            stalls=options.stalls,
            trace_file=options.trace,
            jobs=options.jobs,
            progress=listener,
        )
    return Run(result.logits, result.frames, stages, result.cycles, result.seconds, options.trace,
               batch=compiled.plan.batch)  # fmt: skip


def failure_trace(options: Options) -> Path:
    """Where the trace of a frame that differs goes: beside the logits, else where we are."""
    beside = options.output.parent if options.output is not None else Path()
    return beside / f"{options.frames.stem}-mismatch.vcd"


@contextmanager
def progress_bar(total: int, reporter: Reporter) -> Iterator[Listener]:
    """A bar of frames, with the cycle it stands at."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    hidden = reporter.quiet or not reporter.err.is_terminal
    with Progress(
        *columns, TimeElapsedColumn(), console=reporter.err, transient=True, disable=hidden
    ) as bar:
        task = bar.add_task("frames", total=total)

        def listener(done: int, cycle: int) -> None:
            bar.update(task, completed=done, description=f"frames, cycle {cycle:,}")

        yield listener


# ------------------------------------------------------------------------------------- reporting


def report(
    options: Options, run: Run, recorded: dict[str, Any] | None, reporter: Reporter
) -> list[str]:
    """Write and print what was found; return what differs."""
    from r2b.sim.cycles import slower, slowest, write_cycles

    measured = slowest(run.stages, run.frames)
    late = None if recorded is None else slower(recorded, measured)
    problems = differences(run) + ([late] if late else [])
    if options.output is not None:
        save(options.output, run.logits)
    if options.record_cycles is not None:
        write_cycles(options.record_cycles, measured)
    if options.junit is not None:
        cases = [] if recorded is None else [("cycles", late)]
        write_junit(options.junit, cases, run.report, run.seconds)
    if reporter.as_json:
        typer.echo(json.dumps(summary(run, measured, problems), indent=2, ensure_ascii=False))
    reporter.show(cycle_table(run))
    for line in result_lines(run):
        reporter.show(line)
    for problem in problems:
        reporter.error(problem)
    return problems


def differences(run: Run) -> list[str]:
    """The first mismatch, with the count of all and the trace."""
    found = run.report
    if found is None or found.first is None:
        return []
    trace = f"; trace: {run.trace}" if run.trace is not None else ""
    return [f"{found.total} differing bits; first: {found.first}{trace}"]


def result_lines(run: Run) -> list[str]:
    """The verdict, and the speed of the simulation."""
    rate = run.cycles / max(run.seconds, 1e-9)
    lines = [f"{len(run.frames)} frames, {run.cycles:,} cycles simulated in {run.seconds:.1f} s "
             f"({rate / 1e3:,.0f} thousand per second)"]  # fmt: skip
    if run.report is not None:
        bits = sum(run.report.compared_bits.values())
        verdict = "EQUAL" if run.report.equal else "DIFFERENT"
        lines.append(
            f"{verdict}: every stage of {len(run.frames)} frames against the Program, "
            f"{bits:,} bits, {run.report.total:,} differ"
        )
    return lines


def cycle_table(run: Run) -> Table:
    """Mean cycles per frame, one row per stage."""
    whole = "frame" if run.batch == 1 else f"batch of {run.batch} frames"
    table = Table(title=f"cycles per {whole}, mean of {len(run.frames)}", box=box.SIMPLE)
    table.add_column("stage", no_wrap=True)
    for heading in ("active", "waiting", "share"):
        table.add_column(heading, justify="right")
    counts = np.array([frame.stages for frame in run.frames], np.float64).mean(axis=0)
    total = max(1.0, float(counts.sum()))
    for name, (active, waiting) in zip((*run.stages, "head"), counts, strict=True):
        share = f"{(active + waiting) / total:.1%}"
        table.add_row(name, f"{active:,.0f}", f"{waiting:,.0f}", share)
    table.add_section()
    active, waiting = counts.sum(axis=0)
    table.add_row("total", f"{active:,.0f}", f"{waiting:,.0f}", "", style="bold")
    latencies = [frame.latency for frame in run.frames]
    table.caption = f"latency {min(latencies):,} to {max(latencies):,} cycles"
    return table


def summary(run: Run, measured: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The outcome as plain data."""
    found = run.report
    frames = [
        {"cycles": f.total, "active": f.active, "latency": f.latency, "counters": f.counters}
        for f in run.frames
    ]
    return {
        "frames": len(run.frames),
        "slowest": measured,
        "per_frame": frames,
        "simulated_cycles": run.cycles,
        "seconds": round(run.seconds, 3),
        "differing_bits": None if found is None else found.total,
        "compared_bits": None if found is None else sum(found.compared_bits.values()),
        "problems": problems,
        "trace": None if run.trace is None else str(run.trace),
    }


def save(path: Path, logits: npt.NDArray[np.int32]) -> None:
    """Write the logits whole or not at all."""
    from r2b.sim.files import write_whole

    content = io.BytesIO()
    np.save(content, logits)
    write_whole(path, content.getvalue())


def write_junit(
    path: Path, more: Sequence[tuple[str, str | None]], compared: Report | None, seconds: float
) -> None:
    """One test per stored value, and those in ``more``: name and failure."""
    from r2b.sim import junit

    cases = [] if compared is None else junit.compared_cases(compared)
    cases += [junit.Case(name, failure) for name, failure in more]
    junit.write_junit(path, "r2b-sim", cases or [junit.Case("simulate")], seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    try:
        with termination():
            app(args=sys.argv[1:] if argv is None else list(argv), prog_name="r2b-sim")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
