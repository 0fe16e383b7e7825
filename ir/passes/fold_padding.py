"""A border around an image becomes the padding of the operation that reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    AvgPool2d,
    BinaryConv2d,
    Conv2d,
    Convolution,
    Hardtanh,
    MaxPool2d,
    Op,
    Pad,
    Padding,
    Relu,
    Sigmoid,
)
from r2b.ir.rewrite import RewritePass
from r2b.ir.types import DType


@dataclass(frozen=True)
class FoldPadding(RewritePass):
    """Pad in front of a window.

    1. of 0 in front of a convolution -> its padding is larger
    2. of -1 or +1 in front of a binary convolution without padding, or with the same
       -> ``padding_value``
    3. of 0 in front of an average over whole windows -> padding that counts
    4. of a value that no pixel is below, in front of MaxPool2d whose windows all meet the image
       -> its padding
    5. a border around a border of the same value -> one border
    """

    name: ClassVar[str] = "fold-padding"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Fold the border in front of one operation."""
        if not node.operands:
            return False
        pad = graph[node.operands[0]]
        if not isinstance(pad.op, Pad):
            return False
        image = graph.operands(pad.name)[0]
        folded = _folded(node.op, pad.op, image)
        if folded is None:
            return False
        graph.replace(node.name, folded, [image.name, *node.operands[1:]])
        return True


def _folded(op: Op, pad: Pad, image: Node) -> Op | None:
    match op:
        case Conv2d() | Convolution() if pad.value == 0:
            return replace(op, padding=_sum(op.padding, pad.padding))
        case BinaryConv2d(padding_value=value):
            return _binary(op, pad) if not any(op.padding) or value == pad.value else None
        case AvgPool2d() if pad.value == 0 and (op.count_include_pad or not any(op.padding)):
            padding = _sum(op.padding, pad.padding)
            return replace(op, padding=padding, count_include_pad=True)
        case MaxPool2d() if pad.value <= _lower_bound(image):
            padding = _sum(op.padding, pad.padding)
            meets = all(size < op.kernel[axis % 2] for axis, size in enumerate(padding))
            return replace(op, padding=padding) if meets else None
        case Pad(value=value) if value == pad.value:
            return replace(op, padding=_sum(op.padding, pad.padding))
        case _:
            return None


def _binary(op: BinaryConv2d, pad: Pad) -> BinaryConv2d | None:
    padding = _sum(op.padding, pad.padding)
    for value in (-1, 0, 1):
        if pad.value == value:
            return replace(op, padding=padding, padding_value=value)
    return None


def _sum(left: Padding, right: Padding) -> Padding:
    top, first, bottom, last = (a + b for a, b in zip(left, right, strict=True))
    return top, first, bottom, last


def _lower_bound(image: Node) -> float:
    """Number that no pixel of an image is below."""
    if image.type.dtype is DType.BIPOLAR:
        return -1.0
    match image.op:
        case Relu() | Sigmoid():
            return 0.0
        case Hardtanh(lo):
            return lo
        case _:
            return -np.inf
