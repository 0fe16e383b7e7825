"""Every way to write a sign becomes the operation Sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    Arithmetic,
    BatchNorm,
    Compare,
    Constant,
    Identity,
    ParametricRelu,
    PRelu,
    Relu,
    Sign,
    Unary,
)
from r2b.ir.passes.infrastructure import Pass
from r2b.ir.passes.piecewise import Table, Tables, TwoValued, two_valued


@dataclass(frozen=True)
class CanonicalizeSigns(Pass):
    """A value that is proved to take two values becomes a Sign, or an affine map of one.

    The proof is a table of the value by cases of one variable (:mod:`r2b.ir.passes.piecewise`):

    1. (-1, z, +1) below, at and above 0: ``Sign(zero=z)`` of x: ``where(x >= 0, 1, -1)``,
       ``2 * (x > 0) - 1``, ``(x > 0) - (x < 0)``, ``sign(sign(x) + eps)``, ``x / |x|``, ...
    2. the same around a threshold t, a number or one per channel: the Sign of ``x - t``
    3. (+1, z, -1): the Sign of ``-x``
    4. (-a, z*a, +a): that Sign times a
    5. any other two values, such as 0 and 1: an affine map of the Sign, which is no sign
    6. clamp, tanh or sigmoid of ``k * x`` with ``k >= STEEP`` count as steps; the value differs
       from the source where ``|x| < 1/k``, for tanh and sigmoid ``|x| < 9/k``
    7. what gives no sign of x, but one of a value computed from x, is the Sign of that:
       ``where(relu(x) >= 0, 1, -1)`` is +1 for every x, and ``Sign(relu(x))``
    """

    name: ClassVar[str] = "canonicalize-signs"

    def call(self, graph: Graph) -> bool:
        """Rewrite signs of the farthest values first, then those of nearer ones."""
        modified = _rewrite_all(graph, Tables(graph))
        nearer = _judged(graph)
        again = bool(nearer) and _rewrite_all(graph, Tables(graph, nearer))
        return modified or again


def _rewrite_all(graph: Graph, tables: Tables) -> bool:
    """Rewrite the last operation of each expression, from the output on."""
    done: set[str] = set()
    modified = False
    for node in reversed(graph.nodes()):
        table = tables[node.name]
        users = graph.users(node.name)
        inside = table.power == 0 and table.variable != node.name
        if inside and users and all(user.name in done for user in users):
            done.add(node.name)  # only those use it that are rewritten
        elif _fits(node, tables) and _rewrite(graph, node, table):
            done.add(node.name)
            modified = True
    graph.prune()
    return modified


def _judged(graph: Graph) -> frozenset[str]:
    """Values that comparisons are left of, and results of what may have a slope of 0 or less."""
    compared = {
        operand.name
        for node in graph.nodes()
        if isinstance(node.op, Compare)
        for operand in graph.operands(node.name)
        if not isinstance(operand.op, Constant)
    }
    activations = (Relu, PRelu, ParametricRelu)
    bent = {node.name for node in graph.nodes() if isinstance(node.op, activations)}
    return frozenset(compared | bent)


_SCALINGS = (Arithmetic("mul"), Arithmetic("div"))
_AFFINE = (*_SCALINGS, Arithmetic("add"), Arithmetic("sub"))


def _fits(node: Node, tables: Tables) -> bool:
    value = two_valued(tables[node.name])
    if value is None or isinstance(node.op, Identity | Constant):
        return False
    inner = [two_valued(tables[operand]) for operand in node.operands]
    if isinstance(node.op, Sign):
        return tables[node.operands[0]].power == 0
    if np.any(value.offset):
        # parameters are computed; affine maps of what fits are left to the passes for them
        is_affine = isinstance(node.op, BatchNorm) or node.op in _AFFINE
        return node.type.batched and not (is_affine and any(inner))
    # a sign times a number is left to the passes that fold scales
    is_scale = isinstance(node.op, BatchNorm) or node.op in _SCALINGS
    of_sign = any(operand is not None and not np.any(operand.offset) for operand in inner)
    return bool(np.all(value.scale == 1)) or not (is_scale and of_sign)


def _rewrite(graph: Graph, node: Node, table: Table) -> bool:
    value = two_valued(table)
    variable = graph[table.variable]
    shape = (variable.type.shape, variable.type.batched)
    if value is None or shape != (node.type.shape, node.type.batched):
        return False
    operand = _argument(graph, node, table, value)
    steps = ((Arithmetic("mul"), value.scale, 1), (Arithmetic("add"), value.offset, 0))
    op, operands = Sign(value.zero, table.form), [operand]
    for step, number, neutral in steps:
        if np.any(number != neutral):
            made = graph.add(op, operands, name=f"{node.name}_sign", near=node.name)
            constant = graph.add(Constant(number), name=f"{node.name}_number", near=node.name)
            op, operands = step, [made.name, constant.name]
    graph.replace(node.name, op, operands)
    return True


def _argument(graph: Graph, node: Node, table: Table, value: TwoValued) -> str:
    """Name of what the sign is taken of: x, x - t, or minus that."""
    name = table.variable
    if np.any(table.threshold):
        operands = [name, table.threshold_name]
        name = graph.add(Arithmetic("sub"), operands, name="over", near=node.name).name
    if value.negative:
        name = graph.add(Unary("neg"), [name], name="minus", near=node.name).name
    return name
