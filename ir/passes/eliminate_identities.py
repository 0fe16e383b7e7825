"""Operations that do nothing are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    AdaptiveAvgPool2d,
    Arithmetic,
    AvgPool2d,
    BatchNorm,
    Compare,
    Concat,
    Constant,
    Expand,
    Hardtanh,
    Identity,
    MaxPool2d,
    Pad,
    Reshape,
    Select,
    SpatialScale,
    ToFloat,
    Where,
)
from r2b.ir.rewrite import RewritePass, scalar_value, through_views
from r2b.ir.types import DType


@dataclass(frozen=True)
class EliminateIdentities(RewritePass):
    """Users of an operation without effect take its operand.

    1. dropout in evaluation, contiguous, clone, detach, a cancelled estimator
    2. a conversion of a value that is real already
    3. a view in the same shape
    4. an expansion whose users broadcast anyway
    5. a view of a view is one view
    6. ``where(mask, a, a.detach())``, which only steers gradients
    7. times or by 1, plus or minus 0, a BatchNorm that does nothing
    8. pooling of single pixels, a border of no width, a concatenation of one, a clamp without
       bounds, a selection of everything in its order

    Parameters
    ----------
    keep_parameters : bool
        Leave case 7 to the numbers that the source writes: a parameter that happens to be 1 or 0
        is not neutral, another training would have made it another.
    """

    keep_parameters: bool = False
    name: ClassVar[str] = "eliminate-identities"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Remove the node if it has no effect."""
        if not node.operands:
            return False
        operand = graph[node.operands[0]]
        if isinstance(node.op, Reshape) and isinstance(operand.op, Reshape):
            graph.replace(node.name, node.op, operand.operands)
            return True
        if isinstance(node.op, Where):
            return _same_branches(graph, node)
        by_parameter = self.keep_parameters and any(_is_parameter(graph[n]) for n in node.operands)
        neutral = not by_parameter and _is_neutral(graph, node, operand)
        if not _has_no_effect(graph, node, operand) and not neutral:
            return False
        _bypass(graph, node, operand)
        return True


def _is_parameter(node: Node) -> bool:
    return isinstance(node.op, Constant) and bool(node.op.origin)


def _bypass(graph: Graph, node: Node, operand: Node) -> None:
    graph.replace_uses(node.name, operand.name)
    graph.remove(node.name)


def _same_branches(graph: Graph, node: Node) -> bool:
    branches = graph.operands(node.name)[1:]
    values = [through_views(graph, branch, (Identity,)) for branch in branches]
    kinds = [(value.type.shape, value.type.batched) for value in (*values, node)]
    if values[0].name != values[1].name or kinds[0] != kinds[2]:
        return False
    _bypass(graph, node, values[0])
    return True


def _has_no_effect(graph: Graph, node: Node, operand: Node) -> bool:
    match node.op:
        case Identity():
            return True
        case ToFloat():
            return operand.type.dtype is not DType.BOOL
        case Reshape() | Expand() if operand.type == node.type:
            return True
        case Expand():
            return all(_broadcasts(graph, user, node) for user in graph.users(node.name))
        case _:
            return False


_NEUTRAL = {"mul": 1.0, "div": 1.0, "pow": 1.0, "add": 0.0, "sub": 0.0}


def _is_neutral(graph: Graph, node: Node, operand: Node) -> bool:
    """Cases 7 and 8: the operation may do something, but not with these fields or numbers."""
    same = (operand.type.shape, operand.type.batched) == (node.type.shape, node.type.batched)
    if not same or operand.type.dtype is DType.BOOL:
        return False
    match node.op:
        case Arithmetic(kind) if kind in _NEUTRAL:
            return scalar_value(graph[node.operands[1]]) == _NEUTRAL[kind]
        case BatchNorm(eps=0.0):
            return bool(np.all(node.op.multiplier == 1) and not np.any(node.op.offset))
        case SpatialScale(factor):
            return bool(np.all(factor == 1))
        case MaxPool2d(kernel=(1, 1)) | AvgPool2d(kernel=(1, 1)) | AdaptiveAvgPool2d():
            return True  # the shape is the same, hence the stride is 1
        case Pad(padding):
            return not any(padding)
        case Concat():
            return len(node.operands) == 1
        case Select(channels):
            return channels == tuple(range(len(channels)))  # the shape is the same
        case Hardtanh(lo, hi):
            return (lo, hi) == (-np.inf, np.inf)
        case _:
            return False


def _broadcasts(graph: Graph, user: Node, expanded: Node) -> bool:
    """Another operand of the user has the full shape, and dimensions are aligned."""
    operand = graph[expanded.operands[0]]
    partners = [other for other in graph.operands(user.name) if other.name != expanded.name]
    return (
        isinstance(user.op, Arithmetic | Compare | Where)
        and len(operand.type.shape) == len(expanded.type.shape)
        and any(other.type.shape == user.type.shape for other in partners)
    )
