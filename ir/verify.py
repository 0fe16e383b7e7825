"""Checks that a Graph is well formed, and that it is canonical."""

from __future__ import annotations

from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.ops import CANONICAL_OPS, Op, Output


class VerifyError(Exception):
    """A graph breaks a rule that every pass must keep; a defect of r2b, not of the user."""


def verify(graph: Graph) -> None:
    """Check types, ends and uses of a graph.

    Raises
    ------
    VerifyError
        With every rule that is broken.
    """
    problems = [problem for node in graph.nodes() for problem in _problems(graph, node)]
    if not graph.inputs:
        problems.append("the graph has no input")
    if not graph.outputs:
        problems.append("the graph has no output")
    if problems:
        raise VerifyError("\n".join(problems))


def _problems(graph: Graph, node: Node) -> list[str]:
    problems: list[str] = []
    try:
        found = node.op.result_type(graph.operand_types(node.name))
        if found != node.type:
            problems.append(f"{node}: the type is {found}, recorded is {node.type}")
    except ValueError as error:
        problems.append(f"{node}: {error}")
    if any(isinstance(operand.op, Output) for operand in graph.operands(node.name)):
        problems.append(f"{node}: an output must not be used")
    return problems


def require_canonical(graph: Graph) -> None:
    """Check that only operations of the canonical vocabulary are left.

    Raises
    ------
    UnsupportedOpError
        With every operation that is not, its place and the way out.
    """
    left = [node for node in graph.nodes() if type(node.op) not in CANONICAL_OPS]
    # a constant is left over only because its user is
    named = [node for node in left if node.operands] or left
    if named:
        lines = "\n".join(
            f"  {_describe(node.op)} -> {node.type} at {node.location}" for node in named
        )
        raise UnsupportedOpError(
            f"{len(named)} operations are not part of any binary network r2b knows:\n{lines}\n"
            f"Supported: {supported_ops()}.\n"
            "Write these places with supported operations, or report the form as missing."
        )


def _describe(op: Op) -> str:
    kind = getattr(op, "kind", "")
    return f"{type(op).__name__}({kind})" if kind else type(op).__name__


def supported_ops() -> str:
    """List the canonical operations for messages."""
    return ", ".join(op.__name__ for op in CANONICAL_OPS)
