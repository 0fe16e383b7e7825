"""Every way to write a sign becomes the operation Sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import Arithmetic, Compare, Constant, Sign, ToFloat, Unary, Where
from r2b.ir.rewrite import RewritePass, scalar_value

_SWAPPED = {"ge": "le", "le": "ge", "gt": "lt", "lt": "gt"}

_ZEROS: dict[tuple[str, float], Literal[-1, 1]] = {
    # comparison with 0, value where it is true -> value at 0
    ("ge", 1.0): 1,
    ("gt", 1.0): -1,
    ("le", -1.0): -1,
    ("lt", -1.0): 1,
}
"""The signs among the functions of a comparison with 0; the others are minus a sign."""


@dataclass(frozen=True)
class TwoValued:
    """A value that takes one of two numbers, by one comparison.

    Parameters
    ----------
    compare : Node
        The comparison.
    true, false : float
        The value where it holds and where it does not.
    """

    compare: Node
    true: float
    false: float


@dataclass(frozen=True)
class CanonicalizeSigns(RewritePass):
    """A value that is proved to be +1 or -1 by a comparison becomes a Sign.

    The proof follows the expression from the comparison on, through everything that has numbers
    for its other operands:

    1. ``where(x >= 0, 1, -1)`` and every other comparison, with the operands in any order
    2. ``2 * (x > 0).float() - 1`` and other arithmetic with numbers
    3. ``where(x >= t, 1, -1)`` with a threshold: the Sign of ``x - t``
    4. minus a sign: the Sign of ``-x``
    """

    name: ClassVar[str] = "canonicalize-signs"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace the last operation of the expression."""
        if not isinstance(node.op, Where | Arithmetic | Unary):
            return False
        values = two_valued(graph, node)
        if values is None or {values.true, values.false} != {-1.0, 1.0}:
            return False
        return _replace_by_sign(graph, node, values)


def two_valued(graph: Graph, node: Node) -> TwoValued | None:
    """Prove that a value takes two numbers by one comparison; None where that fails."""
    if isinstance(node.op, Compare):
        return TwoValued(node, 1.0, 0.0)
    if isinstance(node.op, Where):
        return _select(graph, node)
    if not isinstance(node.op, ToFloat | Arithmetic | Unary):
        return None
    operands = graph.operands(node.name)
    numbers = [number_of(graph, operand) for operand in operands]
    if numbers.count(None) != 1:
        return None
    inner = two_valued(graph, operands[numbers.index(None)])
    if inner is None:
        return None
    true, false = (_apply(node, numbers, value) for value in (inner.true, inner.false))
    return TwoValued(inner.compare, true, false)


def number_of(graph: Graph, node: Node) -> float | None:
    """The number that an expression of numbers is; None for everything else."""
    if not isinstance(node.op, Arithmetic | Unary):
        return scalar_value(node)
    numbers = [number_of(graph, operand) for operand in graph.operands(node.name)]
    known = [np.array(number) for number in numbers if number is not None]
    return float(evaluate(node.op, known)) if len(known) == len(numbers) else None


def _select(graph: Graph, node: Node) -> TwoValued | None:
    condition, *branches = graph.operands(node.name)
    true, false = (number_of(graph, branch) for branch in branches)
    if not isinstance(condition.op, Compare) or true is None or false is None:
        return None
    return TwoValued(condition, true, false)


def _apply(node: Node, numbers: list[float | None], value: float) -> float:
    operands = [np.array(value if number is None else number) for number in numbers]
    return float(evaluate(node.op, operands))


def _replace_by_sign(graph: Graph, node: Node, values: TwoValued) -> bool:
    kind, (left, right) = getattr(values.compare.op, "kind", ""), values.compare.operands
    if kind not in _SWAPPED:
        return False
    if isinstance(graph[left].op, Constant) and not isinstance(graph[right].op, Constant):
        kind, left, right = _SWAPPED[kind], right, left
    if not isinstance(graph[right].op, Constant) or graph[left].type.shape != node.type.shape:
        return False
    if scalar_value(graph[right]) != 0:
        left = graph.add(Arithmetic("sub"), [left, right], name="over", near=node.name).name
    zero = _ZEROS.get((kind, values.true))
    if zero is None:
        left = graph.add(Unary("neg"), [left], name="minus", near=node.name).name
        zero = _ZEROS[_SWAPPED[kind], values.true]
    graph.replace(node.name, Sign(zero), [left])
    return True
