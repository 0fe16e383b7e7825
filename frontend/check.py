"""Comparison of a Graph with PyTorch: operation by operation, and as a whole.

A deep binary network cannot be compared at its output alone: one sign of a value near 0 that falls
the other way changes the frame. So the proof has two halves: what was captured computes what the
module does, in PyTorch's own arithmetic; and every operation of the Graph, given PyTorch's inputs
of it, gives PyTorch's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.export import ExportedProgram

from r2b.frontend.capture import Capture, to_numpy
from r2b.frontend.copies import evaluate_module
from r2b.frontend.rounding import rounding_of
from r2b.ir.errors import Location, UnsupportedOpError, UserError
from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import BinaryConv2d, BinaryLinear, Input, Op, Opaque, Output, Sign

TOLERANCE = 1e-4
"""Largest difference that is rounding, relative to the largest magnitude of the tensor."""

PORTION = 1 << 17
"""Values of the input that are compared at once: one frame of 224x224, all of smaller ones."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OperationError:
    """How far one operation of a Graph is from PyTorch.

    Parameters
    ----------
    name : str
        Name of the node, and of PyTorch's value.
    op : str
        Name of the operation.
    location : Location
    relative : float
        Largest difference over the largest magnitude of PyTorch's tensor.
    """

    name: str
    op: str
    location: Location
    relative: float


