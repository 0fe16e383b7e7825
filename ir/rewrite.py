"""Passes that are made of one local rewrite, applied until nothing changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Constant, FloatArray, Op, Reshape
from r2b.ir.passes.infrastructure import Pass


@dataclass(frozen=True)
class RewritePass(Pass):
    """A pass that looks at one node after the other.

    A subclass defines :meth:`rewrite`. Nodes without use are removed after each round, types are
    inferred again, and the rounds end when one changes nothing.
    """

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Rewrite the node if it fits; tell whether it did. The node is still in the graph."""
        raise NotImplementedError(type(self).__name__)

    def call(self, graph: Graph) -> bool:
        """Rewrite until nothing fits any more."""
        modified = False
        while self._round(graph):
            graph.prune()
            graph.infer_types()
            modified = True
        return modified

    def _round(self, graph: Graph) -> bool:
        changed = False
        for node in graph.nodes():
            # an earlier rewrite of this round may have put another node under the name
            if node.name in graph:
                changed |= self.rewrite(graph, graph[node.name])
        return changed


def constant_value(node: Node) -> np.ndarray | None:
    """Value of a constant, None for any other node."""
    return node.op.value if isinstance(node.op, Constant) else None


def scalar_value(node: Node) -> float | None:
    """The number that all elements of a constant are, None where there is none."""
    value = constant_value(node)
    if value is None or value.size == 0 or not np.all(value == value.flat[0]):
        return None
    return float(value.flat[0])


def per_channel(value: np.ndarray, rank: int, channels: int) -> FloatArray | None:
    """Spread a constant that varies along dimension 1 only over the channels; None if it does not.

    Parameters
    ----------
    value : array that broadcasts with a value per frame
    rank : number of dimensions of that value
    channels : its size along dimension 1
    """
    if rank < 2 or value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    allowed = (1, channels, *[1] * (rank - 2))
    if any(size not in (1, limit) for size, limit in zip(shape, allowed, strict=True)):
        return None
    return np.broadcast_to(value.reshape(shape), allowed).reshape(channels).astype(np.float64)


def through_views(graph: Graph, node: Node, views: tuple[type[Op], ...] = (Reshape,)) -> Node:
    """Go from a value to the one it is a view of."""
    while isinstance(node.op, views):
        node = graph.operands(node.name)[0]
    return node
