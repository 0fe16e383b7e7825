"""From a network, or from a model file, to a compiled one: what ``r2b-compile`` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.backends.cost.accounting import Count, count
from r2b.backends.fpga.planner import (
    make_plan,
    misfit_warning,
    parse_parallelism,
    with_memory_map,
)
from r2b.backends.target import TARGETS, Source, Target
from r2b.calibration import calibration_frames, frames_shape
from r2b.console import Reporter
from r2b.explore.search import smallest_plan
from r2b.frontend import loading
from r2b.frontend.capture import Capture
from r2b.frontend.check import check_canonical
from r2b.frontend.loading import Loaded, Request
from r2b.frontend.loading_factory import parse_arguments
from r2b.hw.devices import device
from r2b.hw.plan import Plan
from r2b.ir.errors import CalibrationError, PlanError, UnsupportedOpError, UserError
from r2b.ir.explain import explain
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import Program
from r2b.ir.quantize import CalibrationReport, quantize
from r2b.ir.written import Written, as_written
from r2b.options import Options, check_options, make_options, read_plan
from r2b.output import output_folder
from r2b.page.render import write_page
from r2b.reference import Reference
from r2b.report import make_report, write_report
from r2b.train import checkpoint
from r2b.train.zoo import ARCHITECTURES
from r2b.verify import Verification, verify

Frames = npt.NDArray[np.uint8]
Shape = tuple[int, ...]
STEPS = 9
"""Of the progress bar."""
TESTBENCH_FRAMES = 4
"""Calibration frames that the emitted testbench runs."""


@dataclass(frozen=True)
class Result:
    """A compiled network.

    Parameters
    ----------
    graph : Graph
        The canonical float Graph.
    program : Program
        The integer network; what it computes is the right answer.
    plan : Plan or None
        None where the target needs none.
    calibration : CalibrationReport
    verification : Verification or None
        What the simulation found, where there was one.
    folder : Path or None
        What was written; None where nothing was.
    report : dict
        Content of ``report.json``.
    operations : Count or None
        What the network costs as its author wrote it, by the paper's convention; None where an
        operation has no rule.
    notes : tuple of str
        What the user is to know.
    choice : str or None
        Which Plan was chosen for a target of frames per second, and why.
    """

    graph: Graph
    program: Program
    plan: Plan | None
    calibration: CalibrationReport
    verification: Verification | None
    folder: Path | None
    report: dict[str, Any]
    operations: Count | None = None
    notes: tuple[str, ...] = ()
    choice: str | None = None

    @cached_property
    def reference(self) -> Reference:
        """The network as a function: uint8 frames to int32 logits, bit by bit the accelerator's."""
        return Reference(self.program)


@dataclass(frozen=True)
class Network:
    """What is compiled.

    Parameters
    ----------
    network : nn.Module or ExportedProgram
    shape : tuple of int
        Of a frame.
    frames : ndarray or None
        Calibration frames that came with it.
    example : Tensor or None
        Example input; None for frames of the calibration.
    """

    network: object
    shape: Shape
    frames: Frames | None = None
    example: Any = None


def compile_network(
    module: object, example_input: object = None, target: str = "fpga", **options: Any
) -> Result:
    """Compile a binary network; this is ``r2b.compile``.

    Parameters
    ----------
    module : torch.nn.Module or torch.export.ExportedProgram
    example_input : Tensor, N x C x H x W or N x F, float32
        What the network receives; may be left away for an exported program.
    target : str
        ``numpy``, ``fpga``, ``cost`` or ``all``.
    **options
        Fields of :class:`r2b.options.Options`, for example ``calibration``, ``output``, ``verify``.

    Returns
    -------
    Result
        With ``graph``, ``program``, ``reference``, ``report`` and what else there is. Nothing is
        written unless ``output`` is given.

    Raises
    ------
    UserError
        Bad input; nothing was written.

    Examples
    --------
    >>> result = r2b.compile(model, frames, target="numpy", calibration=pixels)
    >>> logits = result.reference(pixels)
    """
    chosen = make_options(target, options)
    found = check_options(chosen)
    shape = loading.example_shape(module, example_input)
    reporter = Reporter(quiet=True)
    return _run(Network(module, shape, example=example_input), chosen, found, reporter)


