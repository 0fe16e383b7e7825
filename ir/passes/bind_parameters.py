"""Parameters that are operands become fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    BatchNorm,
    Conv2d,
    Convolution,
    Dense,
    Linear,
    Normalization,
    Op,
    ParametricRelu,
    PRelu,
)
from r2b.ir.rewrite import RewritePass, constant_value


@dataclass(frozen=True)
class BindParameters(RewritePass):
    """An operation whose operands but the first are constants takes them as fields.

    1. Convolution -> Conv2d
    2. Dense -> Linear
    3. Normalization -> BatchNorm
    4. ParametricRelu -> PRelu, one slope repeated for all channels
    """

    name: ClassVar[str] = "bind-parameters"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Bind the parameters of one node."""
        if not isinstance(node.op, Convolution | Dense | Normalization | ParametricRelu):
            return False
        values = [constant_value(operand) for operand in graph.operands(node.name)[1:]]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return False
        graph.replace(node.name, _bound(node, known), node.operands[:1])
        return True


def _bound(node: Node, values: Sequence[np.ndarray]) -> Op:
    match node.op:
        case Convolution(stride, padding, dilation, groups):
            bias = values[1] if len(values) > 1 else None
            return Conv2d(values[0], bias, stride, padding, dilation, groups)
        case Dense():
            return Linear(values[0], values[1] if len(values) > 1 else None)
        case Normalization(eps):
            gamma, beta, mean, var = values
            return BatchNorm(gamma, beta, mean, var, eps)
        case _:
            return PRelu(np.broadcast_to(values[0].reshape(-1), (node.type.channels,)))
