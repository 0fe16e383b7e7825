"""A convolution with both operands proved bipolar becomes BinaryConv2d."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BatchNorm, BinaryConv2d, Conv2d, FloatArray
from r2b.ir.rewrite import RewritePass
from r2b.ir.types import DType

_DRIFT = 1e-6
"""Relative difference below which two magnitudes are one: what float32 arithmetic with a scale
leaves where the formula gives equal numbers. Trained weights that are not binary differ by much
more."""


@dataclass(frozen=True)
class RecognizeBinaryConvs(RewritePass):
    """Conv2d of a bipolar tensor, its weight a sign times one scale per output channel.

    1. without bias -> BinaryConv2d
    2. with bias -> BatchNorm(BinaryConv2d), the multiplier 1
    3. the weight has a zero, or two magnitudes in one channel: stays a real convolution
    4. the operand is not proved bipolar: stays a real convolution
    """

    name: ClassVar[str] = "recognize-binary-convs"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one convolution."""
        if not isinstance(node.op, Conv2d):
            return False
        if graph.operands(node.name)[0].type.dtype is not DType.BIPOLAR:
            return False
        scale = binary_scale(node.op.weight)
        if scale is None:
            return False
        _replace(graph, node, node.op, scale)
        return True


def binary_scale(weight: FloatArray) -> FloatArray | None:
    """Magnitude of the weights of each output channel; None if a channel has none or several."""
    magnitude = np.abs(weight.reshape(len(weight), -1))
    largest, smallest = magnitude.max(axis=1), magnitude.min(axis=1)
    if np.any(smallest <= 0) or np.any(largest - smallest > _DRIFT * largest):
        return None
    # the middle of a range that is a point but for drift, and then exactly that point
    return smallest + (largest - smallest) / 2


def _replace(graph: Graph, node: Node, conv: Conv2d, scale: FloatArray) -> None:
    weight = np.where(conv.weight > 0, 1, -1).astype(np.int8)
    binary = BinaryConv2d(weight, scale, conv.stride, conv.padding, conv.dilation, conv.groups)
    if conv.bias is None:
        graph.replace(node.name, binary)
        return
    inner = graph.add(binary, node.operands, name=f"{node.name}_binary", near=node.name)
    offset = BatchNorm.affine(np.ones_like(scale), conv.bias)
    graph.replace(node.name, offset, [inner.name])
