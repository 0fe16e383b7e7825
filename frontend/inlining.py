"""Nested graphs of ``torch.export`` become part of the graph around them.

A ``torch.no_grad()``, ``torch.autocast`` or checkpointed block of a model stands in an exported
program as one node with a graph of its own. At inference only what that graph computes counts.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from torch._ops import HigherOrderOperator
from torch.export import ExportedProgram

_SETTINGS = {
    "wrap_with_set_grad_enabled": 1,
    "wrap_with_autocast": 4,
    "tag_activation_checkpoint": 0,
    "wrap_activation_checkpoint": 0,
    "wrap": 0,
}
"""Higher-order operators by name, and the number of settings before the nested graph."""


def inline_regions(program: ExportedProgram) -> None:
    """Put the content of nested graphs in their place, from the outermost inwards."""
    graph = program.graph
    found = True
    while found:
        found = False
        for node in list(graph.nodes):
            if node.op == "call_function" and _name(node) in _SETTINGS:
                _inline(program.graph_module, node)
                found = True
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    graph.lint()
    program.graph_module.recompile()


def changes_in_place(program: ExportedProgram) -> bool:
    """Tell whether an operation of a program changes an operand."""
    schemas = [getattr(node.target, "_schema", None) for node in program.graph.nodes]
    return any(schema is not None and schema.is_mutable for schema in schemas)


def _name(node: fx.Node) -> str:
    target: Any = node.target
    # torch.ops.higher_order.*; an ATen operation is of another kind
    return str(target.name()) if isinstance(target, HigherOrderOperator) else ""


def _inline(root: fx.GraphModule, node: fx.Node) -> None:
    written: tuple[Any, ...] = node.args
    inner, *operands = written[_SETTINGS[_name(node)] :]
    nested: Any = root.get_submodule(str(inner.target))
    holes = [one for one in nested.graph.nodes if one.op == "placeholder"]
    values = dict(zip(holes, operands, strict=True))
    result: Any = None
    with node.graph.inserting_before(node):
        for one in nested.graph.nodes:
            if one.op == "output":
                result = fx.map_arg(one.args[0], lambda source: values[source])
            elif one.op == "get_attr":
                values[one] = _moved(root, nested, one, node)
            elif one.op != "placeholder":
                values[one] = node.graph.node_copy(one, lambda source: values[source])
    _bypass(node, result)


def _moved(root: fx.GraphModule, nested: Any, source: fx.Node, near: fx.Node) -> fx.Node:
    """Give the outer graph what the nested one reads from itself."""
    name = f"{near.name}_{source.target}".replace(".", "_")
    setattr(root, name, getattr(nested, str(source.target)))
    moved = near.graph.get_attr(name)
    moved.meta.update(source.meta)
    return moved


def _bypass(node: fx.Node, result: Any) -> None:
    """Let the users of a node, which pick one of its results, take that result itself."""
    if isinstance(result, fx.Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):
            user.replace_all_uses_with(result[user.args[1]])
            node.graph.erase_node(user)
    node.graph.erase_node(node)
