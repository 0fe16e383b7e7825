"""Comparison of a Graph with PyTorch: operation by operation, and as a whole.

A deep binary network cannot be compared at its output alone: one sign of a value near 0 that falls
the other way changes the frame. So the proof has two halves: what was captured computes what the
module does, in PyTorch's own arithmetic; and every operation of the Graph, given PyTorch's inputs
of it, gives PyTorch's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from r2b.frontend.capture import Capture, evaluate_module, to_numpy
from r2b.ir.errors import Location, UserError
from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import Input

TOLERANCE = 1e-4
"""Largest difference that is rounding, relative to the largest magnitude of the tensor."""

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
    does not have (a pass made it) is computed, and counts with the operations that use it.
    """
    reference = _reference(captured, frames)
    values: dict[str, Array] = {}
    errors: list[OperationError] = []
    for node in graph.nodes():
        found = _evaluate(node, values, frames)
        expected = reference.get(node.name)
        values[node.name] = found if expected is None else expected
        if expected is not None:
            error = relative_error(found, expected)
            errors.append(OperationError(node.name, type(node.op).__name__, node.location, error))
    return errors


def _reference(captured: Capture, frames: torch.Tensor) -> dict[str, Array]:
    values: dict[str, Array] = {}
    for name, value in captured.run(frames).items():
        first = value[0] if isinstance(value, tuple) else value
        if isinstance(first, torch.Tensor) and name != "output":
            values[name] = to_numpy(first)
    return values


def _evaluate(node: Node, values: Mapping[str, Array], frames: torch.Tensor) -> Array:
    if isinstance(node.op, Input):
        return to_numpy(frames)
    return evaluate(node.op, [values[name] for name in node.operands])


def relative_error(found: Array, expected: Array) -> float:
    """Largest difference over the largest magnitude; infinite where shapes or NaN differ."""
    if found.shape != expected.shape:
        # a number stands for a tensor full of it
        if found.size != 1:
            return float("inf")
        found = np.broadcast_to(found, expected.shape)
    mine, theirs = found.astype(np.float64), expected.astype(np.float64)
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    if np.all(same):
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(mine - theirs)[~same]
    scale = max(float(np.nanmax(np.abs(theirs), initial=0)), 1e-30)
    error = float(difference.max()) / scale
    return float("inf") if np.isnan(error) else error


def check_against_module(
    module: nn.Module, captured: Capture, graph: Graph, example: torch.Tensor
) -> None:
    """Prove on several frames that a Graph computes what the module does.

    Raises
    ------
    UserError
        They differ; the first place is named.
    """
    frames = check_frames(example)
    _check_capture(module, captured, frames)
    for error in operation_errors(graph, captured, frames):
        if not error.relative <= TOLERANCE:
            raise UserError(
                f"{error.op} {error.name} at {error.location} differs from PyTorch by "
                f"{error.relative:.1e} of its largest value ({TOLERANCE:.0e} is allowed). This is "
                "a defect of r2b: please report it with the model."
            )


def _check_capture(module: nn.Module, captured: Capture, frames: torch.Tensor) -> None:
    with _recorded(module) as parts:
        expected = evaluate_module(module, frames)
    values = captured.run(frames)
    found = values["output"]
    pairs = zip(found, expected, strict=True)
    worst = max(relative_error(to_numpy(mine), to_numpy(theirs)) for mine, theirs in pairs)
    if worst <= TOLERANCE:
        return
    raise UserError(
        f"what torch.export captured differs from the model by {worst:.1e} of the largest output "
        f"({TOLERANCE:.0e} is allowed); first at {_first_difference(captured, values, parts)}.\n"
        "A forward pass that assigns to .data, or changes parameters or its input, is captured "
        "without that change. Compute a new tensor instead."
    )


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
