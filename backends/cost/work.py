"""How much work an operation is: units of every kind of :mod:`r2b.backends.cost.rules`.

One function for each operation of the raw Graph, in one table. What the table lacks cannot be
counted, and :func:`work_of` says so by giving None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from r2b.backends.cost.rules import MACS, Kind
from r2b.ir.graph import Node
from r2b.ir.ops import (
    Activation,
    AdaptiveAvgPool2d,
    Arithmetic,
    AvgPool2d,
    Concat,
    Convolution,
    Dense,
    Expand,
    Flatten,
    Hardtanh,
    Identity,
    Input,
    MaxPool2d,
    Mean,
    Normalization,
    Op,
    Output,
    Pad,
    ParametricRelu,
    PRelu,
    Relu,
    Reshape,
    Select,
    Sigmoid,
    Sign,
    Softmax,
    Unary,
)
from r2b.ir.types import TensorType
from r2b.ir.written import REAL, Operands, Width, Written


@dataclass(frozen=True)
class Work:
    """Work of one kind.

    Parameters
    ----------
    kind : str
    amount : int
        Units, for one frame.
    weight, activation : "binary" or "real"
        Widths of the operands of multiply-accumulates.
    """

    kind: Kind
    amount: int
    weight: Width = REAL
    activation: Width = REAL


@dataclass(frozen=True)
class _Place:
    """An operation and what it works on."""

    node: Node
    types: tuple[TensorType, ...]
    operands: Operands

    @property
    def elements(self) -> int:
        """Elements of the result for one frame."""
        return prod(self.node.type.shape)

    def all(self, kind: Kind, each: int = 1) -> tuple[Work, ...]:
        """So much work for each element of the result."""
        return (Work(kind, each * self.elements),)


def work_of(written: Written, node: Node) -> tuple[Work, ...] | None:
    """Work of one operation for one frame; None if there is no rule for it."""
    rule = WORK.get(type(node.op))
    if rule is None:
        return None
    types = written.graph.operand_types(node.name)
    return rule(_Place(node, types, written.operands.get(node.name, Operands())))


def _layer(place: _Place) -> tuple[Work, ...]:
    """Fan-in per output: the weight's elements but for its first dimension."""
    operands, weight = place.operands, place.types[1].shape
    taps = Work(MACS, place.elements * prod(weight[1:]), operands.weight, operands.activation)
    scale = place.all("factor") if operands.scale is not None else ()
    bias = place.all("bias") if len(place.types) > 2 else ()
    return taps, *scale, *bias


_ARITHMETIC: dict[str, Kind] = {
    "add": "sum",
    "sub": "sum",
    "mul": "factor",
    "div": "factor",
    "maximum": "activation",
    "minimum": "activation",
    "pow": "activation",
}


def _arithmetic(place: _Place) -> tuple[Work, ...]:
    op = place.node.op
    kind = _ARITHMETIC[op.kind] if isinstance(op, Arithmetic) else "factor"
    with_constant = not all(operand.batched for operand in place.types)
    return place.all("bias" if kind == "sum" and with_constant else kind)


def _unary(place: _Place) -> tuple[Work, ...]:
    return place.all("sign" if place.node.op == Unary("neg") else "activation")


def _window(place: _Place) -> tuple[Work, ...]:
    op = place.node.op
    match op:
        case MaxPool2d(kernel=kernel):
            return place.all("max pool", prod(kernel))
        case AvgPool2d(kernel=kernel):
            return place.all("average", prod(kernel))
        case _:
            return _mean(place)


def _mean(place: _Place) -> tuple[Work, ...]:
    """Every element of the operand is a position of one window."""
    return (Work("average", prod(place.types[0].shape)),)


def _each(kind: Kind) -> Callable[[_Place], tuple[Work, ...]]:
    return lambda place: place.all(kind)


WORK: dict[type[Op], Callable[[_Place], tuple[Work, ...]]] = {
    Convolution: _layer,
    Dense: _layer,
    Normalization: _each("batch norm"),
    **dict.fromkeys((ParametricRelu, PRelu, Relu, Hardtanh, Sigmoid), _each("activation")),
    Activation: _each("activation"),
    Unary: _unary,
    Arithmetic: _arithmetic,
    **dict.fromkeys((MaxPool2d, AvgPool2d, AdaptiveAvgPool2d), _window),
    Mean: _mean,
    Sign: _each("sign"),
    Softmax: _each("softmax"),
    **dict.fromkeys((Reshape, Flatten, Expand, Concat, Pad, Select, Identity), _each("movement")),
    **dict.fromkeys((Input, Output), _each("movement")),
}
"""The rule of every operation that can be counted."""

NAMES: dict[type[Op], str] = {
    Convolution: "conv",
    Dense: "linear",
    Normalization: "batch norm",
    ParametricRelu: "prelu",
    MaxPool2d: "max pool",
    AvgPool2d: "average pool",
    AdaptiveAvgPool2d: "average pool",
}
"""What an operation is called in tables, where it is not its own name."""


def name_of(written: Written, node: Node) -> str:
    """What an operation is called in tables: ``binary conv 3x3``, ``add``."""
    op = node.op
    kind = str(getattr(op, "kind", ""))
    name = NAMES.get(type(op)) or kind or type(op).__name__.lower()
    if isinstance(op, Convolution):
        name += " " + "x".join(map(str, written.graph.operand_types(node.name)[1].shape[2:]))
    elif isinstance(op, MaxPool2d | AvgPool2d):
        name += " " + "x".join(map(str, op.kernel))
    operands = written.operands.get(node.name, Operands())
    return f"binary {name}" if operands.weight == operands.activation != REAL else name
