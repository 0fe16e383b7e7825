"""A scale in front of a layer becomes part of its weight, so that the operand is bipolar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BatchNorm, Conv2d, Flatten, FloatArray, Linear
from r2b.ir.rewrite import RewritePass
from r2b.ir.types import DType


@dataclass(frozen=True)
class FoldOperandScale(RewritePass):
    """``layer(a * sign(x))`` -> ``layer'(sign(x))``.

    1. Conv2d, Linear of a BatchNorm without offset, of any sign, of a bipolar tensor
    2. Linear of the Flatten of such
    3. scales that differ between input channels are folded too; the layer is real then, unless it
       is depthwise
    """

    name: ClassVar[str] = "fold-operand-scale"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Fold the scale in front of one layer."""
        if not isinstance(node.op, Conv2d | Linear):
            return False
        operand = graph.operands(node.name)[0]
        is_flat = isinstance(operand.op, Flatten)
        found = _scale_of(graph, graph.operands(operand.name)[0] if is_flat else operand)
        if found is None:
            return False
        source, factor = found
        if is_flat:
            factor = np.repeat(factor, int(np.prod(source.type.shape[2:])))
            source = graph.add(Flatten(), [source.name], name=f"{node.name}_flat", near=node.name)
        elif isinstance(node.op, Linear) and len(source.type.shape) != 2:
            return False
        graph.replace(node.name, _scaled(node.op, factor), [source.name])
        return True


def _scale_of(graph: Graph, node: Node) -> tuple[Node, FloatArray] | None:
    """Bipolar tensor and the product of the scales on it."""
    factor = np.ones(())
    while isinstance(node.op, BatchNorm) and not np.any(node.op.offset):
        factor = factor * node.op.multiplier
        node = graph.operands(node.name)[0]
    is_scaled = factor.ndim == 1 and bool(np.all(factor != 0))
    return (node, factor) if is_scaled and node.type.dtype is DType.BIPOLAR else None


def _scaled(op: Conv2d | Linear, factor: FloatArray) -> Conv2d | Linear:
    if isinstance(op, Linear):
        return replace(op, weight=op.weight * factor)
    outputs, inputs, *kernel = op.weight.shape
    grouped = op.weight.reshape(op.groups, outputs // op.groups, inputs, *kernel)
    by_group = factor.reshape(op.groups, 1, inputs, 1, 1)
    return replace(op, weight=(grouped * by_group).reshape(op.weight.shape))
