"""Two selections in a row become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Select
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class MergeSelections(RewritePass):
    """``x[:, :, ::2][:, :, :, ::2]`` is one Select, and padding of channels behind it too.

    1. the inner selection has no other user
    2. others use it: both stay
    """

    name: ClassVar[str] = "merge-selections"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Merge a selection with the one before it."""
        if not isinstance(node.op, Select):
            return False
        inner = graph.operands(node.name)[0]
        if not isinstance(inner.op, Select) or len(graph.users(inner.name)) > 1:
            return False
        graph.replace(node.name, node.op.after(inner.op), inner.operands)
        return True
