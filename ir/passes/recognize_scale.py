"""A product with a factor per frame becomes Scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Scale
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeScale(RewritePass):
    """``x * f`` or ``f * x`` with f of the shape of x, or 1 in some of C, H, W -> Scale(x, f).

    Of two operands of one shape the second is the factor.
    """

    name: ClassVar[str] = "recognize-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one product."""
        if node.op != Arithmetic("mul") or len(node.type.shape) != 4:
            return False
        left, right = graph.operands(node.name)
        if not left.type.batched or not right.type.batched:
            return False
        for tensor, factor in ((left, right), (right, left)):
            if tensor.type.shape == node.type.shape:
                graph.replace(node.name, Scale(), [tensor.name, factor.name])
                return True
        return False
