"""A scale per channel behind a binary layer becomes part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BatchNorm, BinaryConv2d, BinaryLinear
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class FoldBinaryScale(RewritePass):
    """BatchNorm of a binary layer, without offset -> the layer with the product of the scales.

    1. the layer has no other user
       (the name is the BatchNorm's, whose value it has; the place is the layer's)
    2. a BatchNorm with an offset, or a layer that others use: both stay
    """

    name: ClassVar[str] = "fold-binary-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Fold one scale."""
        if not isinstance(node.op, BatchNorm) or np.any(node.op.offset):
            return False
        layer = graph.operands(node.name)[0]
        if not isinstance(layer.op, BinaryConv2d | BinaryLinear):
            return False
        if len(graph.users(layer.name)) > 1:
            return False
        scale = layer.op.scale * node.op.multiplier
        op = replace(layer.op, scale=scale)
        graph.replace(node.name, op, layer.operands, location=layer.location)
        return True
