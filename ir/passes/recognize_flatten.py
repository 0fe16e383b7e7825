"""A view as one vector per frame becomes Flatten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Flatten, Reshape
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeFlatten(RewritePass):
    """``x.view(N, -1)`` -> Flatten, of a flattened value -> that value."""

    name: ClassVar[str] = "recognize-flatten"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one view."""
        if not isinstance(node.op, Reshape) or not node.type.batched or len(node.type.shape) != 2:
            return False
        source = graph.operands(node.name)[0]
        if source.type == node.type:
            graph.replace_uses(node.name, source.name)
        else:
            graph.replace(node.name, Flatten())
        return True
