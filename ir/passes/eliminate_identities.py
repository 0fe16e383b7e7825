"""Operations that do nothing are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Compare, Expand, Identity, Reshape, ToFloat
from r2b.ir.rewrite import RewritePass
from r2b.ir.types import DType


@dataclass(frozen=True)
class EliminateIdentities(RewritePass):
    """Users of an operation without effect take its operand.

    1. dropout in evaluation, contiguous, clone, detach, a cancelled estimator
    2. a conversion of a value that is real already
    3. a view in the same shape
    4. an expansion whose users broadcast anyway
    5. a view of a view is one view
    """

    name: ClassVar[str] = "eliminate-identities"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Remove the node if it has no effect."""
        if not node.operands:
            return False
        operand = graph[node.operands[0]]
        if isinstance(node.op, Reshape) and isinstance(operand.op, Reshape):
            graph.replace(node.name, node.op, operand.operands)
            return True
        if not _has_no_effect(graph, node, operand):
            return False
        graph.replace_uses(node.name, operand.name)
        graph.remove(node.name)
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


def _broadcasts(graph: Graph, user: Node, expanded: Node) -> bool:
    """Another operand of the user has the full shape, and dimensions are aligned."""
    operand = graph[expanded.operands[0]]
    partners = [other for other in graph.operands(user.name) if other.name != expanded.name]
    return (
        isinstance(user.op, Arithmetic | Compare)
        and len(operand.type.shape) == len(expanded.type.shape)
        and any(other.type.shape == user.type.shape for other in partners)
    )