def check_frames(example: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Frames to compare on: the example's first, uniform ones, normal ones, and one of zeros."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, *example.shape[1:])
    uniform = torch.rand(shape, generator=generator)
    normal = torch.randn(shape, generator=generator)
    return torch.cat([example[:1].detach(), uniform, normal, torch.zeros_like(uniform[:1])])


def operation_errors(graph: Graph, captured: Capture, frames: torch.Tensor) -> list[OperationError]:
    """Feed each operation with PyTorch's own inputs, and compare with PyTorch's result.

    Works for the raw Graph and after any pass, since a name keeps its value. A value that PyTorch
    does not have (a pass made it) is computed, and counts with the operations that use it. An
    operation the Graph does not know (:class:`~r2b.ir.ops.Opaque`) takes PyTorch's value.
    """
    worst: dict[str, _Difference] = {}
    for portion in captured.portions(frames, PORTION):
        for name, found in _differences(graph, captured, portion).items():
            worst[name] = worst.get(name, _Difference()).joined(found)
    nodes = [node for node in graph.nodes() if node.name in worst]
    return [
        OperationError(node.name, type(node.op).__name__, node.location, worst[node.name].relative)
        for node in nodes
    ]


@dataclass(frozen=True)
class _Difference:
    """Largest difference, and largest magnitude, of one value over some frames."""

    largest: float = 0.0
    magnitude: float = 0.0

    def joined(self, other: _Difference) -> _Difference:
        """Over the frames of both."""
        return _Difference(max(self.largest, other.largest), max(self.magnitude, other.magnitude))

    @property
    def relative(self) -> float:
        """Largest difference over the largest magnitude."""
        return self.largest / max(self.magnitude, 1e-30) if self.largest else 0.0


def _differences(graph: Graph, captured: Capture, frames: torch.Tensor) -> dict[str, _Difference]:
    reference = captured.run(frames)
    # large values in PyTorch's own precision: to convert them would take most of the time
    single = _is_large(frames)
    values: dict[str, Array] = {}
    differences: dict[str, _Difference] = {}
    left = {node.name: len(graph.users(node.name)) for node in graph.nodes()}
    for node in graph.nodes():
        expected = _expected(node, reference, single)
        if isinstance(node.op, Opaque) and expected is not None:
            values[node.name] = expected
            continue
        found = _evaluate(node, values, frames, single)
        values[node.name] = found if expected is None else expected
        if expected is not None:
            operands = [values[name] for name in node.operands]
            differences[node.name] = _beyond_rounding(node.op, operands, found, expected)
        for operand in set(node.operands):
            left[operand] -= 1
            if not left[operand]:
                del values[operand]  # a frame of 224x224 has hundreds of megabytes of them
    return differences


def _expected(node: Node, reference: Mapping[str, Any], single: bool) -> Array | None:
    value = reference.get(node.name)
    first = value[0] if isinstance(value, tuple | list) else value
    if isinstance(node.op, Output) or not isinstance(first, torch.Tensor):
        return None
    return _array(first, single)


def _array(value: torch.Tensor, single: bool) -> Array:
    return value.detach().numpy() if single and value.dtype is torch.float32 else to_numpy(value)


def _evaluate(node: Node, values: Mapping[str, Array], frames: torch.Tensor, single: bool) -> Array:
    if isinstance(node.op, Input):
        return _array(frames, single)
    return evaluate(node.op, [values[name] for name in node.operands])


def relative_error(found: Array, expected: Array) -> float:
    """Largest difference over the largest magnitude; infinite where shapes or NaN differ."""
    return _difference(found, expected).relative


def _difference(found: Array, expected: Array) -> _Difference:
    if found.shape != expected.shape:
        # a number stands for a tensor full of it
        if found.size != 1:
            return _Difference(float("inf"))
        found = np.broadcast_to(found, expected.shape)
    mine, theirs = (
        value * 1.0 if value.dtype == np.bool_ else value for value in (found, expected)
    )
    with np.errstate(invalid="ignore"):
        magnitude = float(np.abs(theirs).max(initial=0))
        largest = float(np.abs(mine - theirs).max(initial=0))
        if np.isfinite(largest):
            return _Difference(largest, magnitude)
        magnitude = float(np.nanmax(np.abs(theirs), initial=0))
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
        largest = 0.0 if np.all(same) else float(np.abs(mine - theirs)[~same].max())
    return _Difference(float("inf") if np.isnan(largest) else largest, magnitude)


def _beyond_rounding(
    op: Op, operands: Sequence[Array], found: Array, expected: Array
) -> _Difference:
    """Difference, less what float32 loses where terms cancel (computed only if it counts)."""
    difference = _difference(found, expected)
    if difference.relative <= TOLERANCE or not np.isfinite(difference.largest):
        return difference
    with np.errstate(invalid="ignore"):  # where both are infinite
        excess = np.abs(found.astype(np.float64) - expected) - rounding_of(op, operands)
    return replace(difference, largest=max(0.0, float(np.nanmax(excess))))


def check_against_module(
    module: nn.Module, captured: Capture, graph: Graph, example: torch.Tensor
) -> None:
    """Prove on several frames that a Graph computes what the module does.

    Parameters
    ----------
    module : nn.Module
        A copy: its forward may change it.
    captured : Capture
    graph : Graph
    example : Tensor
        One of the frames compared.

    Raises
    ------
    UserError
        They differ, or the module does not compute the same twice; the first place is named.
    """
    frames = check_frames(example)
    if _is_large(frames):
        # the example, a normal one and zeros: all six take longer than the capture
        frames = frames[[0, 3, 5]]
    _check_capture(module, captured, frames)
    _check_operations(graph, captured, frames)


def check_against_program(program: ExportedProgram, captured: Capture, graph: Graph) -> None:
    """Prove on several frames that a Graph computes what an exported program does.

    Raises
    ------
    UserError
        They differ.
    """
    frames = check_frames(torch.rand((1, *captured.input_shape)))
    if _is_large(frames):
        frames = frames[[0, 3, 5]]
    if captured.batch:
        frames = frames.repeat(captured.batch, *[1] * len(captured.input_shape))
    module = program.module()
    for portion in captured.portions(frames, PORTION):
        with torch.no_grad():
            result = module(portion.clone())
        expected = tuple(result) if isinstance(result, tuple | list) else (result,)
        error = _worst(captured.run(portion)["output"], expected)
        if not error <= TOLERANCE:
            raise UserError(
                f"what was read of the exported program differs from it by {error:.1e} of the "
                f"largest output ({TOLERANCE:.0e} is allowed). This is a defect of r2b: please "
                "report it with the program."
            )
    _check_operations(graph, captured, frames)


def check_canonical(graph: Graph, captured: Capture, chosen: bool = False) -> None:
    """Prove on several frames that what the passes made of a Graph still is what was captured.

    Parameters
    ----------
    graph : Graph
        Canonical.
    captured : Capture
    chosen : bool
        The user let weights differ from the model's (``--binarize-weights``, ``--sign-zero``):
        binary layers are left out.

    Raises
    ------
    UserError
        An operation differs; its place is named.
    """
    shape, generator = (1, *captured.input_shape), torch.Generator().manual_seed(1)
    frames = check_frames(torch.rand(shape, generator=generator))
    if captured.batch:
        frames = frames.repeat(captured.batch, *[1] * len(captured.input_shape))
    elif _is_large(frames):
        frames = frames[:2]
    for error in operation_errors(graph, captured, frames):
        node = graph[error.name]
        if error.relative <= TOLERANCE or (chosen and _is_binary_layer(graph, node)):
            continue
        if isinstance(node.op, Sign) and node.op.form.startswith("steep"):
            raise UserError(
                f"{error.location}: a {node.op.form} was taken for a sign, but values lie within "
                f"the slope, and differ by {error.relative:.1e} of the largest. Compute the sign "
                "itself in evaluation, torch.where(x >= 0, 1.0, -1.0), or a slope that is steep "
                "for these values"
            )
        raise UserError(_difference_text(error))


def _is_binary_layer(graph: Graph, node: Node) -> bool:
    """Tell whether it is one, or the bias behind one."""
    binary = BinaryConv2d | BinaryLinear
    before = graph.operands(node.name)[:1]
    return isinstance(node.op, binary) or any(isinstance(other.op, binary) for other in before)


def _difference_text(error: OperationError) -> str:
    return (
        f"{error.op} {error.name} at {error.location} differs from PyTorch by "
        f"{error.relative:.1e} of its largest value ({TOLERANCE:.0e} is allowed). This is "
        "a defect of r2b: please report it with the model."
    )


def _is_large(frames: torch.Tensor) -> bool:
    return frames[0].numel() >= PORTION


def _check_operations(graph: Graph, captured: Capture, frames: torch.Tensor) -> None:
    if _is_large(frames) and captured.batch is None:
        # NumPy takes seconds for each; the example and the normal one say enough
        frames = frames[:2]
    for error in operation_errors(graph, captured, frames):
        if not error.relative <= TOLERANCE:
            raise UserError(_difference_text(error))


def _check_capture(module: nn.Module, captured: Capture, frames: torch.Tensor) -> None:
    with _recorded(module) as parts:
        first = _results(module, captured, frames)
    found = captured.results_on(frames, PORTION)
    error, again = _worst(found, first), _worst(_results(module, captured, frames), first)
    if not again <= TOLERANCE:
        changed = ", ".join(captured.changes) or "something"
        raise UnsupportedOpError(
            f"the model changes {changed} while it runs, and its second run on the same frames "
            f"differs from the first by {again:.1e} of the largest output; a network must be the "
            "same for every frame. Make forward() leave parameters and buffers alone, and draw no "
            "random numbers in evaluation mode."
        )
    if not error <= TOLERANCE:
        portion = next(captured.portions(frames, PORTION))
        place = _first_difference(captured, captured.run(portion), parts)
        raise UserError(
            f"what torch.export captured differs from the model by {error:.1e} of the largest "
            f"output ({TOLERANCE:.0e} is allowed); first at {place}.\n"
            "forward() must compute with PyTorch's tensors alone, and the same while it is "
            "exported: what NumPy or other libraries compute on the way is not seen."
        )


def _results(
    module: nn.Module, captured: Capture, frames: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Results of the module, in the portions of the capture: PyTorch is slow with large batches."""
    found = [evaluate_module(module, portion) for portion in captured.portions(frames, PORTION)]
    return (
        found[0] if len(found) == 1 else tuple(torch.cat(one) for one in zip(*found, strict=True))
    )


def _worst(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    if len(found) != len(expected):
        return float("inf")
    pairs = zip(found, expected, strict=True)
    return max(relative_error(to_numpy(mine), to_numpy(theirs)) for mine, theirs in pairs)


@contextmanager
def _recorded(module: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Record the first result of each submodule while the module runs."""
    results: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                results.setdefault(name, output.detach().clone())

        return hook

    parts = [(name, part) for name, part in module.named_modules() if name]
    hooks = [part.register_forward_hook(keep(name)) for name, part in parts]
    try:
        yield results
    finally:
        for hook in hooks:
            hook.remove()


def _first_difference(
    captured: Capture, values: Mapping[str, Any], parts: Mapping[str, torch.Tensor]
) -> str:
    """First submodule, in the order they finish, none of whose captured values is its result."""
    inside = _values_by_module(captured, values)
    for name, expected in parts.items():
        candidates = [value for value in inside.get(name, []) if value.shape == expected.shape]
        errors = [relative_error(to_numpy(value), to_numpy(expected)) for value in candidates]
        if errors and min(errors) > TOLERANCE:
            return name
    return "the end of the model"


def _values_by_module(
    captured: Capture, values: Mapping[str, Any]
) -> dict[str, list[torch.Tensor]]:
    """Tensors computed in each module or in one inside it."""
    inside: dict[str, list[torch.Tensor]] = {}
    for node in captured.nodes:
        value = values.get(node.name)
        if isinstance(value, torch.Tensor):
            for path, _kind in (node.meta.get("nn_module_stack") or {}).values():
                inside.setdefault(path, []).append(value)
    return inside
