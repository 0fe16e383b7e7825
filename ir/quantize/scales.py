"""One scale per channel for every group of values that must share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.arith import bounds
from r2b.ir.graph import Graph, Node

FloatArray = npt.NDArray[np.float64]

PERCENTILE = 99.99
DEAD_SHARE = 1 / 64
"""A channel's scale is at least this share of the median channel's: a dead channel would otherwise
ask for a factor that leaves no bits to the others."""


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


class Scales:
    """Scale of each value of a Graph: ``real = integer * scale[c]``.

    Operands and result of an Add, of a MaxPool2d and of an AvgPool2d that is no part of a
    convolution share one scale per channel: the PERCENTILE of all their magnitudes together,
    divided by the largest integer. Where a Hardtanh is among them all channels have one scale,
    since its bounds are one number each.

    Parameters
    ----------
    graph : Graph
    values : mapping of name to array
        Float value of each node on the calibration frames.
    presums : set of str
        Names of the AvgPool2d nodes inside a convolution's stage.
    act_bits : int
    """

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, FloatArray],
        presums: set[str],
        act_bits: int,
    ) -> None:
        """Join the values; scales are computed when asked for."""
        self._graph = graph
        self._values = values
        self._largest = bounds(act_bits)[1]
        self._parent = {node.name: node.name for node in graph.nodes()}
        self._known: dict[str, FloatArray] = {}
        for node in graph.nodes():
            if self._joins(node) and node.name not in presums:
                for operand in node.operands:
                    self._parent[self._find(operand)] = self._find(node.name)

    def __getitem__(self, name: str) -> FloatArray:
        """Scale per channel of the value of a node."""
        root = self._find(name)
        if root not in self._known:
            self._known[root] = self._measure(self.joined(name))
        return self._known[root]

    def of(self, name: str) -> Callable[[], FloatArray]:
        """Give the scale later, for callers that may not need it."""
        return lambda: self[name]

    def raise_to(self, name: str, least: FloatArray) -> bool:
        """Make a scale at least this coarse; tell whether that is possible and changes it."""
        nodes = self.joined(name)
        if any(isinstance(node.op, ops.Hardtanh) for node in nodes):
            return False
        raised = np.maximum(self[name], least)
        changes = not np.array_equal(raised, self[name])
        self._known[self._find(name)] = raised
        return changes

    def joined(self, name: str) -> list[Node]:
        """Give all nodes that share a scale with `name`."""
        root = self._find(name)
        return [node for node in self._graph.nodes() if self._find(node.name) == root]

    def _joins(self, node: Node) -> bool:
        if isinstance(node.op, ops.Relu | ops.Hardtanh):
            # Behind a skip these are bounds of the sum, not steps of their own.
            return isinstance(self._graph[node.operands[0]].op, ops.Add)
        return isinstance(node.op, ops.Add | ops.MaxPool2d | ops.AvgPool2d)

    def _find(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def _measure(self, nodes: list[Node]) -> FloatArray:
        peak = self._peak([node.name for node in nodes])
        # A ReLU that is closed for all calibration frames has no magnitude; what it reads has one.
        closing = [node for node in nodes if isinstance(node.op, ops.Relu | ops.PRelu)]
        if closing:
            read = self._peak([node.operands[0] for node in closing])
            peak = np.maximum(peak, DEAD_SHARE * read)
        if any(isinstance(node.op, ops.Hardtanh) for node in nodes):
            peak = np.full_like(peak, peak.max())
        alive = peak[peak > 0]
        floor = DEAD_SHARE * np.median(alive) if len(alive) else 1.0
        return np.maximum(peak, floor) / self._largest

    def _peak(self, names: list[str]) -> FloatArray:
        """Percentile of the magnitudes of several values together, per channel."""
        arrays = [np.abs(self._values[name]) for name in names]
        flat = [array.swapaxes(0, 1).reshape(array.shape[1], -1) for array in arrays]
        return np.percentile(np.concatenate(flat, axis=1), PERCENTILE, axis=1)
