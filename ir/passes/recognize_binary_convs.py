"""A layer with both operands proved bipolar becomes BinaryConv2d or BinaryLinear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    Conv2d,
    Flatten,
    FloatArray,
    Linear,
    MaxPool2d,
    Output,
    Pad,
    Sign,
    Softmax,
)
from r2b.ir.passes.infrastructure import Pass
from r2b.ir.passes.resolve_sign_zeros import SignZero, zeros_message
from r2b.ir.rewrite import through_views
from r2b.ir.types import DType

Binarization = Literal["sign", "mean"]

_DRIFT = 1e-6
"""Relative difference below which two magnitudes are one: what float32 arithmetic with a scale
leaves where the formula gives equal numbers. Trained weights that are not binary differ by much
more."""


@dataclass(frozen=True)
class RecognizeBinaryConvs(Pass):
    """Conv2d or Linear of a bipolar tensor, its weight a sign times one scale per output channel.

    1. without bias -> BinaryConv2d, BinaryLinear
    2. with bias -> the same behind a BatchNorm, the multiplier 1
    3. the weight has a zero, or two magnitudes in one channel: stays a real layer, unless
       ``binarize_weights`` says that binarisation was left out of the model
    4. the operand is not proved bipolar: stays a real layer

    Parameters
    ----------
    binarize_weights : "sign", "mean" or None
        What real weights of a layer with a bipolar operand become: their signs, or these times the
        mean magnitude of each output channel.
    sign_zero : -1, +1 or None
        The sign of a weight that is 0 then.
    """

    binarize_weights: Binarization | None = None
    sign_zero: SignZero | None = None
    name: ClassVar[str] = "recognize-binary-convs"

    def call(self, graph: Graph) -> bool:
        """Replace all such layers; raise for all whose weights of 0 are not decided."""
        zeros: list[tuple[Node, int, int]] = []
        modified = False
        for node in graph.nodes():
            op = node.op
            if not isinstance(op, Conv2d | Linear) or not _takes_bipolar(graph, node):
                continue
            weight = op.weight
            binarize = self.binarize_weights is not None and not gives_scores(graph, node)
            if binary_scale(weight) is None and binarize and self.binarize_weights is not None:
                if self.sign_zero is None and np.any(weight == 0):
                    zeros.append((node, int(np.count_nonzero(weight == 0)), weight.size))
                    continue
                weight = binarized(weight, self.binarize_weights, self.sign_zero or 1)
            scale = binary_scale(weight)
            if scale is not None:
                _replace(graph, node, replace(op, weight=weight), scale)
                modified = True
        if zeros:
            raise UnsupportedOpError(zeros_message(zeros))
        return modified


def gives_scores(graph: Graph, node: Node) -> bool:
    """Tell whether a layer is the linear one at the end, with norms and a softmax behind at most.

    A classifier is trained real where weights are binarised outside of the model.
    """
    if not isinstance(node.op, Linear | BatchNorm | Softmax):
        return False
    users = graph.users(node.name)
    return all(isinstance(user.op, Output) or gives_scores(graph, user) for user in users)


def _takes_bipolar(graph: Graph, node: Node) -> bool:
    operand = graph.operands(node.name)[0].type
    rank = 4 if isinstance(node.op, Conv2d) else 2
    return operand.dtype is DType.BIPOLAR and len(operand.shape) == rank


def binarized(weight: FloatArray, method: Binarization, zero: int) -> FloatArray:
    """Signs of weights, times the mean magnitude of each output channel for "mean"."""
    signs = np.where(weight == 0, zero, np.sign(weight))
    if method == "sign":
        return signs
    axes = tuple(range(1, weight.ndim))
    # the sign alone where a channel is all 0: its scale would be no sign's
    mean = np.abs(weight).mean(axis=axes, keepdims=True)
    return signs * np.where(mean == 0, 1, mean)


def binary_scale(weight: FloatArray) -> FloatArray | None:
    """Magnitude of the weights of each output channel; None if a channel has none or several."""
    magnitude = np.abs(weight.reshape(len(weight), -1))
    largest, smallest = magnitude.max(axis=1), magnitude.min(axis=1)
    if np.any(smallest <= 0) or np.any(largest - smallest > _DRIFT * largest):
        return None
    # the middle of a range that is a point but for drift, and then exactly that point
    return smallest + (largest - smallest) / 2


def _replace(graph: Graph, node: Node, op: Conv2d | Linear, scale: FloatArray) -> None:
    weight = np.where(op.weight > 0, 1, -1).astype(np.int8)
    if isinstance(op, Linear):
        binary = BinaryLinear(weight, scale)
    else:
        binary = BinaryConv2d(weight, scale, op.stride, op.padding, op.dilation, op.groups)
    if op.bias is None:
        graph.replace(node.name, binary)
        return
    inner = graph.add(binary, node.operands, name=f"{node.name}_binary", near=node.name)
    offset = BatchNorm.affine(np.ones_like(scale), op.bias)
    graph.replace(node.name, offset, [inner.name])


def not_binary_reason(node: Node, graph: Graph) -> str:
    """Say why a Conv2d or Linear of a canonical graph stays real.

    Parameters
    ----------
    node : Node
        Of operation Conv2d or Linear.
    graph : Graph
        The canonical graph it stands in.
    """
    if not isinstance(node.op, Conv2d | Linear):
        raise ValueError(f"{node} is neither Conv2d nor Linear")
    operand = graph.operands(node.name)[0]
    if not _takes_bipolar(graph, node):
        source = through_views(graph, operand, (Flatten, MaxPool2d))
        inner = graph.operands(source.name)[:1]
        if isinstance(source.op, Pad) and inner[0].type.dtype is DType.BIPOLAR:
            return f"its operand is a sign with a border of {source.op.value:g}, three values"
        what = type(source.op).__name__
        return f"its operand is real: {what} at {source.location}"
    weight = node.op.weight.reshape(len(node.op.weight), -1)
    way_out = "; its operand is a sign, hence --binarize-weights sign or mean would make it binary"
    if gives_scores(graph, node):
        way_out = ""
    zeros = int(np.count_nonzero(weight == 0))
    if zeros:
        return f"{zeros} of {weight.size} weights are 0{way_out}"
    channel = next(
        (index for index, row in enumerate(weight) if binary_scale(row[None]) is None), None
    )
    if channel is None:
        return "it is binary, but was made after the search for binary layers"
    count = len(np.unique(np.abs(weight[channel])))
    return f"its weights take {count} magnitudes in output channel {channel}{way_out}"


def sign_form(node: Node) -> str:
    """How the source wrote a sign; "sign(x)" where nothing else is known."""
    return (node.op.form or "sign(x)") if isinstance(node.op, Sign) else ""
