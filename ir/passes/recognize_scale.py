"""A product with one factor per channel and frame becomes Scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Scale
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeScale(RewritePass):
    """``x * f`` or ``f * x`` with f of shape N x C x 1 x 1 -> Scale(x, f)."""

    name: ClassVar[str] = "recognize-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one product."""
        if node.op != Arithmetic("mul") or len(node.type.shape) != 4:
            return False
        factor_shape = (1, node.type.channels, 1, 1)
        left, right = graph.operands(node.name)
        if not left.type.batched or not right.type.batched:
            return False
        for tensor, factor in ((left, right), (right, left)):
            if factor.type.shape == factor_shape and tensor.type.shape == node.type.shape:
                graph.replace(node.name, Scale(), [tensor.name, factor.name])
                return True
        return False
