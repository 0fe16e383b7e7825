"""Weights that are exactly 0 where their sign is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    Arithmetic,
    Convolution,
    Dense,
    Flatten,
    MaxPool2d,
    Op,
    Pad,
    Reshape,
    Sign,
    Unary,
)
from r2b.ir.passes.infrastructure import Pass
from r2b.ir.passes.piecewise import Tables
from r2b.ir.types import DType

SignZero = Literal[-1, 1]

_CARRIES: tuple[type[Op], ...] = (Arithmetic, Unary, Pad, Reshape, Flatten, MaxPool2d)
"""Operations through which a bipolar tensor stays bipolar up to a scale and a border."""


@dataclass(frozen=True)
class ResolveSignZeros(Pass):
    """``sign(w)`` that gives 0 for a weight of 0 is decided, where the layer would be binary.

    1. no weight is 0: nothing to decide
    2. ``sign_zero`` is given: it is what the sign of 0 gives
    3. it is not: all layers are listed, with the number of such weights
    4. the other operand of the layer is real: its weights may be 0

    Parameters
    ----------
    sign_zero : -1, +1 or None
    """

    sign_zero: SignZero | None = None
    name: ClassVar[str] = "resolve-sign-zeros"

    def call(self, graph: Graph) -> bool:
        """Decide all signs, or raise for all layers."""
        tables = Tables(graph)
        found: list[tuple[Node, int, int]] = []
        modified = False
        for layer in graph.nodes():
            if not isinstance(layer.op, Convolution | Dense) or not _binary_operand(graph, layer):
                continue
            for sign in _signs(graph, layer.operands[1]):
                values = tables.number_of(graph.operands(sign.name)[0])
                zeros = 0 if values is None else int(np.count_nonzero(values == 0))
                if zeros and values is not None and self.sign_zero is None:
                    found.append((layer, zeros, values.size))
                elif zeros and self.sign_zero is not None:
                    graph.replace(sign.name, Sign(self.sign_zero))
                    modified = True
        if found:
            raise UnsupportedOpError(zeros_message(found))
        return modified


def zeros_message(found: list[tuple[Node, int, int]]) -> str:
    """Text of the error for layers with weights of 0: layer, zeros, weights."""
    lines = "\n".join(
        f"  {layer.location.module_path or layer.name}: {zeros} of {total} weights are 0"
        + (f" ({layer.location.source})" if layer.location.source else "")
        for layer, zeros, total in found
    )
    return (
        f"the sign of a weight that is exactly 0 is 0 in the model, and a binary weight is -1 or "
        f"+1:\n{lines}\n"
        "Give --sign-zero +1 or --sign-zero -1 to say which one it becomes, "
        "or change these weights in the model."
    )


def _signs(graph: Graph, weight: str) -> list[Node]:
    """Signs that give 0 for 0, between parameters and a weight."""
    found: list[Node] = []
    stack, seen = [weight], {weight}
    while stack:
        node = graph[stack.pop()]
        if node.type.batched:
            continue
        if isinstance(node.op, Sign) and node.op.zero == 0:
            found.append(node)
        stack += [operand for operand in node.operands if operand not in seen]
        seen |= set(node.operands)
    return found


def _binary_operand(graph: Graph, layer: Node) -> bool:
    """The tensor a layer takes is bipolar, maybe with a scale or a border."""
    node = graph[layer.operands[0]]
    while node.type.dtype is not DType.BIPOLAR:
        sources = [operand for operand in graph.operands(node.name) if operand.type.batched]
        scales = not isinstance(node.op, Arithmetic) or node.op.kind in ("mul", "div")
        if not isinstance(node.op, _CARRIES) or not scales or len(sources) != 1:
            return False
        node = sources[0]
    return True
