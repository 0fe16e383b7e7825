"""Values as functions of one variable, by cases: where it is below, at and above a threshold.

This is how two-valued tensors are proved: no pattern is looked for, an expression is evaluated on
the three cases. Away from the threshold a value is a coefficient times ``|x - t| ** power``, which
also covers ``x / |x|``, ``sqrt(x * x)`` and ``where(x > 0, x, 0.1 * x)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import (
    Activation,
    Arithmetic,
    BatchNorm,
    Compare,
    Constant,
    Hardtanh,
    Identity,
    Op,
    ParametricRelu,
    PRelu,
    Relu,
    Sigmoid,
    Sign,
    ToFloat,
    Unary,
    Where,
)
from r2b.ir.rewrite import per_channel, scalar_value

STEEP = 1e4
"""Slope from which clamp, tanh and sigmoid of ``k * x``, a value per frame, are taken as steps: k
over the bound of a clamp. The result differs from the source where ``|x| < 1/k``, for tanh and
sigmoid ``|x| < 9/k``, and there only: networks whose temperature is driven up in training mean a
step, and say so by such a slope. Whether values lie there is seen when the canonical Graph is
compared with PyTorch; parameters are known, and are computed."""

_DRIFT = 1e-6
"""Relative difference below which two numbers are one: what float32 leaves of equal formulas."""

_NUMBER_SIZE = 1 << 16
"""Elements up to which an expression of parameters is evaluated as a threshold or a factor."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Table:
    """A value by cases of one variable.

    Parameters
    ----------
    variable : str
        Node it is a function of; empty for a number.
    threshold : array
        Where the cases part, one number or one per channel.
    cases : three arrays
        Value, or coefficient, below the threshold; value at it; value, or coefficient, above.
    powers : two floats
        Below and above the value is the coefficient times ``|x - t| ** power``.
    threshold_name : str
        Node of the threshold; empty for 0.
    form : str
        What was written, for reports.
    """

    variable: str
    threshold: Array
    cases: tuple[Array, Array, Array]
    powers: tuple[float, float] = (0.0, 0.0)
    threshold_name: str = ""
    form: str = ""

    @property
    def power(self) -> float:
        """The power on both sides; not a number, and so equal to none, where they differ."""
        return self.powers[0] if self.powers[0] == self.powers[1] else np.nan

    def on(self, side: int) -> Table:
        """As if one side's case, 0 below and 1 above, were all there is."""
        case, power = self.cases[2 * side], self.powers[side]
        return replace(self, cases=(case, case, case), powers=(power, power))

    @property
    def is_zero(self) -> bool:
        """The number 0, which agrees with every power."""
        return not self.variable and not np.any(self.cases[0])


@dataclass(frozen=True)
class TwoValued:
    """A table that is ``scale * s + offset``, s the Sign of ``x - t``, or its minus if negative."""

    zero: Literal[-1, 0, 1]
    negative: bool
    scale: Array
    offset: Array


def number(value: Array) -> Table:
    """Make the table of a value that does not depend on the variable."""
    return Table("", np.zeros(()), (value, value, value))


def symbol(name: str) -> Table:
    """Make the table of a variable itself."""
    cases = (np.array(-1.0), np.array(0.0), np.array(1.0))
    return Table(name, np.zeros(()), cases, powers=(1.0, 1.0))


def two_valued(table: Table) -> TwoValued | None:
    """Prove that a table takes two values; None where it does not.

    A case at the threshold that is not a number (``x / |x|``) is taken as the middle of the two:
    the source defines no value there.
    """
    below, at, above = table.cases
    if table.power or not table.variable or above.dtype == np.bool_:
        return None
    offset, half = (above + below) / 2, (above - below) / 2
    if not np.all(np.isfinite(half)) or np.any(half == 0):
        return None
    offset = np.where(np.abs(offset) <= _DRIFT * np.abs(half), 0.0, offset)
    half = np.where(np.abs(np.abs(half) - 1) <= _DRIFT, np.sign(half), half)
    negative = bool(np.all(half < 0))
    if not negative and np.any(half < 0):
        return None
    ratio = np.nan_to_num((at - offset) / np.abs(half), nan=0.0)
    zeros = np.unique(np.round(ratio))
    if len(zeros) != 1 or abs(zeros[0]) > 1 or np.any(np.abs(ratio - zeros) > _DRIFT):
        return None
    zero = cast(Literal[-1, 0, 1], int(zeros[0]))
    return TwoValued(zero, negative, np.abs(half), offset)


