"""A scale per channel behind a binary convolution becomes part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BatchNorm, BinaryConv2d
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class FoldBinaryScale(RewritePass):
    """BatchNorm(BinaryConv2d) without offset -> BinaryConv2d with the product of the scales.

    1. the convolution has no other user
    2. a BatchNorm with an offset, or a convolution that others use: both stay
    """

    name: ClassVar[str] = "fold-binary-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Fold one scale."""
        if not isinstance(node.op, BatchNorm) or np.any(node.op.offset):
            return False
        conv = graph.operands(node.name)[0]
        if not isinstance(conv.op, BinaryConv2d) or len(graph.users(conv.name)) > 1:
            return False
        old = conv.op
        scale = old.scale * node.op.multiplier
        folded = BinaryConv2d(old.weight, scale, old.stride, old.padding, old.dilation, old.groups)
        graph.replace(node.name, folded, conv.operands)
        return True
