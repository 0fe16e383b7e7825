"""A module captured by ``torch.export``: its ATen graph, and the value of every node on frames.

The number of frames stays symbolic, so that one capture serves every batch and an operation that
mixes frames is seen. A graph with in-place operations is made functional; nothing else is
decomposed.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from r2b.ir.errors import Location, UnsupportedOpError, UserError

_MOST_FRAMES = 1 << 16
_TORCH_FOLDER = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Capture:
    """What ``torch.export`` made of a module.

    Parameters
    ----------
    program : ExportedProgram
    input_shape : tuple of int
        C, H, W of a frame.
    """

    program: ExportedProgram
    input_shape: tuple[int, int, int]

    @property
    def nodes(self) -> list[fx.Node]:
        """All nodes of the ATen graph, operands first."""
        return list(self.program.graph.nodes)

    def parameters(self) -> dict[str, tuple[str, torch.Tensor]]:
        """Name in the model and value of each placeholder that is a parameter, buffer, constant."""
        tensors: dict[str, tuple[str, torch.Tensor]] = {}
        for spec in self.program.graph_signature.input_specs:
            if spec.kind is not InputKind.USER_INPUT and spec.target is not None:
                tensors[spec.arg.name] = (spec.target, self._tensor(spec.target))
        return tensors

    def _tensor(self, target: str) -> torch.Tensor:
        found = self.program.state_dict.get(target, self.program.constants.get(target))
        if not isinstance(found, torch.Tensor):
            raise UserError(f"{target} is not a tensor but {type(found).__name__}")
        return found.detach()

    def run(self, frames: torch.Tensor) -> dict[str, Any]:
        """Value of every node on some frames, by name."""
        parameters = self.parameters()
        arguments = [
            parameters[node.name][1] if node.name in parameters else frames
            for node in self.nodes
            if node.op == "placeholder"
        ]
        recorder = _Recorder(self.program.graph_module)
        with torch.no_grad():
            recorder.run(*arguments)
        return recorder.values


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Keep the value under the node's name."""
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


def capture(module: nn.Module, example: torch.Tensor) -> Capture:
    """Capture a module in evaluation mode.

    Parameters
    ----------
    module : nn.Module
    example : Tensor, N x C x H x W, float32
        Only its shape counts.

    Raises
    ------
    UserError
        The example is not such a tensor, or does not fit the module.
    UnsupportedOpError
        ``torch.export`` cannot follow the module.
    """
    check_example(example)
    frames = example.detach().clone()
    if len(frames) < 2:
        # torch.export takes a size of 1 for a constant
        frames = frames.expand(2, *frames.shape[1:]).clone()
    twin = _twin(module)
    with _evaluation(twin):
        _try_once(twin, frames)
        program = _export(twin, frames)
    mutated = program.graph_signature.buffers_to_mutate
    if mutated:
        raise UnsupportedOpError(
            f"the model changes {', '.join(sorted(mutated.values()))} while it runs; a network "
            "must be the same for every frame. Make forward() leave parameters and buffers alone."
        )
    channels, height, width = (int(size) for size in frames.shape[1:])
    return Capture(program, (channels, height, width))


def check_example(example: object) -> None:
    """Refuse an example input that is not a float32 tensor N x C x H x W on the CPU."""
    if not isinstance(example, torch.Tensor):
        raise UserError(f"the example input must be a torch.Tensor, not {type(example).__name__}")
    if example.dtype != torch.float32:
        raise UserError(
            f"the example input must be float32, not {str(example.dtype).removeprefix('torch.')}: "
            "convert frames with .float() and scale them as the model expects"
        )
    if example.ndim != 4 or 0 in example.shape:
        raise UserError(
            f"the example input must be frames N x C x H x W, not of shape {tuple(example.shape)}"
        )
    if example.device.type != "cpu":
        raise UserError(f"the example input must be on the CPU, not on {example.device}")
    if not bool(torch.isfinite(example).all()):
        raise UserError("the example input holds NaN or infinity: give a real frame")


def _twin(module: nn.Module) -> nn.Module:
    """Copy a module: tracing one that assigns to .data leaves the tracer's tensors in it."""
    try:
        return copy.deepcopy(module)
    except Exception:  # what a user's __deepcopy__ raises; only the protection is lost
        return module


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, each submodule back to its own afterwards."""
    training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, flag in training:
            part.training = flag


def evaluate_module(module: nn.Module, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs of a module in evaluation mode."""
    with _evaluation(module), torch.no_grad():
        result = module(frames.clone())
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _try_once(module: nn.Module, frames: torch.Tensor) -> None:
    """Run the module, so that a misfit is told in PyTorch's own words, not the tracer's."""
    foreign = [
        name
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
        if tensor.device.type != "cpu"
    ]
    if foreign:
        raise UserError(f"the model must be on the CPU, {foreign[0]} is not: call model.cpu()")
    try:
        evaluate_module(module, frames)
    except Exception as error:
        shape = " x ".join(str(size) for size in frames.shape[1:])
        raise UserError(
            f"the model does not take frames of {shape}: {_first_line(error)}\n"
            "Give an example input of the shape the network was trained on."
        ) from error


def _export(module: nn.Module, frames: torch.Tensor) -> ExportedProgram:
    batch = ({0: Dim("frames", min=1, max=_MOST_FRAMES)},)
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # deprecations inside torch.export
            program = export(module, (frames,), dynamic_shapes=batch, strict=False)
            return program.run_decompositions({}) if _changes_in_place(program) else program
    except Exception as error:
        raise UnsupportedOpError(
            f"torch.export cannot follow the model: {_first_line(error)}\n"
            "The forward pass must be one straight computation: no branch on values, no number of "
            "frames fixed in the code (write x.flatten(1), not x.view(1, -1)), no conversion to "
            "NumPy or Python numbers, no assignment to .data."
        ) from error


def _changes_in_place(program: ExportedProgram) -> bool:
    schemas = [getattr(node.target, "_schema", None) for node in program.graph.nodes]
    return any(schema is not None and schema.is_mutable for schema in schemas)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's own report of an error, which the user gets from us, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def location_of(node: fx.Node) -> Location:
    """Innermost module and source line of a node."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return Location(_plain_path(paths[-1]) if paths else "", _source(node.stack_trace or ""))


def _plain_path(path: str) -> str:
    """Path without the numbers that tell repeated calls of one module apart."""
    return path.partition("@")[0].removeprefix("L['self'].").removeprefix("L__self__.")


def _source(trace: str) -> str:
    """``file:line`` of the innermost frame outside PyTorch, without a path of this machine."""
    for line in reversed(trace.splitlines()):
        if line.strip().startswith('File "'):
            file, number, *_ = line.strip().removeprefix('File "').replace('"', "").split(", ")
            if not file.startswith(_TORCH_FOLDER):
                return f"{_portable(Path(file))}:{number.removeprefix('line ')}"
    return ""


def _portable(path: Path) -> str:
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name


def to_numpy(value: torch.Tensor) -> npt.NDArray[Any]:
    """Value as float64, truth values as they are."""
    array = value.detach().numpy()
    return array if array.dtype == np.bool_ else array.astype(np.float64)