def scaled_sign(table: Table) -> TwoValued | None:
    """Prove that a table takes two opposite values."""
    value = two_valued(table)
    return None if value is None or np.any(value.offset) else value


class Tables:
    """The table of every value of a graph; a value without a better one is its own variable.

    Parameters
    ----------
    graph : Graph
        Must not change while this is used.
    variables : set of str
        Names of values that are variables, whatever they are computed from.
    """

    def __init__(self, graph: Graph, variables: frozenset[str] = frozenset()) -> None:
        """Walk the graph once."""
        self._graph = graph
        self._numbers: dict[str, Array | None] = {}
        self._tables: dict[str, Table] = {}
        for node in graph.nodes():
            found = None if node.name in variables else self._combined(node)
            self._tables[node.name] = found if found is not None else symbol(node.name)

    def __getitem__(self, name: str) -> Table:
        """Table of one value."""
        return self._tables[name]

    def number_of(self, node: Node) -> Array | None:
        """Value of an expression of parameters, in float32 as PyTorch computes it."""
        if node.name not in self._numbers:
            self._numbers[node.name] = self._number(node)
        return self._numbers[node.name]

    def _number(self, node: Node) -> Array | None:
        if node.type.batched:
            return None
        if isinstance(node.op, Constant):
            value = node.op.value
            return value if value.dtype == np.bool_ else value.astype(np.float32)
        operands = [self.number_of(operand) for operand in self._graph.operands(node.name)]
        known = [value for value in operands if value is not None]
        try:
            return evaluate(node.op, known) if len(known) == len(operands) else None
        except ValueError:  # of an operation the Graph does not know
            return None

    def _combined(self, node: Node) -> Table | None:
        if not isinstance(node.op, tuple(_POWERS)):
            return None
        found = [self._operand(node, operand) for operand in self._graph.operands(node.name)]
        tables = [table for table in found if table is not None]
        if len(tables) < len(found) or all(not table.variable for table in tables):
            return None
        if isinstance(node.op, Compare):
            tables = _with_threshold(tables, self._graph.operands(node.name))
        return _combine(node, tables)

    def _operand(self, node: Node, operand: Node) -> Table | None:
        """Table of an operand as its user sees it; None for parameters that are no numbers."""
        if operand.type.batched:
            return self._tables[operand.name]
        if isinstance(operand.op, Constant):
            uniform = scalar_value(operand)
            if uniform is not None:
                return number(np.array(operand.op.value.flat[0]))
        small = int(np.prod(operand.type.shape)) <= (_NUMBER_SIZE if node.type.batched else 1)
        value = self.number_of(operand) if small else None
        if not node.type.batched:
            return self._tables[operand.name] if value is None else number(value.reshape(()))
        if value is None or len(node.type.shape) < 2:
            return None
        if value.size == 1:
            return number(value.reshape(()))
        rank, channels = len(node.type.shape), node.type.channels
        spread = per_channel(value, rank, channels)
        return None if spread is None else number(spread.reshape(1, -1, *[1] * (rank - 2)))


def _with_threshold(tables: list[Table], operands: Sequence[Node]) -> list[Table]:
    """For a comparison with a number that is not 0: the operand becomes a variable of its own."""
    for index, other in ((0, 1), (1, 0)):
        table, limit = tables[index], tables[other]
        if table.variable and table.power and not limit.variable and not limit.is_zero:
            name = operands[index].name
            moved = symbol(name)
            limit_name = operands[other].name
            shifted = replace(moved, threshold=limit.cases[0], threshold_name=limit_name)
            zero = number(np.zeros(()))
            return [shifted, zero] if index == 0 else [zero, shifted]
    return tables


def _combine(node: Node, tables: Sequence[Table]) -> Table | None:
    variables = [table for table in tables if table.variable]
    first = variables[0]
    for table in variables[1:]:
        same = np.array_equal(table.threshold, first.threshold)
        if table.variable != first.variable or not same:
            return None
    op = node.op
    steep = node.type.batched and _is_steep(op, tables[0])
    powers = [0.0 if steep else _power(op, tables, side) for side in (0, 1)]
    if None in powers or any(not np.all(np.isfinite(table.threshold)) for table in variables):
        return None
    cases = [_evaluate(node, [_case(table, case, steep) for table in tables]) for case in range(3)]
    form = _form(node, tables, steep)
    below, above = cast(list[float], powers)
    return replace(first, cases=(cases[0], cases[1], cases[2]), powers=(below, above), form=form)


