"""Memory: what a network stores between frames, and what it holds while it computes one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Constant, Expand, Flatten, Identity, Normalization, Output, Reshape
from r2b.ir.types import DType
from r2b.ir.written import BINARY, Operands, Written

_VIEWS = (Reshape, Flatten, Expand, Identity, Output)
"""Operations whose result is their operand, in no memory of its own."""


@dataclass(frozen=True)
class Stored:
    """Values that are the same for every frame.

    Parameters
    ----------
    binary : int
        Binary weights, a bit each.
    real : int
        All other: real weights, scales, biases, slopes; two for each channel of a batch norm, its
        factor and its summand.
    """

    binary: int = 0
    real: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.binary + other.binary, self.real + other.real)

    @property
    def values(self) -> int:
        """Number of all."""
        return self.binary + self.real

    def bits(self, real_bits: int) -> int:
        """Memory."""
        return self.binary + self.real * real_bits


def stored_by_node(written: Written) -> dict[str, Stored]:
    """What every operation stores; a value that several share belongs to the first of them."""
    taken: set[str] = set()
    return {node.name: _stored(written, node, taken) for node in written.graph.nodes()}


def _stored(written: Written, node: Node, taken: set[str]) -> Stored:
    total = Stored()
    for place, operand in enumerate(written.graph.operands(node.name)):
        if operand.name in written.parameters and operand.name not in taken:
            taken.add(operand.name)
            total += _of_operand(written.operands.get(node.name), node, place, operand)
    return total


def _of_operand(layer: Operands | None, node: Node, place: int, operand: Node) -> Stored:
    size = prod(operand.type.shape)
    if isinstance(node.op, Normalization):
        # gamma, beta, mean and var are a factor and a summand once training is over
        return Stored(real=size) if place in (1, 2) else Stored()
    if layer is not None and place == 1 and layer.weight == BINARY:
        scales = 0 if layer.scale is None else len(np.unique(layer.scale))
        return Stored(binary=size, real=scales)
    return Stored(real=size)


def output_bits(node: Node, real_bits: int) -> int:
    """Memory of an operation's result for one frame: a bit for a sign, none for a view."""
    if isinstance(node.op, (*_VIEWS, Constant)):
        return 0
    return prod(node.type.shape) * (1 if node.type.dtype is DType.BIPOLAR else real_bits)


def peak_bits(graph: Graph, real_bits: int) -> int:
    """Most memory that is held at once, the operations in the graph's order.

    A value is held from the operation that makes it to the last that reads it or a view of it; at
    each operation both its operands and its result are held.
    """
    order = [node for node in graph.nodes() if not isinstance(node.op, Constant)]
    owner = {node.name: node.name for node in order}
    last: dict[str, int] = {}
    for step, node in enumerate(order):
        values = [owner[name] for name in node.operands if name in owner]
        if isinstance(node.op, _VIEWS):
            owner[node.name] = values[0]
        last.update(dict.fromkeys((*values, owner[node.name]), step))
    held, peak = 0, 0
    ends: dict[int, int] = {}
    for step, node in enumerate(order):
        size = output_bits(node, real_bits)
        held += size
        peak = max(peak, held)
        ends[last[owner[node.name]]] = ends.get(last[owner[node.name]], 0) + size
        held -= ends.pop(step, 0)
    return peak
