"""The registry of handlers, and what a handler is given.

A handler is given an :class:`Arguments` and returns the name of the value it made. What it cannot
express it refuses with :class:`NotSupportedError`; the importer keeps the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from r2b.frontend.locations import location_of
from r2b.ir import ops
from r2b.ir.graph import Graph

aten = torch.ops.aten


class NotSupportedError(Exception):
    """A node that no operation of the Graph expresses; the text says why."""


@dataclass(frozen=True)
class Arguments:
    """A node of the ATen graph with its arguments by the names of the schema.

    Parameters
    ----------
    graph : Graph
        The graph under construction.
    node : fx.Node
    values : dict
        By ATen name: arguments as written, defaults filled in.
    lookup : callable
        From an ATen node to the name of its value in the graph.
    fixed : bool
        The node depends on parameters only.
    batch : int or None
        Number of frames that the program is fixed to; None for any number.
    name : str
        Name of the value; by default that of the node.
    transposed : callable
        From a node of parameters of two dimensions to the name of its transpose.
    """

    graph: Graph
    node: fx.Node
    values: dict[str, Any]
    lookup: Callable[[fx.Node], str]
    fixed: bool = False
    batch: int | None = None
    name: str = ""
    transposed: Callable[[fx.Node], str] | None = None

    def __getitem__(self, name: str) -> Any:
        """Argument that is not a tensor, as written."""
        return self.values[name]

    def has(self, name: str) -> bool:
        """Tell whether an optional argument is given."""
        return self.values.get(name) is not None

    def tensor(self, name: str) -> str:
        """Value of a tensor argument, or of the number written in its place."""
        return self.operand(self.values[name])

    def operand(self, value: Any) -> str:
        """Value of a node, or a constant for a number."""
        if isinstance(value, fx.Node):
            return self.lookup(value)
        if isinstance(value, bool | int | float):
            return self.constant(float(value))
        raise NotSupportedError(f"an operand of type {type(value).__name__}")

    def present(self, *names: str) -> list[str]:
        """Values of those of some tensor arguments that are given."""
        return [self.tensor(name) for name in names if self.has(name)]

    def constant(self, value: float | np.ndarray) -> str:
        """Make a constant of this node."""
        constant = ops.Constant(np.asarray(value, dtype=np.float64))
        return self.graph.add(constant, name="number", location=location_of(self.node)).name

    def channels(self, name: str) -> int:
        """Channels of a tensor argument."""
        return self.graph[self.tensor(name)].type.channels

    def size(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor argument, 1 for the frames."""
        return self.graph[self.tensor(name)].type.shape

    def batched(self, name: str) -> bool:
        """Tell whether a tensor argument depends on the frames."""
        return self.graph[self.tensor(name)].type.batched

    def pair(self, name: str) -> ops.Pair:
        """Vertical and horizontal size, from one number or two."""
        value = self.values[name]
        numbers = [value] if isinstance(value, int) else list(value)
        if len(numbers) not in (1, 2) or not all(isinstance(number, int) for number in numbers):
            raise NotSupportedError(f"{numbers} where one number or a pair is expected")
        return int(numbers[0]), int(numbers[-1])

    def shape(self) -> tuple[int, ...]:
        """Shape of the node's own value, 1 for the frames."""
        if self.fixed:
            return tuple(self.node.meta["val"].shape)
        return shape_of(self.node, self.batch)

    def make(self, op: ops.Op, *operands: str) -> str:
        """Add an operation under the name of the node."""
        return self.graph.add(
            op, operands, name=self.name or self.node.name, location=location_of(self.node)
        ).name

    def step(self, op: ops.Op, *operands: str) -> str:
        """Add an operation whose value PyTorch does not have, on the way to the node's own."""
        name = f"{self.name or self.node.name}_{type(op).__name__.lower()}_step"
        return self.graph.add(op, operands, name=name, location=location_of(self.node)).name


Handler = Callable[[Arguments], str]

HANDLERS: dict[Any, Handler] = {}
"""Every ATen operation that is supported; :func:`handles` fills it."""

ELEMENTWISE: set[Any] = set()
"""Those of them that take each element by itself, and so may be exchanged with a transposition."""


def handles(*targets: Any, elementwise: bool = False) -> Callable[[Handler], Handler]:
    """Register the decorated function for some ATen operations."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(targets, handler))
        if elementwise:
            ELEMENTWISE.update(targets)
        return handler

    return register


def overloads(*names: str) -> list[Any]:
    """ATen operations by names such as ``add.Tensor``; those this PyTorch lacks are left out."""
    found: list[Any] = []
    for name in names:
        packet, _, overload = name.partition(".")
        operation = getattr(getattr(aten, packet, None), overload or "default", None)
        found += [] if operation is None else [operation]
    return found


def refuse_if(condition: bool, reason: str) -> None:
    """Refuse a node where a condition holds."""
    if condition:
        raise NotSupportedError(reason)


def shape_of(node: fx.Node, batch: int | None = None) -> tuple[int, ...]:
    """Shape of the value of a node that depends on the frames; 1 stands for their number.

    Parameters
    ----------
    node : fx.Node
    batch : int or None
        Number of frames that the program is fixed to; None where it is symbolic.
    """
    value = node.meta.get("val")
    first = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(first, torch.Tensor):
        raise NotSupportedError("its result is not a tensor")
    sizes = list(first.shape)
    if not sizes or not _counts_frames(sizes[0], batch):
        raise NotSupportedError("the first dimension of its result is not the number of frames")
    if not all(isinstance(size, int) for size in sizes[1:]):
        raise NotSupportedError("a dimension of its result, not the first, depends on the frames")
    return (1, *sizes[1:])


def _counts_frames(size: Any, batch: int | None) -> bool:
    if batch is not None:
        return size == batch
    return not isinstance(size, int) and bool(size.node.expr.is_symbol)
