"""An average over channels becomes a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Conv2d, Mean, Reshape
from r2b.ir.rewrite import RewritePass


@dataclass(frozen=True)
class RecognizeChannelMeans(RewritePass):
    """The average over channels, of which the K of XNOR-Net is made.

    1. ``x.mean(1, keepdim=True)`` -> Conv2d of weight 1/C
    2. ``x.mean(1)`` -> a view of that
    """

    name: ClassVar[str] = "recognize-channel-means"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Replace one average."""
        if not isinstance(node.op, Mean) or node.op.axes != (1,):
            return False
        source = graph.operands(node.name)[0].type
        if not source.batched or len(source.shape) != 4:
            return False
        conv = Conv2d(np.full((1, source.channels, 1, 1), 1 / source.channels))
        if node.op.keepdim:
            graph.replace(node.name, conv)
            return True
        made = graph.add(conv, node.operands, name=f"{node.name}_map", near=node.name)
        graph.replace(node.name, Reshape(node.type.shape), [made.name])
        for view in graph.users(node.name):
            if isinstance(view.op, Reshape):
                graph.replace(view.name, view.op, [made.name])
        return True
