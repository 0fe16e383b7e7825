"""Views move behind what can be computed on the image, until they vanish or reach a Linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    Activation,
    Add,
    BatchNorm,
    Conv2d,
    Flatten,
    Hardtanh,
    Linear,
    Op,
    PRelu,
    Relu,
    Reshape,
    Sigmoid,
    Sign,
)
from r2b.ir.rewrite import RewritePass

_UNIFORM = (Sign, Relu, Hardtanh, Sigmoid, Activation)


@dataclass(frozen=True)
class HoistViews(RewritePass):
    """Views of images as vectors, and of vectors as images.

    1. a view of a view is one view, and none if the shape is the same
    2. ``f(Flatten(x))`` -> ``Flatten(f(x))`` for f that acts on each element alike, or on each
       channel if these are 1 x 1
    3. a vector N x C seen as N x C x 1 x 1 is computed as one from the start: Linear is a Conv2d of
       1 x 1, everything per element or channel remains what it is
    """

    name: ClassVar[str] = "hoist-views"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Rewrite one view, or one operation on a view."""
        if not node.operands:
            return False
        operand = graph[node.operands[0]]
        if isinstance(node.op, Reshape | Flatten):
            return _collapse(graph, node, operand) or _as_image(graph, node, operand)
        if not isinstance(operand.op, Flatten):
            return False
        image = graph.operands(operand.name)[0]
        op = _on_image(node.op, image)
        if op is None:
            return False
        made = graph.add(op, [image.name], name=f"{node.name}_image", near=node.name)
        graph.replace(node.name, Flatten(), [made.name])
        return True


def _collapse(graph: Graph, node: Node, operand: Node) -> bool:
    if operand.type == node.type:
        graph.replace_uses(node.name, operand.name)
        graph.remove(node.name)
        return True
    if not isinstance(operand.op, Reshape | Flatten) or not node.type.batched:
        return False
    graph.replace(node.name, node.op, operand.operands)
    return True


def _on_image(op: Op, image: Node) -> Op | None:
    """Give the operation that does to an image what ``op`` does to its flat form."""
    if isinstance(op, _UNIFORM):
        return op
    if len(image.type.shape) < 2:
        return None
    channels, size = image.type.channels, int(np.prod(image.type.shape[2:]))
    match op:
        case PRelu(slope):
            rows = slope.reshape(channels, size)
            return PRelu(rows[:, 0]) if np.all(rows == rows[:, :1]) else None
        case BatchNorm():
            factor = op.multiplier.reshape(channels, size)
            offset = op.offset.reshape(channels, size)
            alike = np.all(factor == factor[:, :1]) and np.all(offset == offset[:, :1])
            if size == 1:
                return op
            return BatchNorm.affine(factor[:, 0], offset[:, 0]) if alike else None
        case _:
            return None


def _as_image(graph: Graph, node: Node, operand: Node) -> bool:
    shape = node.type.shape
    if len(operand.type.shape) != 2 or shape != (*operand.type.shape, 1, 1):
        return False
    image = _lifted(graph, operand.name)
    if image is None:
        return False
    graph.replace_uses(node.name, image)
    graph.remove(node.name)
    return True


def _lifted(graph: Graph, name: str) -> str | None:
    """Compute a vector as an image of 1 x 1; its own node becomes the view. None if it cannot."""
    node = graph[name]
    operands = graph.operands(name)
    if isinstance(node.op, Flatten | Reshape):
        wanted = (*node.type.shape, 1, 1)
        return operands[0].name if operands[0].type.shape == wanted else None
    op: Op = node.op
    if isinstance(op, Linear):
        op = Conv2d(op.weight[:, :, None, None], op.bias)
    elif not isinstance(op, (*_UNIFORM, BatchNorm, PRelu, Add)):
        return None
    images = [_lifted(graph, operand.name) for operand in operands]
    known = [image for image in images if image is not None]
    if len(known) < len(images):
        return None
    made = graph.add(op, known, name=f"{name}_image", near=name)
    graph.replace(name, Flatten(), [made.name])
    return made.name
