"""From an ``nn.Module`` to a Graph that is proved to compute the same."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from r2b.frontend.capture import Capture, capture, location_of
from r2b.frontend.check import check_against_module
from r2b.frontend.handlers import (
    HANDLERS,
    IGNORED,
    Arguments,
    NotSupportedError,
    constant_of,
    shape_of,
)
from r2b.ir.errors import Location, UnsupportedOpError
from r2b.ir.graph import Graph
from r2b.ir.ops import Input, Output

_WAY_OUT = (
    "Write these places with supported operations. Operations on parameters alone are always "
    "supported, they are computed once."
)


def import_module(module: nn.Module, example: torch.Tensor) -> Graph:
    """Import a module as a raw Graph, and compare the two on several frames.

    The names of the Graph are those of the ATen graph; every operation carries the path of the
    innermost module and the source line. :func:`r2b.ir.passes.canonicalize.canonicalize` is the
    next step.

    Parameters
    ----------
    module : nn.Module
        Is evaluated in evaluation mode, whatever mode it is in.
    example : Tensor, N x C x H x W, float32
        Gives the shape of a frame, and is one of the frames compared.

    Raises
    ------
    UserError
        The example is not such a tensor, or the model does not take it, or what was captured
        differs from the model.
    UnsupportedOpError
        The model cannot be captured, or holds operations that are not supported: all are listed.
    """
    captured = capture(module, example)
    graph = import_capture(captured)
    check_against_module(module, captured, graph, example)
    return graph


def import_capture(captured: Capture) -> Graph:
    """Import what was captured, without comparing it with the module."""
    return _Importer(captured).run()


@dataclass(frozen=True)
class _Refusal:
    """An ATen node that is not supported."""

    target: str
    location: Location
    reason: str

    def __str__(self) -> str:
        """One line of the report."""
        because = f": {self.reason}" if self.reason else ""
        return f"{self.target} at {self.location}{because}"


@dataclass
class _Importer:
    """Walks the ATen graph once; refusals are collected, and what depends on them is passed over.

    Attributes
    ----------
    names : dict
        Value in the graph of each node that has one.
    fixed : dict
        Tensor of each node that depends on parameters only.
    lost : set
        Nodes that are refused or depend on such.
    """

    captured: Capture
    graph: Graph = field(default_factory=Graph)
    names: dict[fx.Node, str] = field(default_factory=dict[fx.Node, str])
    fixed: dict[fx.Node, Any] = field(default_factory=dict[fx.Node, Any])
    lost: set[fx.Node] = field(default_factory=set[fx.Node])
    refusals: list[_Refusal] = field(default_factory=list[_Refusal])
    origins: dict[str, tuple[str, torch.Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the parameters."""
        self.origins = self.captured.parameters()

    def run(self) -> Graph:
        """Give the graph, or raise the list of what is not supported."""
        steps = {
            "placeholder": self._placeholder,
            "call_function": self._call,
            "output": self._outputs,
        }
        for node in self.captured.nodes:
            steps.get(node.op, self._refuse_kind)(node)
        if self.refusals:
            raise UnsupportedOpError(_report(self.refusals))
        self.graph.prune()
        return self.graph

    def _placeholder(self, node: fx.Node) -> None:
        if node.name in self.origins:
            self.fixed[node] = self.origins[node.name][1]
            return
        op = Input((1, *self.captured.input_shape))
        self.names[node] = self.graph.add(op, name=node.name).name

    def _outputs(self, node: fx.Node) -> None:
        results = node.args[0]
        for result in results if isinstance(results, tuple | list) else [results]:
            if not isinstance(result, fx.Node):
                self._refuse(node, "an output that is not a tensor")
            elif result in self.fixed:
                self._refuse(result, "an output that does not depend on the frames")
            elif result not in self.lost:
                self.graph.add(Output(), [self.lookup(result)], name="output")

    def _call(self, node: fx.Node) -> None:
        if any(source in self.lost for source in node.all_input_nodes):
            self.lost.add(node)
        elif node.target in IGNORED or isinstance(node.meta.get("val"), torch.SymInt):
            return
        elif self._depends_on_parameters_only(node):
            self.fixed[node] = _compute(node, self.fixed)
        elif node.target is operator.getitem:
            self._getitem(node)
        else:
            self._import(node)

    def _depends_on_parameters_only(self, node: fx.Node) -> bool:
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        return not random and all(source in self.fixed for source in node.all_input_nodes)

    def _getitem(self, node: fx.Node) -> None:
        source, index = node.args
        if isinstance(source, fx.Node) and index == 0:
            self.names[node] = self.lookup(source)
        else:
            self._refuse(node, "only the first result of an operation is supported")

    def _import(self, node: fx.Node) -> None:
        try:
            self.names[node] = self._handle(node)
        except (NotSupportedError, ValueError) as error:
            self._refuse(node, str(error).removeprefix(f"{node.name} at {location_of(node)}: "))

    def _handle(self, node: fx.Node) -> str:
        handler = HANDLERS.get(node.target)
        if handler is None:
            raise NotSupportedError("")
        constant = node in self.fixed
        name = handler(Arguments(self.graph, node, bind(node), self.lookup, constant))
        found = self.graph[name].type
        if found.batched and found.shape != shape_of(node):
            raise NotSupportedError(f"its result is {shape_of(node)}, read as {found}")
        return name

    def lookup(self, node: fx.Node) -> str:
        """Value of a node; what depends on parameters only is added when it is first asked for."""
        if node not in self.names:
            if node not in self.fixed:
                raise NotSupportedError("an operand is the number of frames, or made from it")
            self.names[node] = self._fixed_value(node)
        return self.names[node]

    def _fixed_value(self, node: fx.Node) -> str:
        """Add the expression of a value made from parameters, where there are words for it.

        The passes read a weight as an expression; one without words is the constant it is.
        """
        if node.op == "call_function":
            try:
                return self._handle(node)
            except (NotSupportedError, ValueError):
                pass
        value = self.fixed[node]
        if not isinstance(value, torch.Tensor):
            raise NotSupportedError(f"an operand of type {type(value).__name__}")
        origin = self.origins[node.name][0] if node.name in self.origins else ""
        op, place = constant_of(value, origin), _owner(origin) or location_of(node)
        return self.graph.add(op, name=node.name, location=place).name

    def _refuse_kind(self, node: fx.Node) -> None:
        self._refuse(node, f"a node of kind {node.op}, which has no place in a network")

    def _refuse(self, node: fx.Node, reason: str) -> None:
        self.lost.add(node)
        self.refusals.append(_Refusal(str(node.target), location_of(node), reason))


def _owner(origin: str) -> Location | None:
    """Module that holds a parameter."""
    return Location(origin.rpartition(".")[0]) if origin else None


def _compute(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    arguments = fx.map_arg((node.args, dict(node.kwargs)), lambda source: values[source])
    with torch.no_grad():
        return node.target(*arguments[0], **arguments[1])  # pyright: ignore[reportCallIssue]


def bind(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen node by the names of its schema, defaults filled in."""
    target: Any = node.target
    parameters = target._schema.arguments
    bound = {
        parameter.name: parameter.default_value
        for parameter in parameters
        if parameter.has_default_value()
    }
    names = [parameter.name for parameter in parameters]
    return {**bound, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def _report(refusals: list[_Refusal]) -> str:
    lines = "\n".join(f"  {refusal}" for refusal in refusals)
    known = {_short(target) for target in HANDLERS}
    names = ", ".join(sorted(name for name in known if not name.startswith("_")))
    count = f"{len(refusals)} operation{'s' if len(refusals) > 1 else ''}"
    return f"{count} of the model cannot be compiled:\n{lines}\nSupported: {names}.\n{_WAY_OUT}"


def _short(target: Any) -> str:
    return str(target).removeprefix("aten.").partition(".")[0]
