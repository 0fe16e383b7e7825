"""A module captured by ``torch.export``: its ATen graph, and the value of every node on frames.

The number of frames stays symbolic, so that one capture serves every batch and an operation that
mixes frames is seen. A graph with in-place operations is made functional; nothing else is
decomposed. What ``torch.export`` does not follow by itself is in :mod:`r2b.frontend.tracing`.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind

from r2b.frontend.copies import evaluate_module, twin_of
from r2b.frontend.inlining import changes_in_place, inline_regions
from r2b.frontend.tracing import FrameValueError, follow
from r2b.ir.errors import UnsupportedOpError, UserError

_MOST_FRAMES = 1 << 16


@dataclass(frozen=True)
class Capture:
    """What ``torch.export`` made of a module.

    Parameters
    ----------
    program : ExportedProgram
    input_shape : tuple of int
        C, H, W of a frame; F for a vector.
    batch : int or None
        Number of frames that the program is fixed to; None for any number.
    """

    program: ExportedProgram
    input_shape: tuple[int, ...]
    batch: int | None = None

    @property
    def nodes(self) -> list[fx.Node]:
        """All nodes of the ATen graph, operands first."""
        return list(self.program.graph.nodes)

    @property
    def results(self) -> list[Any]:
        """Arguments of the output node that the model returns; the others are changed state."""
        specs = self.program.graph_signature.output_specs
        written = self.nodes[-1].args[0]
        pairs = zip(specs, written, strict=True)  # pyright: ignore[reportArgumentType]
        return [value for spec, value in pairs if spec.kind is OutputKind.USER_OUTPUT]

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
        """Value of every node on some frames, by name; ``output`` holds the model's results."""
        parameters = self.parameters()
        arguments = [
            parameters[node.name][1] if node.name in parameters else frames
            for node in self.nodes
            if node.op == "placeholder"
        ]
        recorder = _Recorder(self.program.graph_module)
        with torch.no_grad():
            recorder.run(*arguments)
        wanted = [value.name for value in self.results if isinstance(value, fx.Node)]
        recorder.values["output"] = tuple(recorder.values[name] for name in wanted)
        return recorder.values

    @property
    def changes(self) -> list[str]:
        """Names of the parameters and buffers that the program changes."""
        specs = self.program.graph_signature.output_specs
        kinds = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION)
        return sorted(str(spec.target) for spec in specs if spec.kind in kinds)

    def results_on(self, frames: torch.Tensor, values: int) -> tuple[torch.Tensor, ...]:
        """Results of the model, computed in the portions of :meth:`portions`."""
        found = [self.run(portion)["output"] for portion in self.portions(frames, values)]
        return tuple(torch.cat(results) for results in zip(*found, strict=True))

    def portions(self, frames: torch.Tensor, values: int) -> Iterator[torch.Tensor]:
        """Split frames into the largest portions that :meth:`run` takes at once.

        Parameters
        ----------
        frames : Tensor
        values : int
            Number of input values that a portion may hold, if that is a frame or more.
        """
        size = self.batch or max(1, values // max(1, frames[0].numel()))
        whole = len(frames) - len(frames) % size if self.batch else len(frames)
        yield from frames[:whole].split(size)


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

    The module is copied first, and only the copy is run.

    Parameters
    ----------
    module : nn.Module
    example : Tensor, N x C x H x W or N x F, float32
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
    twin = twin_of(module)
    _try_once(twin_of(twin), frames)
    with torch.random.fork_rng(devices=[]):
        program = _export(twin.eval(), frames)
    return Capture(program, tuple(int(size) for size in frames.shape[1:]))


def check_example(example: object) -> None:
    """Refuse an example input that is not a float32 tensor of frames or vectors on the CPU."""
    if not isinstance(example, torch.Tensor):
        raise UserError(f"the example input must be a torch.Tensor, not {type(example).__name__}")
    if example.dtype != torch.float32:
        raise UserError(
            f"the example input must be float32, not {str(example.dtype).removeprefix('torch.')}: "
            "convert frames with .float() and scale them as the model expects"
        )
    if example.ndim not in (2, 4) or 0 in example.shape:
        raise UserError(
            "the example input must be frames N x C x H x W or vectors N x F, not of shape "
            f"{tuple(example.shape)}"
        )
    if example.device.type != "cpu":
        raise UserError(f"the example input must be on the CPU, not on {example.device}")
    if not bool(torch.isfinite(example).all()):
        raise UserError("the example input holds NaN or infinity: give a real frame")


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
        results = evaluate_module(module, frames)
    except Exception as error:
        shape = " x ".join(str(size) for size in frames.shape[1:])
        raise UserError(
            f"the model does not take frames of {shape}: {_first_line(error)}\n"
            "Give an example input of the shape the network was trained on."
        ) from error
    for result in results:
        if not isinstance(result, torch.Tensor):
            raise UserError(
                f"the model returns a value of type {type(result).__name__}: forward() must return "
                "a tensor, or a tuple or list of tensors"
            )


def _export(module: nn.Module, frames: torch.Tensor) -> ExportedProgram:
    batch = ({0: Dim("frames", min=1, max=_MOST_FRAMES)},)
    try:
        return functional(_traced(module, frames, batch))
    except FrameValueError:
        raise
    except Exception as error:
        if _serves_one_batch(module, frames):
            raise UnsupportedOpError(
                "torch.export cannot follow the model for any number of frames: "
                f"{_first_line(error)}\nIt can for {len(frames)} frames, so the number of frames "
                "is fixed in the code of forward(), or decides a branch there. Write "
                "x.flatten(1), not x.view(1, -1), and keep int(...) away from x.shape[0]."
            ) from error
        raise UnsupportedOpError(
            f"torch.export cannot follow the model: {_first_line(error)}\n"
            "The forward pass must be one straight computation of tensor operations on the frames; "
            "no conversion of them to NumPy or Python numbers."
        ) from error


def _serves_one_batch(module: nn.Module, frames: torch.Tensor) -> bool:
    try:
        functional(_traced(module, frames, None))
    except Exception:
        return False
    return True


def _traced(module: nn.Module, frames: torch.Tensor, batch: Any) -> ExportedProgram:
    # evaluation needs no gradients, and a change of a parameter in place is allowed without
    with quiet(), torch.no_grad(), follow(module):
        return export(module, (frames,), dynamic_shapes=batch, strict=False)


def functional(program: ExportedProgram) -> ExportedProgram:
    """Make a program without changes in place and without nested graphs."""
    inline_regions(program)
    if not changes_in_place(program):
        return program
    with quiet():
        return program.run_decompositions({})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the tracer's own report of an error, which the user gets from us, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")  # deprecations inside torch.export
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def to_numpy(value: torch.Tensor) -> npt.NDArray[Any]:
    """Value as float64, truth values as they are, of complex numbers the real part."""
    if value.dtype is torch.bool:
        return value.detach().numpy()
    real = value.detach().real if value.is_complex() else value.detach()
    return real.to(torch.float64).numpy()
