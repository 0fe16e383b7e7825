"""Which nodes of the canonical Graph make one stage.

A **draft** is a contraction (its root) and the nodes absorbed behind it: batch norm, activation,
scale, skip add, at the end a max pooling. The value of its last node is what its sinks see. Where
no contraction precedes, the stage begins with a stored value as it is.
A node between a value and a sign, a gate or the head that never needs to exist as a tensor (a batch
norm, mostly) is a **view**: it is folded into the sign's threshold or the means' normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.head import Head

FOLDED = (ops.BatchNorm, ops.PRelu, ops.Relu, ops.Hardtanh)
"""What a threshold takes in."""
TABLES = (ops.Sigmoid, ops.Activation)
FOLLOWERS = (*FOLDED, *TABLES, ops.SpatialScale)
RISING = ("tanh", "hardsigmoid", "elu", "softplus")
"""Activations that keep the order of values, so that a threshold takes them in."""
MEANS = (ops.Gate, ops.GlobalAvgPool)
CONVS = (ops.Conv2d, ops.BinaryConv2d)
MOVES = (ops.Pad, ops.Concat, ops.Reshape)
ROOTS = (*CONVS, ops.MaxPool2d, ops.AvgPool2d, *MOVES)
ABSORBING = (*CONVS, ops.AvgPool2d, *MOVES, ops.Scale, ops.Add, *FOLLOWERS)
"""Behind these a draft may go on; the maximum over a window comes last in a stage."""


@dataclass(frozen=True)
class Draft:
    """A stage before its numbers are known.

    Parameters
    ----------
    root : Node or None
        The contraction; None where the stage only changes a value.
    source : str
        Node whose value is contracted (behind `presum`, the pooled one); the first of a Concat.
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

    def sources(self) -> list[str]:
        """Nodes whose values are contracted."""
        if self.root is not None and isinstance(self.root.op, ops.Concat):
            return list(self.root.operands)
        return [self.source]

    def others(self) -> dict[str, str]:
        """For each absorbed node of two operands, the one that does not come along the chain."""
        found: dict[str, str] = {}
        current = self.root.name if self.root else self.source
        for node in self.chain:
            if isinstance(node.op, ops.Add | ops.Scale):
                found[node.name] = _other(node, current)
            current = node.name
        return found

    def scales(self) -> list[Node]:
        """Absorbed nodes that multiply by a factor of the frame's, in order."""
        return [node for node in self.chain if isinstance(node.op, ops.Scale)]


def _other(node: Node, current: str) -> str:
    left, right = node.operands
    return right if left == current else left


