"""Every way to average an image becomes GlobalAvgPool, every even adaptive pooling AvgPool2d."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import AdaptiveAvgPool2d, AvgPool2d, Flatten, GlobalAvgPool, Mean, Op, Reshape
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeGlobalPooling(RewritePass):
    """Averages over images.

    1. ``x.mean((2, 3), keepdim=True)`` -> GlobalAvgPool
    2. ``x.mean((2, 3))``, and ``x.flatten(2).mean(2)`` -> Flatten(GlobalAvgPool)
    3. ``adaptive_avg_pool2d(x, 1)`` -> GlobalAvgPool; to a larger size -> AvgPool2d
    4. ``avg_pool2d(x, image size)`` -> GlobalAvgPool
    5. ``x.mean(3).mean(2)`` -> ``x.mean((2, 3))``
    """

    name: ClassVar[str] = "recognize-global-pooling"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one average."""
        match node.op:
            case Mean():
                return _replace_mean(graph, node, node.op)
            case AdaptiveAvgPool2d():
                graph.replace(node.name, _even_pool(graph, node))
                return True
            case AvgPool2d(padding=(0, 0, 0, 0)) if node.op.kernel == _image(graph, node):
                graph.replace(node.name, GlobalAvgPool())
                return True
            case _:
                return False


def _image(graph: Graph, node: Node) -> tuple[int, ...]:
    return graph.operands(node.name)[0].type.shape[2:]


def _replace_mean(graph: Graph, node: Node, op: Mean) -> bool:
    source = graph.operands(node.name)[0]
    if isinstance(source.op, Mean):
        return _merge_means(graph, node, op, source)
    if op.axes == (2,) and isinstance(source.op, Reshape):
        flat, source = source, graph.operands(source.name)[0]
        if len(flat.type.shape) != 3 or flat.type.channels != source.type.channels:
            return False
    elif op.axes != (2, 3):
        return False
    if not source.type.batched or len(source.type.shape) != 4:
        return False
    if node.type.shape == (1, source.type.channels, 1, 1):
        graph.replace(node.name, GlobalAvgPool(), [source.name])
        return True
    pooled = graph.add(GlobalAvgPool(), [source.name], name=f"{node.name}_pool", near=node.name)
    view = Flatten() if len(node.type.shape) == 2 else Reshape(node.type.shape)
    graph.replace(node.name, view, [pooled.name])
    return True


def _merge_means(graph: Graph, node: Node, outer: Mean, source: Node) -> bool:
    """Case 5: one average of rows of another, over all dimensions of both."""
    inner = source.op
    if not isinstance(inner, Mean) or inner.keepdim != outer.keepdim:
        return False
    rank = len(graph.operands(source.name)[0].type.shape)
    left = [axis for axis in range(rank) if inner.keepdim or axis not in inner.axes]
    axes = {*inner.axes, *(left[axis] for axis in outer.axes)}
    graph.replace(node.name, Mean(tuple(sorted(axes)), outer.keepdim), source.operands)
    return True


def _even_pool(graph: Graph, node: Node) -> Op:
    rows, columns = node.type.shape[2:]
    if (rows, columns) == (1, 1):
        return GlobalAvgPool()
    height, width = _image(graph, node)
    kernel = (height // rows, width // columns)
    return AvgPool2d(kernel, kernel)
