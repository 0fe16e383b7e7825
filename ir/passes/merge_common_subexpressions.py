"""Equal operations on equal operands become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Input, Op, Output
from r2b.ir.passes.infrastructure import Pass


@dataclass(frozen=True)
class MergeCommonSubexpressions(Pass):
    """Let every use of a value take the first node that computes it.

    Parameters of one module that are equal by chance are merged too; the first name remains.
    """

    name: ClassVar[str] = "merge-common-subexpressions"

    def call(self, graph: Graph) -> bool:
        """Merge in one walk from the input on."""
        seen: dict[tuple[type[Op], tuple[str, ...]], list[Node]] = {}
        modified = False
        for name in [node.name for node in graph.nodes()]:
            node = graph[name]
            if isinstance(node.op, Input | Output):
                continue
            earlier = seen.setdefault((type(node.op), node.operands), [])
            first = next((other for other in earlier if other.op == node.op), None)
            if first is None:
                earlier.append(node)
                continue
            graph.replace_uses(name, first.name)
            graph.remove(name)
            modified = True
        return modified