class Partition:
    """Drafts of a Graph in the order in which they run.

    Parameters
    ----------
    graph : Graph
        Legal.
    head : Head
    solid : set of str
        Nodes that must exist as tensors, though only signs or means read them.
    """

    def __init__(self, graph: Graph, head: Head, solid: frozenset[str] = frozenset()) -> None:
        """Find the drafts."""
        self.graph, self.head = graph, head
        self.frame = graph.inputs[0].name
        self.rank = {node.name: index for index, node in enumerate(graph.nodes())}
        self.views, self._sign_views = set[str](), set[str]()
        for node in reversed(graph.nodes()):
            self._judge(node, solid)
        self.input_view = self._find_input_view()
        self.takers: dict[str, str] = {}
        for node in graph.nodes():
            if taker := self._taker_of_add(node):
                self.takers[node.name] = taker
        self.drafts = self._in_order(self._find_drafts())

    # --------------------------------------------------------------------------------- the rules

    def _judge(self, node: Node, solid: frozenset[str]) -> None:
        """Find out whether a node never needs to exist as a tensor; users are judged first."""
        (operand, *_) = [*self.graph.operands(node.name), None]
        users = self.graph.users(node.name)
        if operand is None or node.name in solid or not users:
            return
        if isinstance(operand.op, ops.Input | ops.Sign):
            return
        if _folds(node.op) and all(map(self._signs_only, users)):
            self._sign_views.add(node.name)
            self.views.add(node.name)
        elif isinstance(node.op, ops.BatchNorm):
            shared = len(self.graph.users(operand.name)) > 1
            stored = isinstance(operand.op, ops.Add | ops.MaxPool2d | ops.PRelu | ops.Relu)
            fits = all(self._signs_only(user) or isinstance(user.op, MEANS) for user in users)
            if fits and (shared or stored):
                self.views.add(node.name)

    def _signs_only(self, node: Node) -> bool:
        return isinstance(node.op, ops.Sign) or node.name in self._sign_views

    def _find_input_view(self) -> list[Node]:
        """Find the batch norms that normalise the frame before the first convolution."""
        found: list[Node] = []
        current = self.graph[self.frame]
        while len(users := self.graph.users(current.name)) == 1:
            if not isinstance(users[0].op, ops.BatchNorm):
                break
            (current,) = users
            found.append(current)
        users = [user for user in self.graph.users(current.name) if self._is_conv(user)]
        return found if len(users) == len(self.graph.users(current.name)) else []

    def _is_conv(self, node: Node) -> bool:
        return isinstance(node.op, ops.Conv2d) and node.name not in self.head.path

    def is_frame(self, name: str) -> bool:
        """Tell whether a value is the frame, normalised or not."""
        return name == self.frame or name in {node.name for node in self.input_view}

    def _may_end_in_add(self, name: str) -> bool:
        node = self.graph[name]
        if len(self.graph.users(name)) != 1 or name in self.views:
            return False
        return isinstance(node.op, ABSORBING)

    def _root_of(self, name: str) -> Node:
        """Follow the main operand back to where the draft begins."""
        node = self.graph[name]
        while isinstance(node.op, (*FOLLOWERS, ops.Scale, ops.Add)):
            name = self.takers.get(node.name, node.operands[0])
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
                return user.operands[0] == current != user.operands[1]
            case ops.Add():
                return self.takers.get(user.name) == current
            case ops.MaxPool2d():
                return True
            case _:
                return isinstance(user.op, FOLLOWERS)

    # -------------------------------------------------------------------------------- the drafts

    def _find_drafts(self) -> list[Draft]:
        drafts: list[Draft] = []
        taken = self.views | self.head.path | {node.name for node in self.input_view}
        begins = (*ROOTS, *FOLLOWERS, ops.Add, ops.Scale)
        for node in self.graph.nodes():
            if node.name in taken or not isinstance(node.op, begins):
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
        return plain and len(users) == 1 and self._is_conv(users[0])

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
        found: set[str] = set()
        for name in [*draft.sources(), *draft.others().values()]:
            node = self.graph[name]
            is_read_behind = isinstance(node.op, ops.Sign | ops.Gate)
            found.add(self.base(node.operands[0])[0] if is_read_behind else name)
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

    def unfused_gates(self) -> frozenset[str]:
        """Gates that do more than scale the accumulators of one convolution each."""
        fused: dict[str, int] = {}
        for draft in self.drafts:
            is_conv = draft.root is not None and isinstance(draft.root.op, CONVS)
            gates = [node for node in draft.scales() if self._is_gated(node)]
            for node in gates[:1] if is_conv else []:
                if self.graph[node.operands[1]].type.channels != node.type.channels:
                    continue  # one factor for all channels
                fused[node.operands[1]] = fused.get(node.operands[1], 0) + 1
        gates = [node.name for node in self.graph.nodes() if isinstance(node.op, ops.Gate)]
        uses = {name: len(self.graph.users(name)) for name in gates}
        return frozenset(name for name in gates if fused.get(name, 0) != uses[name])

    def _is_gated(self, node: Node) -> bool:
        return isinstance(self.graph[node.operands[1]].op, ops.Gate)


def _folds(op: ops.Op) -> bool:
    """Tell whether a threshold takes an operation in."""
    if isinstance(op, ops.Activation):
        return op.kind in RISING
    return isinstance(op, (*FOLDED, ops.Sigmoid))


def refuse(problems: list[tuple[Node, str]]) -> None:
    """Raise one error for all nodes that cannot be lowered; nothing if there are none."""
    if not problems:
        return
    lines = [f"  {node.location}: {type(node.op).__name__}: {why}" for node, why in problems]
    count = f"{len(problems)} operation{'s' if len(problems) > 1 else ''}"
    raise UnsupportedOpError(
        f"{count} of the network cannot be turned into integer stages:\n" + "\n".join(lines)
    )
