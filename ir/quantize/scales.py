"""One scale per channel for every group of values that must share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.arith import bounds
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.statistics import Pool

FloatArray = npt.NDArray[np.float64]

DEAD_SHARE = 1 / 64
"""A channel's scale is at least this share of the median channel's: a dead channel would otherwise
ask for a factor that leaves no bits to the others."""
UNIFORM = (ops.Hardtanh, ops.Sigmoid, ops.Activation)
"""Their bounds or entries are one number for all channels, and so is their scale."""

FRACTION_BITS = 12
"""Bits behind the point of values that are integers by construction, at most: a multiplier must
still hold the factor."""
LEAST_BOUND = 8
"""Steps of a tensor to the bound of its Hardtanh, at least."""


class ScaleTooFineError(Exception):
    """A stage would need larger multipliers than there are; caught by the quantizer.

    Parameters
    ----------
    name : str
        Node whose value has the scale.
    least : float64 [C]
        Smallest scale of each channel that works.
    """

    def __init__(self, name: str, least: FloatArray) -> None:
        """Keep what has to change."""
        super().__init__(name)
        self.name = name
        self.least = least


class Groups:
    """Values of a Graph that share one scale per channel.

    Operands and result of an Add, of a MaxPool2d and of an AvgPool2d that is no part of a
    convolution do, unless an average goes over the whole image.

    Parameters
    ----------
    graph : Graph
        Legal.
    presums : set of str
        Names of the AvgPool2d nodes inside a convolution's stage.
    """

    def __init__(self, graph: Graph, presums: set[str]) -> None:
        """Join the values."""
        self.graph = graph
        self._parent = {node.name: node.name for node in graph.nodes()}
        for node in graph.nodes():
            if self._joins(node) and node.name not in presums:
                for operand in graph.operands(node.name):
                    if not isinstance(operand.op, ops.Sign | ops.Input):
                        self._parent[self.find(operand.name)] = self.find(node.name)
        self._members: dict[str, list[Node]] = {}
        for node in graph.nodes():
            self._members.setdefault(self.find(node.name), []).append(node)

    def _joins(self, node: Node) -> bool:
        if isinstance(node.op, ops.Relu | ops.Hardtanh):
            # Behind a skip these are bounds of the sum, not steps of their own.
            return isinstance(self.graph[node.operands[0]].op, ops.Add)
        if isinstance(node.op, ops.AvgPool2d):
            # A mean over the image is far smaller than what it is the mean of.
            return node.type.shape[2:] != (1, 1)
        return isinstance(node.op, ops.Add | ops.MaxPool2d)

    def find(self, name: str) -> str:
        """Name that stands for a node's group."""
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def joined(self, name: str) -> list[Node]:
        """Give all nodes that share a scale with `name`."""
        return self._members[self.find(name)]

    def pools(self) -> frozenset[Pool]:
        """Values whose magnitudes the scales need together."""
        found: set[Pool] = set()
        for nodes in self._members.values():
            if not isinstance(nodes[0].op, ops.Sign | ops.Output):
                found |= {pool for pool in (_all(nodes), _closing(nodes)) if pool}
        return frozenset(found)


def _all(nodes: list[Node]) -> Pool:
    return tuple(node.name for node in nodes)


def _closing(nodes: list[Node]) -> Pool:
    """What the group's ReLUs read: one that is closed for all frames has no magnitude itself."""
    return tuple(n.operands[0] for n in nodes if isinstance(n.op, ops.Relu | ops.PRelu))


