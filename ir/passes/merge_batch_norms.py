"""Two affine maps per channel in a row become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BatchNorm
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class MergeBatchNorms(RewritePass):
    """``c*(a*x + b) + d`` -> ``(c*a)*x + (c*b + d)``.

    1. the inner map has no other user
    2. others use it: both stay
    """

    name: ClassVar[str] = "merge-batch-norms"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Merge a map with the one before it."""
        if not isinstance(node.op, BatchNorm):
            return False
        inner = graph.operands(node.name)[0]
        if not isinstance(inner.op, BatchNorm) or len(graph.users(inner.name)) > 1:
            return False
        multiplier = node.op.multiplier * inner.op.multiplier
        offset = node.op.multiplier * inner.op.offset + node.op.offset
        graph.replace(node.name, BatchNorm.affine(multiplier, offset), inner.operands)
        return True
