"""Equal operations on equal operands become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Op
from r2b.ir.passes.infrastructure import Pass
from r2b.ir.passes.value_numbers import is_function


@dataclass(frozen=True)
class MergeCommonSubexpressions(Pass):
    """Let every use of a value take the first node that computes it.

    Parameters of one module that are equal by chance are merged too; the first name remains. An
    operation of PyTorch without a word here is merged unless it is random.
    """

    name: ClassVar[str] = "merge-common-subexpressions"

    def call(self, graph: Graph) -> bool:
        """Merge in one walk from the input on."""
        seen: dict[tuple[type[Op], tuple[str, ...]], list[Node]] = {}
        modified = False
        for name in [node.name for node in graph.nodes()]:
            node = graph[name]
            if not is_function(node.op):
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
