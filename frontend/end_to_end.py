"""Comparison of a whole Graph with PyTorch, from frames to outputs.

A sign of a value near 0 may fall the other way in another order of summation, and in a deep binary
network such a sign changes the frame. So beside the error of the outputs the first sign that
differs is given, with how near to 0 its value was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from r2b.frontend.capture import Capture, to_numpy
from r2b.frontend.check import PORTION, Array, relative_error
from r2b.ir.errors import Location
from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate, run
from r2b.ir.ops import Sign


@dataclass(frozen=True)
class EndToEnd:
    """How far a Graph is from PyTorch when each computes by itself.

    Parameters
    ----------
    relative : float
        Largest difference of the outputs over the largest magnitude of PyTorch's.
    sign : str
        Name of the first sign, in the order of the Graph, of which an element differs; empty if
        all are equal.
    location : Location
        Of that sign.
    distance : float
        Largest magnitude of a value in front of that sign whose sign differs, over the standard
        deviation of all of them; 0 if all signs are equal.
    frames : int
        Frames of which a sign differs.
    """

    relative: float
    sign: str = ""
    location: Location = field(default_factory=Location)
    distance: float = 0.0
    frames: int = 0


def end_to_end(graph: Graph, captured: Capture, frames: torch.Tensor) -> EndToEnd:
    """Run a Graph and what PyTorch captured on the same frames, and compare.

    Parameters
    ----------
    graph : Graph
        Without :class:`~r2b.ir.ops.Opaque`; canonical, or any on the way there.
    captured : Capture
    frames : Tensor, N x C x H x W or N x F
    """
    found = [_portion(graph, captured, portion) for portion in captured.portions(frames, PORTION)]
    differing = [one for one in found if one.sign]
    order = {node.name: place for place, node in enumerate(graph.nodes())}
    first = min(differing, key=lambda one: order[one.sign], default=EndToEnd(0.0))
    same = [one.distance for one in differing if one.sign == first.sign]
    return replace(
        first,
        relative=max(one.relative for one in found),
        distance=max(same, default=0.0),
        frames=sum(one.frames for one in found),
    )


def _portion(graph: Graph, captured: Capture, frames: torch.Tensor) -> EndToEnd:
    expected = captured.run(frames)
    found = run(graph, frames.numpy(), np.float32)
    outputs = zip(graph.outputs, expected["output"], strict=True)
    error = max(relative_error(found[node.name], to_numpy(value)) for node, value in outputs)
    differing = np.zeros(len(frames), np.bool_)
    first = EndToEnd(error)
    for node in graph.nodes():
        unequal = _unequal_signs(graph, node, found, expected)
        if unequal is None or not unequal.any():
            continue
        differing |= unequal.reshape(len(frames), -1).any(axis=1)
        if not first.sign:
            distance = _distance(found[node.operands[0]], unequal)
            first = EndToEnd(error, node.name, node.location, distance)
    return replace(first, frames=int(differing.sum()))


def _unequal_signs(
    graph: Graph, node: Node, found: dict[str, Array], expected: dict[str, Any]
) -> Array | None:
    """Elements of a sign of the frames that PyTorch has otherwise."""
    if not isinstance(node.op, Sign):
        return None
    theirs, mine = _value(graph, node, expected), found[node.name]
    # a straight-through estimator leaves 1e-7 of drift in PyTorch's value
    return np.rint(theirs) != np.rint(mine) if theirs.shape == mine.shape else None


def _value(graph: Graph, node: Node, expected: dict[str, Any]) -> Array:
    """PyTorch's value of a node; of one that a pass has made, what PyTorch's operands give."""
    known = expected.get(node.name)
    if isinstance(known, torch.Tensor):
        return to_numpy(known)
    operands = [_value(graph, operand, expected) for operand in graph.operands(node.name)]
    return evaluate(node.op, operands)


def _distance(value: Array, unequal: Array) -> float:
    deviation = max(float(value.std()), 1e-30)
    return float(np.abs(value[unequal]).max()) / deviation