def compile_model(
    request: Request,
    options: Options,
    input_shape: Shape | None = None,
    reporter: Reporter | None = None,
) -> Result:
    """Compile a model file; the output folder is by default the file's name with ``.r2b``, here.

    Raises
    ------
    UserError
        Bad input; nothing was written.
    """
    reporter = reporter or Reporter(quiet=True)
    options = with_folder(request, options)
    target = check_options(options)
    with reporter.progress(STEPS):
        reporter.step("reading the model")
        loaded = load(request, reporter)
        network = Network(loaded.network, frame_shape(loaded, input_shape, options), loaded.frames)
        # not the file's name: renaming a model changes nothing in what is made from it
        result = _run(network, replace(options, name=loaded.name), target, reporter)
    return replace(result, notes=(*loaded.notes, *result.notes))


def with_folder(request: Request, options: Options) -> Options:
    """Options with the output folder that the command line makes."""
    target = TARGETS.get(options.target)
    if options.output is not None or target is None or not target.emitters:
        return options
    return replace(options, output=Path(request.path.with_suffix(".r2b").name))


def load(
    request: Request,
    reporter: Reporter,
    make: Callable[[str, Mapping[str, Any]], Loaded] = checkpoint.named,
) -> Loaded:
    """Read a model file, or make the network of a name; say what was changed on the way.

    Parameters
    ----------
    request : Request
    reporter : Reporter
    make : callable
        Makes the network of a name, with its options.
    """
    if is_name(request):
        if request.factory is not None:
            raise UserError(f"{request.path} names a network of r2b's own; leave --model away")
        loaded = make(str(request.path), parse_arguments(request.arguments))
    elif not request.path.suffix and not request.path.exists():
        raise UserError(
            f"{request.path}: there is no such file, and r2b has no network of that name; the "
            f"names are {', '.join(ARCHITECTURES)}"
        )
    else:
        loaded = loading.load(request, checkpoint.loaded)
    for note in loaded.notes:
        reporter.warn(note)
    return loaded


def is_name(request: Request) -> bool:
    """Tell whether MODEL is a network of the zoo; a file of that name comes first."""
    return str(request.path) in ARCHITECTURES and not request.path.exists()


def frame_shape(loaded: Loaded, given: Shape | None, options: Options) -> Shape:
    """Shape of a frame: the file's, the given one, or that of the calibration frames.

    Raises
    ------
    UserError
        There is none, or two differ.
    """
    if given is None or loaded.shape is None:
        shape = given or loaded.shape or frames_shape(options.calibration)
        if shape is None:
            raise UserError(
                "the model file does not say what frames the network takes; give their shape, for "
                "example --input-shape 3x32x32, or --input-shape 784 for vectors"
            )
        return shape
    if tuple(given) != tuple(loaded.shape):
        sizes = ["x".join(map(str, shape)) for shape in (given, loaded.shape)]
        raise UserError(
            f"--input-shape {sizes[0]} does not fit: the network in the file takes {sizes[1]}; "
            "leave it away"
        )
    return given


# -------------------------------------------------------------------------------------- the stages


def _run(network: Network, options: Options, target: Target, reporter: Reporter) -> Result:
    with _folder(options) as folder:
        return _compile(network, options, target, folder, reporter)


@contextmanager
def _folder(options: Options) -> Iterator[Path | None]:
    """Where to write, if anything is written; a simulation needs a folder also if nothing is."""
    if options.folder is not None:
        with output_folder(options.folder, options.force) as temporary:
            yield temporary
    elif options.verify:
        with tempfile.TemporaryDirectory(prefix="r2b-") as temporary:
            yield Path(temporary)
    else:
        yield None


def _compile(
    network: Network, options: Options, target: Target, folder: Path | None, reporter: Reporter
) -> Result:
    lowered = lower(network, options, reporter)
    program, calibration, frames = lowered.program, lowered.calibration, lowered.frames
    operations = _operations(lowered.written, target)
    plan, choice = _plan(options, program, target, reporter)
    warning = None if plan is None else misfit_warning(program, plan)
    if warning is not None:
        reporter.warn(warning)
    verification = None
    if folder is not None:
        source = Source(program, plan, frames[:TESTBENCH_FRAMES])
        emit(target, source, folder, reporter)
    if folder is not None and plan is not None and options.verify:
        reporter.step("building the simulator")
        verification = verify(folder, program, frames[: options.verify], reporter.detail)
    report = make_report(program, plan, calibration, verification, operations)
    if folder is not None:
        reporter.step("writing the report")
        write_report(report, folder)
        write_page(report, folder)
    return Result(
        graph=lowered.graph,
        program=program,
        plan=plan,
        calibration=calibration,
        verification=verification,
        folder=options.folder,
        report=report,
        operations=operations,
        notes=(*lowered.notes, *([] if warning is None else [warning])),
        choice=choice,
    )


