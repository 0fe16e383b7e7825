"""Text of a Graph: stable, short, and readable again for tests of passes.

One line per operation, in topological order, in the syntax of Python::

    relu = Relu(conv2d)  # float[N, 8, 16, 16] at stem.act (net.py:12)

Names before the keywords are operands, keywords are fields; fields at their default are left out.
An array of up to eight elements is written out, a larger one as shape and digest. What
:func:`parse_graph` reads may also say ``normal((8, 1, 3, 3), seed=1)`` for standard normal numbers
and ``signs((8, 8, 3, 3), seed=1)`` for -1 and +1.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.graph import Graph, Node

_WRITTEN_OUT = 8

OPS: dict[str, type[ops.Op]] = {op.__name__: op for op in (*ops.CANONICAL_OPS, *ops.RAW_OPS)}
"""Every operation by its name in the text."""


def print_graph(graph: Graph, *, locations: bool = False) -> str:
    """Write a graph, by default without the places in the user's model."""
    return "".join(f"{_line(node, locations)}\n" for node in graph.nodes())


def _line(node: Node, locations: bool) -> str:
    arguments = ", ".join([*node.operands, *_attributes(node.op)])
    place = f" at {node.location}" if locations else ""
    return f"{node.name} = {type(node.op).__name__}({arguments})  # {node.type}{place}"


def _attributes(op: ops.Op) -> list[str]:
    texts: list[str] = []
    for field in fields(op):  # pyright: ignore[reportArgumentType]
        if not field.compare:
            continue  # a note for reports
        value = getattr(op, field.name)
        default = field.default
        if default is MISSING or isinstance(value, np.ndarray) or value != default:
            texts.append(f"{field.name}={_value(value)}")
    return texts


def _value(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.size <= _WRITTEN_OUT:
        return repr(value.tolist())
    digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:12]
    return f"array({value.shape}, {digest!r})"


def _normal(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def _signs(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float64]:
    return np.where(_normal(shape, seed) >= 0, 1.0, -1.0)


_GENERATORS: dict[str, Callable[..., npt.NDArray[np.float64]]] = {
    "normal": _normal,
    "signs": _signs,
}


def parse_graph(text: str) -> Graph:
    """Read a graph from its text; comments do not count.

    Raises
    ------
    ValueError
        A line that is no operation, an unknown operation, an operand that does not fit, or an
        array of which only the digest is there.
    """
    graph = Graph()
    for statement in ast.parse(text).body:
        name, call = _statement(statement)
        graph.add(_op(call), [_operand(argument) for argument in call.args], name=name)
    return graph


def _statement(statement: ast.stmt) -> tuple[str, ast.Call]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name()) as call):
            return name, call
        case _:
            raise ValueError(f"line {statement.lineno}: name = Op(operands, fields) is expected")


def _operand(argument: ast.expr) -> str:
    if not isinstance(argument, ast.Name):
        raise ValueError(f"line {argument.lineno}: an operand must be a name")
    return argument.id


def _op(call: ast.Call) -> ops.Op:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in OPS:
        raise ValueError(f"line {call.lineno}: there is no operation {name}")
    attributes = {word.arg or "": _parse_value(word.value) for word in call.keywords}
    return OPS[name](**attributes)


def _parse_value(expression: ast.expr) -> Any:
    match expression:
        case ast.Call(func=ast.Name(id=name)) if name in _GENERATORS:
            arguments = [ast.literal_eval(argument) for argument in expression.args]
            words = {word.arg or "": ast.literal_eval(word.value) for word in expression.keywords}
            return _GENERATORS[name](*arguments, **words)
        case ast.Call():
            raise ValueError(
                f"line {expression.lineno}: the elements of an array are not in the text"
            )
        case ast.Name(id="inf"):
            return float("inf")
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
            return float("-inf")
        case _:
            return ast.literal_eval(expression)
