"""Signs stand where the bipolar tensor is read, or as early as borders and views allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import Activation, BatchNorm, Hardtanh, MaxPool2d, Op, Pad, Sign, Unary
from r2b.ir.rewrite import RewritePass
from r2b.ir.types import DType


@dataclass(frozen=True)
class ReorderSigns(RewritePass):
    """Operations around a Sign that change places with it, or have no effect on it.

    1. ``Sign(Pad(x, v))`` -> ``Pad(Sign(x), sign(v))``, the sign of v by the sign's own convention
    2. ``MaxPool2d(Sign(x))`` -> ``Sign(MaxPool2d(x))`` if nothing else reads the sign
    3. ``Sign(Hardtanh(x))``, ``Sign(tanh(x))`` -> ``Sign(x)``
    4. ``MaxPool2d(a * s)`` of a bipolar s and positive a -> ``a * MaxPool2d(s)``
    """

    name: ClassVar[str] = "reorder-signs"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Rewrite one pair of operations."""
        if not node.operands:
            return False
        inner = graph[node.operands[0]]
        match node.op, inner.op:
            case Sign(), Pad(padding, value):
                border = float(evaluate(node.op, [np.array(value)]))
                return _swap(graph, node, inner, Pad(padding, border), node.op)
            case MaxPool2d(), Sign() if len(graph.users(inner.name)) == 1:
                return _swap(graph, node, inner, inner.op, node.op)
            case MaxPool2d(), BatchNorm() if _scales_bipolar(graph, inner, inner.op):
                return _swap(graph, node, inner, inner.op, node.op)
            case Sign(), _ if _keeps_sign(inner.op):
                graph.replace(node.name, node.op, inner.operands)
                return True
            case _:
                return False


def _swap(graph: Graph, node: Node, inner: Node, outer: Op, first: Op) -> bool:
    """Apply ``first`` to what the inner operation is applied to, and ``outer`` to that."""
    made = graph.add(first, inner.operands, name=f"{node.name}_inner", near=node.name)
    graph.replace(node.name, outer, [made.name])
    return True


def _scales_bipolar(graph: Graph, node: Node, op: BatchNorm) -> bool:
    bipolar = graph.operands(node.name)[0].type.dtype is DType.BIPOLAR
    return bipolar and not np.any(op.offset) and bool(np.all(op.multiplier > 0))


def _keeps_sign(op: Op) -> bool:
    match op:
        case Hardtanh(lo, hi):
            return lo < 0 < hi
        case Activation(kind="tanh") | Unary(kind="tanh"):
            return True
        case _:
            return False