@dataclass(frozen=True)
class Lowered:
    """A network as a Program, with what it came from.

    Parameters
    ----------
    graph : Graph
    written : Written
        The network as its author wrote it.
    program : Program
    calibration : CalibrationReport
    frames : ndarray
        Calibration frames as the Program takes them.
    notes : tuple of str
    """

    graph: Graph
    written: Written
    program: Program
    calibration: CalibrationReport
    frames: Frames
    notes: tuple[str, ...]


def lower(network: Network, options: Options, reporter: Reporter) -> Lowered:
    """From the network to the Program."""
    frames = calibration_frames(
        options.calibration,
        network.frames,
        network.shape,
        options.seed,
        reporter.warn,
        options.preprocessing,
    )
    if options.verify > len(frames):
        raise CalibrationError(
            f"--verify {options.verify} asks for more than the {len(frames)} calibration frames; "
            "give a smaller number, or more frames with --calibrate"
        )
    raw, captured = import_raw(network, frames, options, reporter)
    reporter.step("canonicalizing")
    graph = canonicalize(
        raw, sign_zero=options.sign_zero, binarize_weights=options.binarize_weights
    )
    chosen = options.sign_zero is not None or options.binarize_weights is not None
    check_canonical(graph, captured, chosen)
    notes = layer_notes(raw, graph)
    for note in notes:
        reporter.warn(note)
    reporter.step("quantizing")
    program, report = quantize(
        graph, frames, options.act_bits, options.preprocessing, sign_zero=options.sign_zero
    )
    # a Program takes images: a vector is one of a single pixel
    images = frames.reshape(len(frames), *program.input_shape)
    written = as_written(raw, graph, options.binarize_weights)
    return Lowered(graph, written, replace(program, name=options.name), report, images, notes)


def _operations(written: Written, target: Target) -> Count | None:
    """Count the network; only a target that prints the count insists on it."""
    try:
        return count(written)
    except UnsupportedOpError:
        if target.prints_cost:
            raise
        return None


def layer_notes(raw: Graph, canonical: Graph) -> tuple[str, ...]:
    """What the user is to know of the layers: weights that training binarised elsewhere."""
    real = [layer.module or layer.name for layer in explain(raw, canonical) if layer.offer]
    if not real:
        return ()
    return (
        f"real weights on binary activations, compiled as real: {', '.join(real)}; if training "
        "binarises them outside of forward(), --binarize-weights sign|mean does it here",
    )


def import_raw(
    network: Network, frames: Frames, options: Options, reporter: Reporter
) -> tuple[Graph, Capture]:
    """Import the network as a raw Graph, compared with PyTorch on some of the frames."""
    reporter.step("importing")
    example = network.example
    if example is None:
        images = frames[:2].reshape(-1, *network.shape, *[1] * (3 - len(network.shape)))
        values = options.preprocessing.apply(images)
        example = loading.example_of(values.reshape(-1, *network.shape))
    return loading.import_and_capture(network.network, example)


def _plan(
    options: Options, program: Program, target: Target, reporter: Reporter
) -> tuple[Plan | None, str | None]:
    """The Plan, where the target needs one, and why it was chosen, where that was searched."""
    if options.plan is not None:
        plan = given_plan(program, options.plan)
        return (plan if target.has_plan else None), None
    if not target.has_plan:
        return None, None
    name, clock = options.device_name, options.clock_mhz
    if options.target_fps is not None:
        reporter.step("searching a Plan")
        rate, batch = options.target_fps, options.batch
        return smallest_plan(program, name, clock, rate, reporter.detail, batch)
    parallelism = None
    if options.parallelism is not None:
        parallelism = parse_parallelism(options.parallelism)
    several = {} if options.batch is None else {"batch": options.batch}
    return make_plan(program, name, clock, parallelism, **several), None


def given_plan(program: Program, given: Plan | Path | str) -> Plan:
    """A Plan of the user's own, or in a file.

    Raises
    ------
    PlanError
        It cannot be read, or it is not one for this Program.
    """
    plan = given if isinstance(given, Plan) else read_plan(Path(given))
    device(plan.device)
    if with_memory_map(program, plan) != plan:
        raise PlanError(
            f"the Plan's memory map is not that of {program.name}: it was made for another "
            "network, or changed by hand; make one with r2b-explore or r2b-compile"
        )
    return plan


def emit(target: Target, source: Source, folder: Path, reporter: Reporter) -> None:
    """Run a target's emitters."""
    for emitter in target.emitters:
        reporter.step("writing the " + emitter.__name__.removeprefix("emit_"))
        emitter(source, folder)
