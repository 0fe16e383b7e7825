"""Which nodes of the canonical Graph make one stage.

A **draft** is a contraction (its root) and the nodes absorbed behind it: batch norm, activation,
gated scale, skip add, at the end a max pooling. The value of its last node is what its sinks see.
A node between a value and a sign, a gate or the head that never needs to exist as a tensor (a batch
norm, mostly) is a **view**: it is folded into the sign's threshold or the means' normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node

FOLLOWERS = (ops.BatchNorm, ops.PRelu, ops.Relu, ops.Hardtanh)
MEANS = (ops.Gate, ops.GlobalAvgPool)
ROOTS = (ops.Conv2d, ops.BinaryConv2d, ops.MaxPool2d, ops.AvgPool2d)
ABSORBING = (ops.Conv2d, ops.BinaryConv2d, ops.AvgPool2d, ops.Scale, ops.Add, *FOLLOWERS)
"""Behind these a draft may go on; the maximum over a window comes last in a stage."""


@dataclass(frozen=True)
class Draft:
    """A stage before its numbers are known.

    Parameters
    ----------
    root : Node or None
        The contraction; None where the stage only changes a tensor.
    source : str
        Node whose value is contracted (behind `presum`, the pooled one).
    presum : Node or None
        An average pooling that the contraction takes in.
    chain : tuple of Node
        Absorbed nodes in order.
    """

    root: Node | None
    source: str
    presum: Node | None
    chain: tuple[Node, ...]

    @property
    def first(self) -> Node:
        """The node that names the stage."""
        return self.root or self.chain[0]

    @property
    def value(self) -> str:
        """Name of the node whose value the sinks see."""
        return self.chain[-1].name if self.chain else self.first.name

    def skips(self) -> list[str]:
        """Nodes whose values are added, in order."""
        found: list[str] = []
        current = self.root.name if self.root else self.source
        for node in self.chain:
            if isinstance(node.op, ops.Add):
                found.append(_other(node, current))
            current = node.name
        return found

    def gate(self) -> Node | None:
        """The node that scales the accumulators, if there is one."""
        return next((node for node in self.chain if isinstance(node.op, ops.Scale)), None)


def _other(node: Node, current: str) -> str:
    left, right = node.operands
    return right if left == current else left


class Partition:
    """Drafts of a Graph in the order in which they run.

    Parameters
    ----------
    graph : Graph
        Canonical.

    Raises
    ------
    UnsupportedOpError
        Listing every node that no stage can take.
    """

    def __init__(self, graph: Graph) -> None:
        """Find the drafts, or list what is in the way."""
        self.graph = graph
        self.rank = {node.name: index for index, node in enumerate(graph.nodes())}
        self.views = {node.name for node in reversed(graph.nodes()) if self._is_view(node)}
        self.input_view = self._find_input_view()
        self.takers: dict[str, str] = {}
        for node in graph.nodes():
            if taker := self._taker_of_add(node):
                self.takers[node.name] = taker
        self.drafts = self._in_order(self._find_drafts())
        self.producer = {draft.value: draft for draft in self.drafts}

    # --------------------------------------------------------------------------------- the rules

    def _is_view(self, node: Node) -> bool:
        """Tell whether a follower never needs to exist as a tensor; users are judged first."""
        if not isinstance(node.op, FOLLOWERS):
            return False
        users = self.graph.users(node.name)
        if all(isinstance(user.op, ops.Sign) or self._signs_only(user) for user in users):
            return bool(users)
        if not isinstance(node.op, ops.BatchNorm):
            return False
        readers = (ops.Sign, *MEANS)
        (operand,) = self.graph.operands(node.name)
        shared = len(self.graph.users(operand.name)) > 1
        stored = isinstance(operand.op, ops.Add | ops.MaxPool2d | ops.PRelu | ops.Relu)
        fits = all(isinstance(user.op, readers) or self._signs_only(user) for user in users)
        return bool(users) and fits and (shared or stored)

    def _signs_only(self, node: Node) -> bool:
        if isinstance(node.op, ops.Sign):
            return True
        users = self.graph.users(node.name)
        return isinstance(node.op, FOLLOWERS) and bool(users) and all(map(self._signs_only, users))

    def _find_input_view(self) -> list[Node]:
        """Find the batch norms that normalise the frame before the first convolution."""
        found: list[Node] = []
        (current,) = self.graph.inputs
        while len(users := self.graph.users(current.name)) == 1:
            (current,) = users
            if not isinstance(current.op, ops.BatchNorm) or current.name in self.views:
                break
            found.append(current)
        return found

    def _may_end_in_add(self, name: str) -> bool:
        node = self.graph[name]
        if len(self.graph.users(name)) != 1 or name in self.views:
            return False
        return isinstance(node.op, ABSORBING)

    def _root_of(self, name: str) -> Node:
        """Follow the main operand back to where the draft begins."""
        node = self.graph[name]
        while isinstance(node.op, (*FOLLOWERS, ops.Scale, ops.Add)):
            name = self.takers.get(node.name, node.operands[0]) if node.operands else ""
            operand = self.graph[name]
            if not self._absorbs(operand.name, node):
                return node
            node = operand
        return node

    def _taker_of_add(self, node: Node) -> str | None:
        """Operand of an Add whose draft performs it; the other operand is stored before."""
        if not isinstance(node.op, ops.Add) or node.operands[0] == node.operands[1]:
            return None
        free = [name for name in node.operands if self._may_end_in_add(name)]

        def preference(name: str) -> tuple[bool, bool, int]:
            root = self._root_of(name)
            is_binary = isinstance(root.op, ops.BinaryConv2d)
            return is_binary, isinstance(root.op, ROOTS), self.rank[root.name]

        return max(free, key=preference) if free else None

    def _absorbs(self, current: str, user: Node) -> bool:
        """Tell whether the draft that ends with `current` takes its user in."""
        if len(self.graph.users(current)) != 1 or current in self.views or user.name in self.views:
            return False
        if not isinstance(self.graph[current].op, ABSORBING):
            return False
        match user.op:
            case ops.Scale():
                factor = self.graph[user.operands[1]]
                return user.operands[0] == current and isinstance(factor.op, ops.Gate)
            case ops.Add():
                return self.takers.get(user.name) == current
            case ops.MaxPool2d():
                return True
            case _:
                return isinstance(user.op, FOLLOWERS)

    # -------------------------------------------------------------------------------- the drafts

    def _find_drafts(self) -> list[Draft]:
        drafts: list[Draft] = []
        taken = set(self.views) | {node.name for node in self.input_view}
        for node in self.graph.nodes():
            if node.name in taken or not isinstance(node.op, (*ROOTS, *FOLLOWERS, ops.Add)):
                continue
            if self._is_presum(node) or any(
                self._absorbs(operand, node) for operand in node.operands
            ):
                continue
            draft = self._grow(node)
            taken |= {item.name for item in (draft.first, *draft.chain)}
            drafts.append(draft)
        return drafts

    def _is_presum(self, node: Node) -> bool:
        users = self.graph.users(node.name)
        plain = isinstance(node.op, ops.AvgPool2d) and not any(node.op.padding)
        return plain and len(users) == 1 and isinstance(users[0].op, ops.Conv2d)

    def _grow(self, node: Node) -> Draft:
        chain: list[Node] = []
        current = node
        while users := self.graph.users(current.name):
            if not self._absorbs(current.name, users[0]):
                break
            current = users[0]
            chain.append(current)
        if not isinstance(node.op, ROOTS):
            return Draft(None, node.operands[0], None, (node, *chain))
        operand = self.graph[node.operands[0]]
        presum = operand if self._is_presum(operand) else None
        source = presum.operands[0] if presum else operand.name
        return Draft(node, source, presum, tuple(chain))

    def base(self, name: str) -> tuple[str, list[Node]]:
        """Value that a node reads through views, and those views in order."""
        path: list[Node] = []
        while name in self.views:
            path.insert(0, self.graph[name])
            name = self.graph[name].operands[0]
        return name, path

    def needs(self, draft: Draft) -> set[str]:
        """Values that must exist before a draft runs."""
        found = set(draft.skips())
        source = self.graph[draft.source]
        found.add(
            self.base(source.operands[0])[0] if isinstance(source.op, ops.Sign) else source.name
        )
        scale = draft.gate()
        if scale is not None:
            found.add(self.base(self.graph[scale.operands[1]].operands[0])[0])
        return found

    def _in_order(self, drafts: list[Draft]) -> list[Draft]:
        """Sort by need, then by the Graph's order; what the user sees as first runs first."""
        waiting, done, order = list(drafts), set[str](), list[Draft]()
        produced = {draft.value for draft in drafts}
        while waiting:
            ready = [d for d in waiting if not (self.needs(d) & produced) - done]
            chosen = min(ready, key=lambda draft: self.rank[draft.first.name])
            waiting.remove(chosen)
            done.add(chosen.value)
            order.append(chosen)
        return order

    def covered(self) -> set[str]:
        """Names of all nodes that some draft, view or presum stands for."""
        names = self.views | {node.name for node in self.input_view}
        for draft in self.drafts:
            nodes = (draft.first, *draft.chain, *((draft.presum,) if draft.presum else ()))
            names |= {node.name for node in nodes}
        return names


def refuse(problems: list[tuple[Node, str]]) -> None:
    """Raise one error for all nodes that cannot be lowered; nothing if there are none."""
    if not problems:
        return
    lines = [f"  {node.location}: {type(node.op).__name__}: {why}" for node, why in problems]
    count = f"{len(problems)} operation{'s' if len(problems) > 1 else ''}"
    raise UnsupportedOpError(
        f"{count} of the network cannot be turned into integer stages:\n" + "\n".join(lines)
    )
