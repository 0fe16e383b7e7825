"""Checks that a Graph is well formed, and that it is canonical."""

from __future__ import annotations

from r2b.ir.advice import way_out
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.ops import CANONICAL_OPS, Constant, Op, Opaque, Output, Softmax


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
    """Check that only operations of the canonical vocabulary are left, each where it may stand.

    Raises
    ------
    UnsupportedOpError
        With every operation that is not, its place, the type of its result and the way out.
    """
    left = [node for node in graph.nodes() if not _is_canonical(graph, node)]
    # a constant is left over only because its user is
    named = [node for node in left if not isinstance(node.op, Constant)] or left
    if not named:
        return
    lines = "\n".join(
        f"  {describe(node.op)} -> {node.type} at {node.location}\n    way out: {way_out(node.op)}"
        for node in named
    )
    count = f"{len(named)} operation{'s are' if len(named) > 1 else ' is'}"
    raise UnsupportedOpError(
        f"{count} not supported:\n{lines}\n"
        f"Supported: {supported_ops()}; operations on parameters alone are always supported.\n"
        "Write these places with supported operations, or report the form as missing."
    )


def _is_canonical(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, Softmax):
        return all(isinstance(user.op, Output) for user in graph.users(node.name))
    return type(node.op) in CANONICAL_OPS


def describe(op: Op) -> str:
    """Name an operation as messages do: PyTorch's word where the Graph has none."""
    if isinstance(op, Opaque):
        return f"{op.target} ({op.reason})" if op.reason else op.target
    kind = getattr(op, "kind", "")
    return f"{type(op).__name__}({kind})" if kind else type(op).__name__


def supported_ops() -> str:
    """List the canonical operations for messages."""
    return ", ".join(op.__name__ for op in CANONICAL_OPS)
