"""The squeeze-and-excite computation becomes Gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    Activation,
    BatchNorm,
    Conv2d,
    Flatten,
    FloatArray,
    Gate,
    GlobalAvgPool,
    Linear,
    Op,
    Relu,
    Reshape,
    Sigmoid,
)
from r2b.ir.rewrite import RewritePass, through_views

_VIEWS = (Reshape, Flatten)


@dataclass(frozen=True)
class RecognizeGates(RewritePass):
    """``f(fc2(relu(fc1(mean(x)))))`` with f a sigmoid or hard-sigmoid -> Gate(x).

    1. fc1, fc2 are linear layers, with views before and after
    2. fc1, fc2 are 1x1 convolutions of the averaged image
    3. a BatchNorm behind fc1 or fc2 is part of it
    """

    name: ClassVar[str] = "recognize-gates"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace the sigmoid, and the views of it."""
        function = _function(node.op)
        matched = None if function is None else _match(graph, node, function)
        if matched is None:
            return False
        gate, source = matched
        if node.type.shape == (1, node.type.channels, 1, 1):
            graph.replace(node.name, gate, [source.name])
            return True
        made = graph.add(gate, [source.name], name="gate", near=node.name)
        graph.replace(node.name, Flatten(), [made.name])
        for view in graph.users(node.name):
            if isinstance(view.op, Reshape) and view.type == made.type:
                graph.replace_uses(view.name, made.name)
        return True


def _function(op: Op) -> Literal["sigmoid", "hardsigmoid"] | None:
    if isinstance(op, Sigmoid):
        return "sigmoid"
    return "hardsigmoid" if op == Activation("hardsigmoid") else None


@dataclass(frozen=True)
class _Layer:
    """A layer on one vector per frame, and what it acts on, behind views."""

    weight: FloatArray
    bias: FloatArray | None
    source: Node


def _match(
    graph: Graph, end: Node, function: Literal["sigmoid", "hardsigmoid"]
) -> tuple[Gate, Node] | None:
    """Find the gate that ends in a sigmoid, and the value it averages."""
    second = _layer(graph, _operand(graph, end))
    if second is None or not isinstance(second.source.op, Relu):
        return None
    first = _layer(graph, _operand(graph, second.source))
    if first is None or not isinstance(first.source.op, GlobalAvgPool):
        return None
    gate = Gate(first.weight, first.bias, second.weight, second.bias, function)
    return gate, graph.operands(first.source.name)[0]


def _operand(graph: Graph, node: Node) -> Node:
    """First operand, behind views; the node itself where there is none."""
    operands = graph.operands(node.name)
    return through_views(graph, operands[0], _VIEWS) if operands else node


def _layer(graph: Graph, node: Node) -> _Layer | None:
    """Read a layer that acts on one vector per frame, with the BatchNorm behind it."""
    source = _operand(graph, node)
    match node.op:
        case Linear(weight, bias) if len(node.type.shape) == 2:
            return _Layer(weight, bias, source)
        case Conv2d(weight, bias, groups=1) if node.type.shape[2:] == (1, 1):
            image = graph.operands(node.name)[0].type.shape[2:]
            if weight.shape[2:] != (1, 1) or image != (1, 1):
                return None
            return _Layer(weight[:, :, 0, 0], bias, source)
        case BatchNorm(gamma) if isinstance(source.op, Linear | Conv2d):
            inner = _layer(graph, source)
            if inner is None or len(gamma) != len(inner.weight):
                return None
            factor, offset = node.op.multiplier, node.op.offset
            bias = np.zeros_like(offset) if inner.bias is None else inner.bias
            return _Layer(inner.weight * factor[:, None], bias * factor + offset, inner.source)
        case _:
            return None
