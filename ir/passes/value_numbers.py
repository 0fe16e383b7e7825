"""Which values are equal by the expression that computes them."""

from __future__ import annotations

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Identity, Input, Op, Opaque, Output

_RANDOM = (
    "rand",
    "bernoulli",
    "normal",
    "uniform",
    "dropout",
    "multinomial",
    "exponential",
    "poisson",
    "rrelu",
    "empty",
)
"""What the names of ATen operations hold whose value is not a function of their operands."""

_COMMUTATIVE = (Arithmetic("add"), Arithmetic("mul"), Arithmetic("maximum"), Arithmetic("minimum"))


def is_function(op: Op) -> bool:
    """Tell whether equal operands give equal values."""
    if isinstance(op, Opaque):
        return not any(word in op.target for word in _RANDOM)
    return not isinstance(op, Input | Output)


class ValueNumbers:
    """For every value the first one that is equal by its expression; a detach does not count.

    Parameters
    ----------
    graph : Graph
        Must not change while this is used.
    """

    def __init__(self, graph: Graph) -> None:
        """Walk the graph once."""
        self._first: dict[str, str] = {}
        self._seen: dict[tuple[type[Op], tuple[str, ...]], list[Node]] = {}
        for node in graph.nodes():
            self._first[node.name] = self._find(node)

    def __getitem__(self, name: str) -> str:
        """Name of the first equal value."""
        return self._first[name]

    def _find(self, node: Node) -> str:
        operands = tuple(self._first[operand] for operand in node.operands)
        if isinstance(node.op, Identity):
            return operands[0]
        if not is_function(node.op):
            return node.name
        if node.op in _COMMUTATIVE:
            operands = tuple(sorted(operands))
        earlier = self._seen.setdefault((type(node.op), operands), [])
        for other in earlier:
            if other.op == node.op:
                return self._first[other.name]
        earlier.append(node)
        return node.name