class Scales:
    """Scale of each value of a Graph: ``real = integer * scale[c]``.

    The PERCENTILE of all magnitudes of a group together, divided by the largest integer. Values
    that are integers by construction (sums of signs, for example) have a power of two that holds
    them exactly; a Concat or a Reshape on its own has the scales of what it moves.

    Parameters
    ----------
    groups : Groups
    peaks : mapping of pool to float64 [C]
    act_bits : int
    """

    def __init__(self, groups: Groups, peaks: Mapping[Pool, FloatArray], act_bits: int) -> None:
        """Compute scales when they are asked for."""
        self._groups, self._peaks = groups, peaks
        self._largest = bounds(act_bits)[1]
        self._known: dict[str, FloatArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        """Scale per channel of the value of a node."""
        root = self._groups.find(name)
        if root not in self._known:
            self._known[root] = self._compute(self._groups.joined(name))
        return self._known[root]

    def of(self, name: str) -> Callable[[], FloatArray]:
        """Give the scale later, for callers that may not need it."""
        return lambda: self[name]

    def raise_to(self, name: str, least: FloatArray) -> bool:
        """Make a scale at least this coarse; tell whether that is possible and changes it."""
        nodes = self._groups.joined(name)
        raised = np.maximum(self[name], least)
        if any(isinstance(node.op, UNIFORM) for node in nodes):
            raised = np.full_like(raised, raised.max())
        limits = [max(abs(n.op.lo), abs(n.op.hi)) for n in nodes if isinstance(n.op, ops.Hardtanh)]
        if any(limit < LEAST_BOUND * raised.max() for limit in limits):
            return False
        changes = not np.array_equal(raised, self[name])
        self._known[self._groups.find(name)] = raised
        return changes

    def _compute(self, nodes: list[Node]) -> FloatArray:
        exact = self._power_of_two(nodes)
        if exact is not None:
            return np.full(nodes[0].type.channels, exact)
        if len(nodes) == 1 and isinstance(nodes[0].op, ops.Concat):
            return np.concatenate([self[name] for name in nodes[0].operands])
        if len(nodes) == 1 and isinstance(nodes[0].op, ops.Reshape):
            (operand,) = self._groups.graph.operands(nodes[0].name)
            return np.repeat(self[operand.name], int(np.prod(operand.type.shape[2:])))
        return self._measure(nodes)

    def _power_of_two(self, nodes: list[Node]) -> float | None:
        limits = [limit_of_integers(self._groups.graph, node) for node in nodes]
        known = [limit for limit in limits if limit is not None and limit <= self._largest]
        if len(known) < len(limits):
            return None
        room = (self._largest // max(*known, 1)).bit_length() - 1
        return 0.5 ** min(room, FRACTION_BITS)

    def _measure(self, nodes: list[Node]) -> FloatArray:
        peak = self._peaks[_all(nodes)]
        closing = _closing(nodes)
        if closing:
            peak = np.maximum(peak, DEAD_SHARE * self._peaks[closing])
        borders = [abs(node.op.value) for node in nodes if isinstance(node.op, ops.Pad)]
        peak = np.maximum(peak, max(borders, default=0.0))
        if any(isinstance(node.op, UNIFORM) for node in nodes):
            peak = np.full_like(peak, peak.max())
        alive = peak[peak > 0]
        floor = DEAD_SHARE * np.median(alive) if len(alive) else 1.0
        return np.maximum(peak, floor) / self._largest


def limit_of_integers(graph: Graph, node: Node) -> int | None:
    """Largest magnitude of a value that is an integer by construction; None for any other."""
    operands = graph.operands(node.name)
    match node.op:
        case ops.Sign():
            return 1
        case ops.BinaryConv2d(weight=weight, scale=scale) if np.all(np.abs(scale) == 1):
            return weight[0].size
        case ops.BatchNorm(multiplier=multiplier, offset=offset):
            is_copy = bool(np.all(multiplier == 1) and np.all(offset == 0))
            return limit_of_integers(graph, operands[0]) if is_copy else None
        case ops.Add():
            limits = [limit_of_integers(graph, operand) for operand in operands]
            return None if None in limits else sum(limit or 0 for limit in limits)
        case ops.Pad(value=value) if value != int(value):
            return None
        case ops.Conv2d() if selects(node.op):
            return limit_of_integers(graph, operands[0])
        case ops.Pad() | ops.MaxPool2d() | ops.Concat() | ops.Reshape() | ops.Relu():
            limits = [limit_of_integers(graph, operand) for operand in operands]
            border = int(abs(node.op.value)) if isinstance(node.op, ops.Pad) else 0
            return None if None in limits else max(border, *(limit or 0 for limit in limits), 0)
        case _:
            return None


def selects(op: ops.Conv2d) -> bool:
    """Tell whether every result of a convolution is one value of its operand, or 0."""
    taps = np.count_nonzero(op.weight.reshape(len(op.weight), -1), axis=1)
    return op.bias is None and bool(np.all(taps <= 1) and np.all(np.isin(op.weight, (0, 1))))
