"""Arithmetic with one number per channel becomes a BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, BatchNorm, FloatArray, Unary
from r2b.ir.rewrite import RewritePass, constant_value, per_channel


@dataclass(frozen=True)
class RecognizeChannelAffine(RewritePass):
    """An affine map of a value per frame, by constants that vary along channels only.

    1. ``x * c`` and ``x / c``: a scale
    2. ``x + c``, ``x - c``, ``c - x``: a bias, a learnable threshold
    3. ``-x``
    """

    name: ClassVar[str] = "recognize-channel-affine"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one operation."""
        if not node.type.batched or len(node.type.shape) < 2:
            return False
        if node.op == Unary("neg"):
            ones = np.ones(node.type.channels)
            graph.replace(node.name, BatchNorm.affine(-ones, 0 * ones))
            return True
        if not isinstance(node.op, Arithmetic):
            return False
        return _replace(graph, node, node.op.kind)


def _replace(graph: Graph, node: Node, kind: str) -> bool:
    left, right = graph.operands(node.name)
    swapped = constant_value(left) is not None
    tensor, constant = (right, left) if swapped else (left, right)
    value = constant_value(constant)
    if value is None or tensor.type.shape != node.type.shape:
        return False
    spread = per_channel(value.astype(np.float64), len(node.type.shape), node.type.channels)
    found = None if spread is None else _affine(kind, spread, swapped)
    if found is None:
        return False
    graph.replace(node.name, found, [tensor.name])
    return True


def _affine(kind: str, value: FloatArray, swapped: bool) -> BatchNorm | None:
    """Build ``x . value``, or ``value . x`` if swapped; None where that is not affine."""
    ones, zeros = np.ones_like(value), np.zeros_like(value)
    match kind, swapped:
        case "mul", _:
            return BatchNorm.affine(value, zeros)
        case "add", _:
            return BatchNorm.affine(ones, value)
        case "sub", False:
            return BatchNorm.affine(ones, -value)
        case "sub", True:
            return BatchNorm.affine(-ones, value)
        case "div", False if np.all(value != 0):
            return BatchNorm.affine(1 / value, zeros)
        case _:
            return None
