"""From a model file to an output folder: what ``r2b-compile`` does, without its command line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.backends.fpga.devices import device
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.backends.target import TARGETS, Source, Target
from r2b.calibration import calibration_frames
from r2b.console import Reporter
from r2b.frontend.importer import import_module
from r2b.hw.plan import Plan
from r2b.ir.errors import CalibrationError, OutputError, PlanError
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import Program
from r2b.ir.quantize import CalibrationReport, Preprocessing, quantize
from r2b.output import check_output, output_folder
from r2b.report import make_report, write_report
from r2b.train import checkpoint
from r2b.verify import Verification, check_tools, verify

Frames = npt.NDArray[np.uint8]
STEPS = 7
"""Of the progress bar."""
TESTBENCH_FRAMES = 4
"""Calibration frames that the emitted testbench runs."""


@dataclass(frozen=True)
class Options:
    """What to compile, and how; the fields are the options of ``r2b-compile``.

    Parameters
    ----------
    model : Path
        A checkpoint, see :mod:`r2b.train.checkpoint`.
    target : str
        A key of :data:`r2b.backends.target.TARGETS`.
    output : Path or None
        Folder to write; by default the model's name with ``.r2b``, here.
    force : bool
        Replace that folder if r2b made it.
    calibrate : str or None
        An .npy file of frames, ``"random"``, or None for the checkpoint's own frames.
    act_bits : int
    device : str
    clock_mhz : float or None
        None for the device's usual clock.
    parallelism : str or None
        ``PINxPOUT``, or None for the largest that fits.
    verify : int
        Frames to simulate; 0 for none.
    preprocessing : Preprocessing
    seed : int
        Of random calibration frames.
    sign_zero : int or None
        What a sign gives for 0 where the source gives 0.
    """

    model: Path
    target: str = "fpga"
    output: Path | None = None
    force: bool = False
    calibrate: str | None = None
    act_bits: int = 12
    device: str = "xc7z020"
    clock_mhz: float | None = None
    parallelism: str | None = None
    verify: int = 0
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    seed: int = 0
    sign_zero: int | None = None

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.output or Path(self.model.with_suffix(".r2b").name)


@dataclass(frozen=True)
class Result:
    """What came out.

    Parameters
    ----------
    program : Program
    plan : Plan or None
        None where the target needs none.
    calibration : CalibrationReport
    verification : Verification or None
    folder : Path or None
        None where the target writes none.
    report : dict
        Content of ``report.json``.
    """

    program: Program
    plan: Plan | None
    calibration: CalibrationReport
    verification: Verification | None
    folder: Path | None
    report: dict[str, Any]


def compile_model(options: Options, reporter: Reporter | None = None) -> Result:
    """Compile a model file.

    Raises
    ------
    UserError
        Bad input; nothing was written.
    """
    reporter = reporter or Reporter(quiet=True)
    target = _check(options)
    if not target.emitters:
        return _compile(options, target, None, reporter)
    with output_folder(options.folder, options.force) as temporary:
        return _compile(options, target, temporary, reporter)


def _check(options: Options) -> Target:
    """Check what can be checked before anything is loaded."""
    target = _target(options)
    device(options.device)
    if options.parallelism is not None:
        parse_parallelism(options.parallelism)
    clock = options.clock_mhz
    if clock is not None and not (math.isfinite(clock) and clock > 0):
        raise PlanError(f"the clock must be a positive number of MHz, not {clock}")
    if options.verify < 0:
        raise CalibrationError(f"--verify takes 1 frame or more, not {options.verify}")
    if options.seed < 0:
        raise CalibrationError(f"--seed takes 0 or more, not {options.seed}")
    if target.emitters:
        check_output(options.folder, options.force)
    if options.verify:
        check_tools()
    return target


def _target(options: Options) -> Target:
    target = TARGETS.get(options.target)
    if target is None:
        raise PlanError(f"unknown target {options.target!r}; known: {', '.join(TARGETS)}")
    if options.output is not None and not target.emitters:
        raise OutputError(
            f"target {options.target} writes no folder, it prints; leave -o away, or use --json"
        )
    if options.verify and not target.has_verilog:
        able = " or ".join(name for name, other in TARGETS.items() if other.has_verilog)
        raise PlanError(
            f"--verify simulates Verilog, which target {options.target} has not; use {able}"
        )
    return target


def _compile(options: Options, target: Target, folder: Path | None, reporter: Reporter) -> Result:
    with reporter.progress(STEPS):
        program, calibration, frames = lower(options, reporter)
        plan = _plan(options, program) if target.has_plan else None
        verification = None
        if folder is not None:
            source = Source(program, plan, frames[:TESTBENCH_FRAMES])
            emit(target, source, folder, reporter)
        if folder is not None and plan is not None and options.verify:
            reporter.step("building the simulator")
            verification = verify(folder, program, frames[: options.verify], reporter.detail)
        report = make_report(program, plan, calibration, verification)
        if folder is not None:
            write_report(report, folder)
    place = None if folder is None else options.folder
    return Result(program, plan, calibration, verification, place, report)


def lower(options: Options, reporter: Reporter) -> tuple[Program, CalibrationReport, Frames]:
    """From the model file to the Program; the calibration frames come with it."""
    reporter.step("reading the model")
    loaded = checkpoint.load(options.model)
    network: Any = checkpoint.module(loaded)
    shape = network.input_shape
    frames = calibration_frames(
        options.calibrate, loaded.calibration, shape, options.seed, reporter.warn
    )
    if options.verify > len(frames):
        raise CalibrationError(
            f"--verify {options.verify} asks for more than the {len(frames)} calibration frames; "
            "give a smaller number, or more frames with --calibrate"
        )
    reporter.step("importing")
    graph = import_module(network, _example(network, shape))
    reporter.step("canonicalizing")
    graph = canonicalize(graph)
    reporter.step("quantizing")
    program, report = quantize(
        graph, frames, options.act_bits, options.preprocessing, sign_zero=options.sign_zero
    )
    # not the file's name: renaming a model changes nothing in what is made from it
    return replace(program, name=loaded.arch), report, frames


def _example(network: Any, shape: tuple[int, int, int]) -> Any:
    """Frame of zeros in the network's own type."""
    return next(network.parameters()).detach().new_zeros((1, *shape))


def _plan(options: Options, program: Program) -> Plan:
    parallelism = None
    if options.parallelism is not None:
        parallelism = parse_parallelism(options.parallelism)
    return make_plan(program, options.device, options.clock_mhz, parallelism)


def emit(target: Target, source: Source, folder: Path, reporter: Reporter) -> None:
    """Run a target's emitters."""
    for emitter in target.emitters:
        reporter.step("writing the " + emitter.__name__.removeprefix("emit_"))
        emitter(source, folder)
