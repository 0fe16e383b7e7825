"""A sum of two values of one shape becomes Add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Add, Arithmetic
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeAdd(RewritePass):
    """``x + y`` of equal shapes, both per frame -> Add(x, y)."""

    name: ClassVar[str] = "recognize-add"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one sum."""
        if node.op != Arithmetic("add"):
            return False
        types = graph.operand_types(node.name)
        if any(not type_.batched or type_.shape != node.type.shape for type_ in types):
            return False
        graph.replace(node.name, Add())
        return True
