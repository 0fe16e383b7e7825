"""Activations that are written as arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Activation, Arithmetic, Hardtanh, Op, PRelu, Relu, Sigmoid, Unary, Where
from r2b.ir.passes.piecewise import Table, Tables
from r2b.ir.rewrite import RewritePass, scalar_value


@dataclass(frozen=True)
class RecognizeActivations(RewritePass):
    """Functions of one number.

    1. ``maximum(x, c)``, ``minimum(x, c)`` -> Relu, Hardtanh
    2. ``tanh`` -> Activation
    3. ``1 / (1 + exp(-x))`` -> Sigmoid
    4. ``clamp(x + 3, 0, 6) / 6`` -> hardsigmoid
    5. ``x * sigmoid(x)`` -> silu, ``x * hardsigmoid(x)`` -> hardswish
    6. x above 0 and ``s * x`` below, in any way of writing -> PRelu, Relu: ``|x|``,
       ``maximum(x, 0.1*x)``, ``relu(x) - 0.25 * relu(-x)``
    """

    name: ClassVar[str] = "recognize-activations"

    def call(self, graph: Graph) -> bool:
        """Rewrite the functions with two slopes first, from the output on; then the others."""
        modified = _rewrite_slopes(graph)
        return super().call(graph) or modified

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one operation."""
        if not node.type.batched:
            return False
        found = _match(graph, node)
        if found is None:
            return False
        op, operand = found
        if graph[operand].type.shape != node.type.shape:
            return False
        graph.replace(node.name, op, [operand])
        return True


def _match(graph: Graph, node: Node) -> tuple[Op, str] | None:
    match node.op:
        case Unary(kind="tanh"):
            return Activation("tanh"), node.operands[0]
        case Unary(kind="reciprocal"):
            return _logistic(graph, node.operands[0])
        case Arithmetic(kind="maximum" | "minimum"):
            return _bound(graph, node)
        case Arithmetic(kind="mul" | "div"):
            return _quotient(graph, node) or _product(graph, node)
        case _:
            return None


def _with_number(graph: Graph, node: Node) -> tuple[str, float] | None:
    """Tensor and number of an operation with one of each, where the order does not matter."""
    for tensor, number in (node.operands, node.operands[::-1]):
        value = scalar_value(graph[number])
        if value is not None:
            return tensor, value
    return None


def _bound(graph: Graph, node: Node) -> tuple[Op, str] | None:
    found = _with_number(graph, node)
    if found is None:
        return None
    tensor, value = found
    if node.op == Arithmetic("minimum"):
        return Hardtanh(-np.inf, value), tensor
    return (Relu() if value == 0 else Hardtanh(value, np.inf)), tensor


def _quotient(graph: Graph, node: Node) -> tuple[Op, str] | None:
    left, right = node.operands
    if node.op == Arithmetic("div") and scalar_value(graph[left]) == 1:
        return _logistic(graph, right)
    found = _with_number(graph, node)
    if found is None or (scalar_value(graph[left]) is not None and node.op == Arithmetic("div")):
        return None
    factor = found[1] if node.op == Arithmetic("mul") else 1 / (found[1] or np.inf)
    clamp = graph[found[0]]
    if clamp.op != Hardtanh(0.0, 6.0) or not np.isclose(factor, 1 / 6, rtol=1e-6):
        return None
    shifted = graph[clamp.operands[0]]
    inner = _with_number(graph, shifted) if shifted.op == Arithmetic("add") else None
    return (Activation("hardsigmoid"), inner[0]) if inner and inner[1] == 3 else None


def _logistic(graph: Graph, name: str) -> tuple[Op, str] | None:
    """Match ``1 + exp(-x)``."""
    total = graph[name]
    found = _with_number(graph, total) if total.op == Arithmetic("add") else None
    if found is None or found[1] != 1 or graph[found[0]].op != Unary("exp"):
        return None
    exponent = graph.operands(found[0])[0]
    return (Sigmoid(), exponent.operands[0]) if exponent.op == Unary("neg") else None


def _product(graph: Graph, node: Node) -> tuple[Op, str] | None:
    if node.op != Arithmetic("mul"):
        return None
    for tensor, factor in (node.operands, node.operands[::-1]):
        gate = graph[factor]
        if gate.operands == (tensor,) and isinstance(gate.op, Sigmoid):
            return Activation("silu"), tensor
        if gate.operands == (tensor,) and gate.op == Activation("hardsigmoid"):
            return Activation("hardswish"), tensor
    return None


def _rewrite_slopes(graph: Graph) -> bool:
    """Case 6: what the table proves to be homogeneous with slope 1 above 0."""
    tables = Tables(graph)
    done: set[str] = set()
    modified = False
    for node in reversed(graph.nodes()):
        table = tables[node.name]
        slopes = _slopes(graph, node, table)
        users = graph.users(node.name)
        inside = table.variable != node.name
        if inside and users and all(user.name in done for user in users):
            done.add(node.name)
        elif slopes is not None and isinstance(node.op, Arithmetic | Unary | Where):
            op = PRelu(slopes) if np.any(slopes) else Relu()
            graph.replace(node.name, op, [table.variable])
            done.add(node.name)
            modified = True
    graph.prune()
    return modified


def _slopes(graph: Graph, node: Node, table: Table) -> np.ndarray | None:
    below, _, above = table.cases
    if table.power != 1 or table.variable == node.name or np.any(table.threshold):
        return None
    variable = graph[table.variable].type
    if not variable.batched or variable.shape != node.type.shape or len(variable.shape) < 2:
        return None
    if not np.all(above == 1) or np.all(below == -1) or not np.all(np.isfinite(below)):
        return None
    shape = (1, node.type.channels, *[1] * (len(node.type.shape) - 2))
    return np.broadcast_to(-below, shape).reshape(-1)