def _power(op: Op, tables: Sequence[Table], side: int) -> float | None:
    """Power of the result below (0) or above (1) the threshold."""
    return _POWERS[type(op)](op, [table.on(side) for table in tables])


def _case(table: Table, case: int, steep: bool) -> Array:
    value = table.cases[case]
    return np.sign(value) * np.inf if steep and case != 1 else value


def _is_steep(op: Op, table: Table) -> bool:
    bounded = isinstance(op, Sigmoid) or op == Unary("tanh")
    bounded |= isinstance(op, Activation) and op.kind in ("tanh", "hardsigmoid")
    bounded |= isinstance(op, Hardtanh) and op.lo < 0 < op.hi
    slopes = np.abs(np.concatenate([np.ravel(table.cases[0]), np.ravel(table.cases[2])]))
    bound = max(-op.lo, op.hi) if isinstance(op, Hardtanh) else 1.0
    return bounded and table.power == 1 and bool(np.all(slopes >= STEEP * bound))


def _evaluate(node: Node, values: list[Array]) -> Array:
    if isinstance(node.op, PRelu | BatchNorm | ParametricRelu):
        shape = (1, node.type.channels, *[1] * (len(node.type.shape) - 2))
        values[0] = np.broadcast_to(values[0], shape)
    return np.asarray(evaluate(node.op, values))


_SYMBOLS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="}


def _form(node: Node, tables: Sequence[Table], steep: bool) -> str:
    if steep:
        return f"steep {type(node.op).__name__.lower()}"
    match node.op:
        case Compare(kind):
            limit = "t" if any(np.any(table.threshold) for table in tables) else "0"
            left, right = ("x", limit) if tables[0].variable else (limit, "x")
            return f"{left} {_SYMBOLS[kind]} {right}"
        case Sign(zero=0) if tables[0].power:
            return "sign(x)"
        case Arithmetic(kind="div") if all(table.power for table in tables):
            return "x / |x|"
        case _:
            return next((table.form for table in tables if table.form), "")


# ---------------------------------------------------------------------- powers of homogeneous ops


def _common(tables: Sequence[Table]) -> float | None:
    """Power that all have; a number 0 has any."""
    powers = {table.power for table in tables if not table.is_zero}
    return powers.pop() if len(powers) == 1 else None if powers else 0.0


def _of_arithmetic(op: Any, tables: Sequence[Table]) -> float | None:
    left, right = tables
    match op.kind:
        case "mul":
            return left.power + right.power
        case "div":
            return left.power - right.power
        case "pow":
            exponent = right.cases[0]
            if right.variable or exponent.size != 1:
                return 0.0 if left.power == right.power == 0 else None
            return left.power * float(exponent.reshape(()))
        case _:
            return _common(tables)


def _of_unary(op: Any, tables: Sequence[Table]) -> float | None:
    power = tables[0].power
    factors = {"neg": 1, "abs": 1, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1}
    return power * factors[op.kind] if op.kind in factors else _bounded(op, tables)


def _of_where(tables: Sequence[Table]) -> float | None:
    """On a side where the condition is decided, the other branch does not matter."""
    condition, *branches = tables
    if condition.power != 0:
        return None
    if np.all(condition.cases[0]):
        return branches[0].power
    return _common(branches) if np.any(condition.cases[0]) else branches[1].power


def _bounded(op: Any, tables: Sequence[Table]) -> float | None:
    return 0.0 if tables[0].power == 0 else None


def _kept(op: Any, tables: Sequence[Table]) -> float | None:
    return tables[0].power


def _of_affine(op: Any, tables: Sequence[Table]) -> float | None:
    return tables[0].power if tables[0].power == 0 or not np.any(op.offset) else None


_POWERS: dict[type[Op], Any] = {
    Arithmetic: _of_arithmetic,
    Unary: _of_unary,
    Compare: lambda op, tables: None if _common(tables) is None else 0.0,
    Where: lambda op, tables: _of_where(tables),
    Sign: lambda op, tables: 0.0,
    ToFloat: _kept,
    Identity: _kept,
    Relu: _kept,
    PRelu: _kept,
    ParametricRelu: _kept,
    BatchNorm: _of_affine,
    Hardtanh: _bounded,
    Sigmoid: _bounded,
    Activation: _bounded,
}
"""Power of the result of each operation, None where it is no power."""
