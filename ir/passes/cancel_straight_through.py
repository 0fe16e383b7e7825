"""The arithmetic of straight-through estimators is cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Identity, Unary
from r2b.ir.rewrite import RewritePass, through_views

Terms = dict[str, int]


@dataclass(frozen=True)
class CancelStraightThrough(RewritePass):
    """A sum with detached terms becomes the one term that does not cancel.

    Reasoned on the expression, since its value drifts by a rounding: the sum is written as terms
    with integer coefficients. What holds a detach is opened first, so that a soft part that is a
    sum itself cancels before it would be opened.

    1. ``hard.detach() - soft.detach() + soft`` -> ``hard``
    2. ``soft + (hard - soft).detach()`` -> ``hard``
    3. ``hard.detach() + soft - soft.detach()``, and any other order -> ``hard``
    """

    name: ClassVar[str] = "cancel-straight-through"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace a sum by its only term."""
        if not _is_sum(node):
            return False
        order = {other.name: position for position, other in enumerate(graph.nodes())}
        term, detached = _only_term(graph, node, order)
        # without a detach it is the user's arithmetic, whose rounding may be meant
        if not term or not detached:
            return False
        hard = through_views(graph, graph[term], (Identity,))
        if (hard.type.shape, hard.type.batched) != (node.type.shape, node.type.batched):
            return False
        graph.replace(node.name, Identity("straight-through"), [hard.name])
        return True


def _is_sum(node: Node) -> bool:
    match node.op:
        case Arithmetic(kind="add" | "sub") | Unary(kind="neg"):
            return True
        case _:
            return False


def _only_term(graph: Graph, root: Node, order: dict[str, int]) -> tuple[str, bool]:
    """Name of the only term with coefficient 1, or an empty string; whether a detach was met."""
    terms: Terms = {root.name: 1}
    detached = False
    while terms:
        term = max(terms, key=lambda name: _urgency(graph, graph[name], order))
        node = graph[term]
        alone = len(terms) == 1 and terms[term] == 1 and node is not root
        if alone and (detached or not _opens(node)):
            return term, detached
        if not _opens(node):
            return "", detached
        detached |= isinstance(node.op, Identity)
        _open(node, terms)
    return "", detached


def _urgency(graph: Graph, node: Node, order: dict[str, int]) -> tuple[bool, bool, bool, int]:
    """Key of what to open first: a detach, a sum that holds one, another sum; later ones first."""
    is_detach = node.op == Identity("detach")
    return is_detach, _holds_detach(graph, node), _is_sum(node), order[node.name]


def _holds_detach(graph: Graph, node: Node) -> bool:
    if not _is_sum(node):
        return node.op == Identity("detach")
    return any(_holds_detach(graph, operand) for operand in graph.operands(node.name))


def _opens(node: Node) -> bool:
    return _is_sum(node) or node.op == Identity("detach")


def _open(node: Node, terms: Terms) -> None:
    """Replace a term by the terms it is the sum of."""
    factor = terms.pop(node.name)
    signs = {"sub": (1, -1), "neg": (-1,)}.get(getattr(node.op, "kind", ""), (1, 1))
    for operand, sign in zip(node.operands, signs, strict=False):
        terms[operand] = terms.get(operand, 0) + factor * sign
        if terms[operand] == 0:
            del terms[operand]
