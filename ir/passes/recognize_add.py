"""A sum of two values of one shape becomes Add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Add, Arithmetic, BatchNorm
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeAdd(RewritePass):
    """Sums and differences of equal shapes, both per frame.

    1. ``x + y`` -> Add(x, y)
    2. ``x - y`` -> Add(x, BatchNorm(y)) of multiplier -1
    """

    name: ClassVar[str] = "recognize-add"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one sum."""
        if node.op not in (Arithmetic("add"), Arithmetic("sub")):
            return False
        types = graph.operand_types(node.name)
        if any(not type_.batched or type_.shape != node.type.shape for type_ in types):
            return False
        left, right = node.operands
        if node.op == Arithmetic("sub"):
            if len(node.type.shape) < 2:
                return False
            ones = np.ones(node.type.channels)
            minus = BatchNorm.affine(-ones, 0 * ones)
            right = graph.add(minus, [right], name=f"{node.name}_minus", near=node.name).name
        graph.replace(node.name, Add(), [left, right])
        return True
