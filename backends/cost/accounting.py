"""Operations, parameters and memory of a network, counted operation by operation.

The network is a :class:`~r2b.ir.written.Written`, the author's own operations; the cost of each is
in :mod:`r2b.backends.cost.rules`. There is no formula of any architecture here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from r2b.backends.cost.rules import CONVENTIONS, MACS, Convention, Kind
from r2b.backends.cost.stored import Stored, output_bits, peak_bits, stored_by_node
from r2b.backends.cost.work import Work, name_of, work_of
from r2b.ir.errors import UnsupportedOpError, UserError
from r2b.ir.graph import Node
from r2b.ir.ops import Constant
from r2b.ir.verify import describe
from r2b.ir.written import BINARY, Written

REAL_BITS = (32, 16, 8)
"""Widths of what is not binary."""

Widths = tuple[int, int]
"""Bits of the weight and of the activation."""


@dataclass(frozen=True)
class LayerCount:
    """What one operation costs for one frame.

    Parameters
    ----------
    name : str
        Of the node in the Graph.
    module, source : str
        Path of the module, and ``file:line``.
    op : str
        What it is, for tables: ``binary conv 3x3``.
    input_shape, output_shape : tuple of int
        Without the frames.
    work : tuple of Work
        Units of every kind, before any convention.
    bops, flops : int
        Cost of the work with two binary operands, and of all other.
    macs : dict of (int, int) to int
        Multiply-accumulates by the bits of weight and activation.
    stored : Stored
        Parameters that belong to it.
    parameter_bits, activation_bits : int
        Memory of its parameters, and of its result.
    """

    name: str
    module: str
    source: str
    op: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    work: tuple[Work, ...]
    bops: int
    flops: int
    macs: dict[Widths, int]
    stored: Stored
    parameter_bits: int
    activation_bits: int


@dataclass(frozen=True)
class Count:
    """What a network costs for one frame.

    Parameters
    ----------
    convention : str
        A name of :data:`r2b.backends.cost.rules.CONVENTIONS`.
    real_bits : int
        Width of what is not binary.
    layers : tuple of LayerCount
        Every operation, in the order of the model.
    peak_activation_bits : int
        Most memory that the values hold which are alive together: operands and result of an
        operation, and what is read later.
    """

    convention: str
    real_bits: int
    layers: tuple[LayerCount, ...]
    peak_activation_bits: int

    @property
    def bops(self) -> int:
        """Binary operations."""
        return sum(layer.bops for layer in self.layers)

    @property
    def flops(self) -> int:
        """All other operations."""
        return sum(layer.flops for layer in self.layers)

    @property
    def figure(self) -> float | None:
        """The convention's single figure; None where it has none."""
        share = CONVENTIONS[self.convention].binary_share
        if share is None:
            return None
        return self.flops + (self.bops if share == 1 else self.bops * share)

    @property
    def macs(self) -> dict[Widths, int]:
        """Multiply-accumulates by the bits of weight and activation, narrow ones first."""
        total = sum((Counter(layer.macs) for layer in self.layers), Counter[Widths]())
        return dict(sorted(total.items()))

    @property
    def stored(self) -> Stored:
        """Parameters."""
        return sum((layer.stored for layer in self.layers), Stored())

    @property
    def activation_bits(self) -> int:
        """Memory of all results together."""
        return sum(layer.activation_bits for layer in self.layers)

    def by_kind(self) -> dict[Kind, tuple[int, int]]:
        """BOPS and FLOPS of every kind of work that costs any, the kinds in the rules' order."""
        costs = CONVENTIONS[self.convention]
        found: dict[Kind, tuple[int, int]] = {}
        for kind in costs.costs:
            parts = [part for layer in self.layers for part in layer.work if part.kind == kind]
            pair = _operations(parts, costs, self.real_bits)
            if any(pair):
                found[kind] = pair
        return found


def count(written: Written, convention: str = "paper", real_bits: int = 32) -> Count:
    """Count a network.

    Parameters
    ----------
    written : Written
        From :func:`r2b.ir.written.written`, or :func:`~r2b.ir.written.as_written`.
    convention : str
        A name of :data:`r2b.backends.cost.rules.CONVENTIONS`.
    real_bits : int
        Width of what is not binary: 32, 16 or 8.

    Raises
    ------
    UserError
        There is no such convention or width.
    UnsupportedOpError
        There is no rule for some of the operations; all of them are named.
    """
    rules = check_options(convention, real_bits)
    nodes = [node for node in written.graph.nodes() if not isinstance(node.op, Constant)]
    found = {node.name: work_of(written, node) for node in nodes}
    _refuse([node for node in nodes if found[node.name] is None])
    stored = stored_by_node(written)
    layers = tuple(
        _layer(written, node, found[node.name] or (), stored[node.name], rules, real_bits)
        for node in nodes
    )
    return Count(convention, real_bits, layers, peak_bits(written.graph, real_bits))


def check_options(convention: str, real_bits: int) -> Convention:
    """Give the rules of a convention; raise `UserError` if there is no such one, or width."""
    if convention not in CONVENTIONS:
        raise UserError(
            f"there is no convention {convention!r:.60}; there are {', '.join(CONVENTIONS)}"
        )
    if real_bits not in REAL_BITS:
        widths = ", ".join(map(str, REAL_BITS))
        raise UserError(f"what is not binary has one of {widths} bits, not {real_bits!r:.40}")
    return CONVENTIONS[convention]


def _refuse(nodes: list[Node]) -> None:
    if not nodes:
        return
    lines = "\n".join(f"  {describe(node.op)} -> {node.type} at {node.location}" for node in nodes)
    several = len(nodes) > 1
    raise UnsupportedOpError(
        f"{len(nodes)} operation{'s have' if several else ' has'} no rule to be counted by:\n"
        f"{lines}\n"
        "A count that leaves an operation out is none. r2b-count --rules lists what has a rule; "
        f"write {'these places' if several else 'this place'} with such operations, or report the "
        "operation as missing."
    )


def _layer(
    written: Written,
    node: Node,
    work: tuple[Work, ...],
    stored: Stored,
    rules: Convention,
    real_bits: int,
) -> LayerCount:
    operands = written.graph.operand_types(node.name)
    bops, flops = _operations(work, rules, real_bits)
    macs = Counter[Widths]()
    for part in work:
        if part.kind == MACS:
            macs[_widths(part, real_bits)] += part.amount
    return LayerCount(
        name=node.name,
        module=node.location.module_path,
        source=node.location.source,
        op=name_of(written, node),
        input_shape=operands[0].shape[1:] if operands else (),
        output_shape=node.type.shape[1:],
        work=work,
        bops=bops,
        flops=flops,
        macs=dict(macs),
        stored=stored,
        parameter_bits=stored.bits(real_bits),
        activation_bits=output_bits(node, real_bits),
    )


def _operations(work: Iterable[Work], rules: Convention, real_bits: int) -> tuple[int, int]:
    """BOPS and FLOPS of some work."""
    totals = [0, 0]
    for part in work:
        cost = rules.costs[part.kind] * part.amount
        if rules.times_bits:
            cost *= prod(_widths(part, real_bits))
        totals[part.weight != BINARY or part.activation != BINARY] += cost
    return totals[0], totals[1]


def _widths(part: Work, real_bits: int) -> Widths:
    weight, activation = (
        1 if width == BINARY else real_bits for width in (part.weight, part.activation)
    )
    return weight, activation
