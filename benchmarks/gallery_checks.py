"""What benchmarks/gallery.py measures of one network, from its file to Verilog."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.backends.numpy import emit
from r2b.backends.target import TARGETS, Source
from r2b.frontend import loading
from r2b.frontend.capture import Capture, capture
from r2b.frontend.check import operation_errors
from r2b.frontend.end_to_end import end_to_end
from r2b.hw.plan import Plan
from r2b.ir.errors import PlanError
from r2b.ir.execute import execute
from r2b.ir.graph import Graph
from r2b.ir.ops import BinaryConv2d, BinaryLinear
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import Program
from r2b.ir.quantize import CalibrationReport, quantize
from r2b.train import checkpoint
from r2b.verify import verify

Frames = npt.NDArray[np.uint8]
DEVICE = "xc7z020"
TRACED = ("tensors", "signs", "sums", "slopes")
"""Parts of a trace that are compared, besides the logits."""


@dataclass(frozen=True)
class GraphFigures:
    """The frontend's part.

    Parameters
    ----------
    recognised : int
        Binary convolutions and linear layers in the canonical Graph.
    operation_error : float
        Largest error of an operation that is given PyTorch's inputs.
    operation : str
        Which.
    relative : float
        Largest difference of the outputs, end to end, over the largest magnitude.
    sign : str
        First sign that differs end to end, with its place; empty if none does.
    distance : float
        How far from 0 its value was, over the deviation of all values there.
    frames : int
        Frames of which a sign differs.
    frontend_seconds : float
        From the module to the canonical Graph, with the comparison on several frames.
    """

    recognised: int
    operation_error: float
    operation: str
    relative: float
    sign: str
    distance: float
    frames: int
    frontend_seconds: float


@dataclass(frozen=True)
class ProgramFigures:
    """The Program's part: against the float Graph, and against the emitted NumPy code.

    Parameters
    ----------
    signs_min, signs_mean : float or None
        Share of equal sign bits over the stages, each given the float network's input.
    top1 : float
        Share of frames with the same class.
    reference : int
        Values of reference.py that differ from the Program's.
    program_seconds : float
        Of quantizing.
    """

    signs_min: float | None
    signs_mean: float | None
    top1: float
    reference: int
    program_seconds: float


def load_network(path: Path, factory: str | None, keywords: dict[str, Any], trust: bool) -> Any:
    """Load a file as ``r2b-compile`` does.

    ``factory`` and ``keywords`` are what ``--model`` and ``--model-args`` are given for a
    state_dict, ``trust`` is ``--trust-pickle``.
    """
    arguments = json.dumps(keywords) if factory and keywords else None
    request = loading.Request(path, factory, arguments, trust)
    return loading.load(request, checkpoint.loaded).network


def import_graph(network: Any, frames: Frames) -> tuple[Graph, float]:
    """Canonical Graph of a loaded network, and the seconds it took."""
    example = torch.from_numpy(frames).float() / 255
    begin = time.perf_counter()
    graph = canonicalize(loading.import_network(network, example))
    return graph, time.perf_counter() - begin


def graph_figures(network: Any, graph: Graph, frames: Frames, seconds: float) -> GraphFigures:
    """Compare a canonical Graph with PyTorch, operation by operation and end to end."""
    example = torch.from_numpy(frames).float() / 255
    reference = captured(network, example)
    errors = operation_errors(graph, reference, example)
    worst = max(errors, key=lambda error: error.relative)
    whole = end_to_end(graph, reference, example)
    return GraphFigures(
        len(binary_nodes(graph)),
        worst.relative,
        f"{worst.op} at {worst.location}",
        whole.relative,
        f"{whole.sign} at {whole.location}" if whole.sign else "",
        whole.distance,
        whole.frames,
        seconds,
    )


def captured(network: Any, example: torch.Tensor) -> Capture:
    """ATen graph of a module, or the one that a file holds."""
    if isinstance(network, ExportedProgram):
        return Capture(network, tuple(example.shape[1:]))  # pyright: ignore[reportArgumentType]
    return capture(network, example)


def binary_nodes(graph: Graph) -> list[str]:
    """Names of the binary convolutions and linear layers."""
    kinds = BinaryConv2d | BinaryLinear
    return [node.name for node in graph.nodes() if isinstance(node.op, kinds)]


# ----------------------------------------------------------------------------------------- Program


def make_program(
    graph: Graph, frames: Frames, sign_zero: int | None, name: str
) -> tuple[Program, CalibrationReport, float]:
    """Program, its report, and the seconds it took."""
    begin = time.perf_counter()
    program, report = quantize(graph, frames, sign_zero=sign_zero)
    return replace(program, name=name), report, time.perf_counter() - begin


def program_figures(
    program: Program, report: CalibrationReport, frames: Frames, seconds: float
) -> ProgramFigures:
    """Compare a Program with the float Graph and with reference.py."""
    shares = [stage.equal_signs for stage in report.stages if stage.equal_signs is not None]
    return ProgramFigures(
        min(shares, default=None),
        float(np.mean(shares)) if shares else None,
        report.top1_agreement,
        differing_values(program, frames),
        seconds,
    )


def differing_values(program: Program, frames: Frames) -> int:
    """Values that the emitted reference.py gives other than the Program, over all stages."""
    expected, found = execute(program, frames), load_reference(program).predict_trace(frames)
    count = differing(expected.logits, found.logits)
    for kind in TRACED:
        values, others = getattr(expected, kind), getattr(found, kind)
        count += len(values.keys() ^ others.keys())
        count += sum(differing(value, others[name]) for name, value in values.items())
    return count


def differing(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> int:
    """Elements that differ; all of them where the shapes do."""
    if expected.shape != found.shape:
        return max(expected.size, 1)
    return int((expected != found).sum())


def load_reference(program: Program) -> ModuleType:
    """Emit reference.py, and import it."""
    with tempfile.TemporaryDirectory() as folder:
        emit(program, folder)
        spec = importlib.util.spec_from_file_location("reference", Path(folder) / "reference.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


# ----------------------------------------------------------------------------------------- Verilog


def verilog_result(program: Program, frames: Frames, parallelism: str) -> tuple[str, str]:
    """``equal``, ``missing`` or ``differs``, and the missing operations or first differences."""
    try:
        plan = make_plan(program, DEVICE, None, parse_parallelism(parallelism))
    except PlanError as error:
        return "missing", str(error)
    return simulate(program, plan, frames)


def simulate(program: Program, plan: Plan, frames: Frames) -> tuple[str, str]:
    """Emit the Verilog, run it on frames, and compare every stage."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for emitter in TARGETS["fpga"].emitters:
            emitter(Source(program, plan, frames[:1]), folder)
        done = verify(folder, program, frames, lambda _text: None)
    if done.equal:
        return "equal", f"{done.compared_bits:,} bits, {done.frame:,} cycles"
    return "differs", "; ".join(done.messages)
