"""The squeeze-and-excite computation becomes Gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    Conv2d,
    Flatten,
    FloatArray,
    Gate,
    GlobalAvgPool,
    Linear,
    Relu,
    Reshape,
    Sigmoid,
)
from r2b.ir.rewrite import RewritePass, through_views

_VIEWS = (Reshape, Flatten)


@dataclass(frozen=True)
class RecognizeGates(RewritePass):
    """``sigmoid(fc2(relu(fc1(mean(x)))))`` -> Gate(x).

    1. fc1, fc2 are linear layers, with views before and after
    2. fc1, fc2 are 1x1 convolutions of the averaged image
    """

    name: ClassVar[str] = "recognize-gates"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace the sigmoid, and the views of it."""
        if not isinstance(node.op, Sigmoid):
            return False
        matched = _match(graph, node)
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


def _match(graph: Graph, sigmoid: Node) -> tuple[Gate, Node] | None:
    """Find the gate that ends in a sigmoid, and the value it averages."""
    second = _operand(graph, sigmoid)
    relu = _operand(graph, second)
    first = _operand(graph, relu)
    pool = _operand(graph, first)
    layers = [_layer(graph, node) for node in (first, second)]
    if layers[0] is None or layers[1] is None:
        return None
    if not isinstance(relu.op, Relu) or not isinstance(pool.op, GlobalAvgPool):
        return None
    return Gate(*layers[0], *layers[1]), graph.operands(pool.name)[0]


def _operand(graph: Graph, node: Node) -> Node:
    """First operand, behind views; the node itself where there is none."""
    operands = graph.operands(node.name)
    return through_views(graph, operands[0], _VIEWS) if operands else node


def _layer(graph: Graph, node: Node) -> tuple[FloatArray, FloatArray | None] | None:
    """Weight and bias of a layer that acts on one vector per frame."""
    match node.op:
        case Linear(weight, bias) if len(node.type.shape) == 2:
            return weight, bias
        case Conv2d(weight, bias, groups=1) if node.type.shape[2:] == (1, 1):
            image = graph.operands(node.name)[0].type.shape[2:]
            if weight.shape[2:] != (1, 1) or image != (1, 1):
                return None
            return weight[:, :, 0, 0], bias
        case _:
            return None
