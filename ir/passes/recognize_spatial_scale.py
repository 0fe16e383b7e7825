"""A product with constants that vary over the image becomes SpatialScale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, BatchNorm, SpatialScale
from r2b.ir.rewrite import RewritePass, constant_value


@dataclass(frozen=True)
class RecognizeSpatialScale(RewritePass):
    """Scales per position, of any rank.

    1. ``x * c``, ``c * x`` and ``x / c`` with c broadcast to C x H x W -> SpatialScale; factors
       that vary along channels only are a BatchNorm already
    2. one behind the other, the first without other users -> their product
    3. behind a BatchNorm without offset and without other users -> the product with its multiplier
    """

    name: ClassVar[str] = "recognize-spatial-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one product, or merge two."""
        if isinstance(node.op, SpatialScale):
            return _merge(graph, node, node.op)
        if node.op not in (Arithmetic("mul"), Arithmetic("div")) or len(node.type.shape) != 4:
            return False
        left, right = graph.operands(node.name)
        swapped = constant_value(left) is not None
        tensor, constant = (right, left) if swapped else (left, right)
        value = constant_value(constant)
        if value is None or tensor.type.shape != node.type.shape or not tensor.type.batched:
            return False
        factor = value.astype(np.float64)
        if node.op == Arithmetic("div"):
            if swapped or np.any(factor == 0):
                return False
            factor = 1 / factor
        full = np.broadcast_to(factor, node.type.shape)[0]
        graph.replace(node.name, SpatialScale(full), [tensor.name])
        return True


def _merge(graph: Graph, node: Node, op: SpatialScale) -> bool:
    inner = graph.operands(node.name)[0]
    if len(graph.users(inner.name)) > 1:
        return False
    match inner.op:
        case SpatialScale(factor):
            merged = op.factor * factor
        case BatchNorm() if not np.any(inner.op.offset):
            merged = op.factor * inner.op.multiplier[:, None, None]
        case _:
            return False
    graph.replace(node.name, SpatialScale(merged), inner.operands)
    return True
