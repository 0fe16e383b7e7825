"""Checks that every node of a Graph can be lowered, and lists all that cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r2b.ir import ops
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.partition import Draft, Partition, refuse
from r2b.ir.types import DType


@dataclass(frozen=True)
class HeadNodes:
    """The last layer: a linear layer and the node whose means (or only position) it reads."""

    linear: Node
    operand: str


def check_support(graph: Graph, partition: Partition) -> HeadNodes:
    """Find the head and refuse a Graph with operations that no stage can take.

    Raises
    ------
    UnsupportedOpError
        With every such operation, its place, what is supported and the way out.
    """
    problems: list[tuple[Node, str]] = []
    head, path = _find_head(graph, problems)
    covered = partition.covered() | path
    for node in graph.nodes():
        reason = _uncovered(graph, node) if node.name not in covered else ""
        if reason:
            problems.append((node, reason))
    for draft in partition.drafts:
        problems += _draft_problems(graph, partition, draft)
    refuse(sorted(problems, key=lambda problem: partition.rank[problem[0].name]))
    assert head is not None
    return head


def _find_head(graph: Graph, problems: list[tuple[Node, str]]) -> tuple[HeadNodes | None, set[str]]:
    """Walk back from the output over Linear, Flatten and GlobalAvgPool."""
    if len(graph.outputs) != 1:
        why = "a network must have one output, its logits; return one tensor"
        problems += [(node, why) for node in graph.outputs[1:]]
    output = graph.outputs[0]
    path = {output.name}
    (linear,) = graph.operands(output.name)
    if not isinstance(linear.op, ops.Linear):
        problems.append(
            (output, "the logits must come out of a Linear; end the network with nn.Linear")
        )
        return None, path
    path.add(linear.name)
    (current,) = graph.operands(linear.name)
    while isinstance(current.op, ops.Flatten | ops.GlobalAvgPool):
        path.add(current.name)
        (current,) = graph.operands(current.name)
    shape = current.type.shape
    if len(shape) != 4 or shape[1] != linear.op.weight.shape[1]:
        problems.append(
            (
                linear,
                "the last layer must read the means of a feature map; put "
                "AdaptiveAvgPool2d(1) and Flatten before it",
            )
        )
        return None, path
    return HeadNodes(linear, current.name), path


def _uncovered(graph: Graph, node: Node) -> str:
    """Say why a node outside all drafts cannot be lowered; empty if it needs no stage."""
    users = graph.users(node.name)
    match node.op:
        case ops.Input():
            fits = all(isinstance(user.op, ops.Conv2d | ops.BatchNorm) for user in users)
            return "" if fits else "a frame goes into a real Conv2d; begin the network with one"
        case ops.Sign():
            return _sign_problem(graph, node)
        case ops.Gate():
            fits = all(
                isinstance(user.op, ops.Scale) and user.operands[1] == node.name for user in users
            )
            return "" if fits else "a gate scales the result of one binary convolution, no more"
        case ops.Output():
            return ""
        case ops.Linear():
            return "a fully connected layer stands at the end or in a gate; use a 1x1 Conv2d"
        case ops.Scale():
            return "a factor per channel and frame must come out of a gate; use r2b's Gate"
        case ops.Sigmoid():
            return "a sigmoid is supported in a gate only; use PReLU, ReLU or Hardtanh"
        case ops.GlobalAvgPool() | ops.Flatten():
            return "means are supported in a gate and before the last Linear only"
        case _:
            return f"{type(node.op).__name__} is not supported here"


def _sign_problem(graph: Graph, node: Node) -> str:
    (operand,) = graph.operands(node.name)
    if len(operand.type.shape) != 4 or operand.type.dtype is not DType.FLOAT:
        return "a sign reads a real feature map"
    if isinstance(operand.op, ops.Input):
        return "the frame itself cannot be signed; begin the network with a real Conv2d"
    if not all(isinstance(user.op, ops.BinaryConv2d) for user in graph.users(node.name)):
        return "a sign map goes into binary convolutions only; pool or add before the sign"
    return ""


def _draft_problems(graph: Graph, partition: Partition, draft: Draft) -> list[tuple[Node, str]]:
    found: list[tuple[Node, str]] = []
    nodes = (draft.first, *draft.chain)
    scales = [node for node in nodes if isinstance(node.op, ops.Scale)]
    if len(scales) > 1:
        found.append((scales[1], "a stage has one gate; put a convolution between two gates"))
    for node in nodes:
        if isinstance(node.op, ops.Hardtanh) and not np.isfinite(node.op.lo + node.op.hi):
            found.append((node, "both bounds must be finite; use ReLU for the lower one alone"))
    inputs = {graph.inputs[0].name, *(node.name for node in partition.input_view)}
    values = [draft.source, *draft.skips()]
    for name in values:
        reason = _source_problem(graph, partition, draft, name, inputs)
        if reason:
            found.append((draft.first, reason))
    if isinstance(draft.first.op, ops.AvgPool2d):
        pool = draft.first.op
        if any(pool.padding) and not pool.count_include_pad:
            found.append((draft.first, "padding must count; use count_include_pad=True"))
    if not isinstance(draft.first.op, ops.BinaryConv2d | ops.Conv2d) and scales:
        found.append((scales[0], "a gate scales the result of a convolution"))
    return found


def _source_problem(
    graph: Graph, partition: Partition, draft: Draft, name: str, inputs: set[str]
) -> str:
    if isinstance(draft.first.op, ops.BinaryConv2d) and name == draft.source:
        return "" if isinstance(graph[name].op, ops.Sign) else "its input must come out of a sign"
    if name in inputs:
        fits = isinstance(draft.first.op, ops.Conv2d) and draft.presum is None
        return "" if fits else "the frame goes into a real Conv2d only; begin the network with one"
    if name not in partition.producer:
        return f"its input {graph[name].name} ({type(graph[name].op).__name__}) is no stored tensor"
    return ""
