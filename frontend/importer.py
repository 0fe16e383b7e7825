"""From an ``nn.Module`` or an exported program to a Graph that is proved to compute the same."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from r2b.frontend.capture import Capture, capture
from r2b.frontend.check import check_against_module, check_against_program
from r2b.frontend.copies import twin_of
from r2b.frontend.exported import capture_program
from r2b.frontend.handlers import (
    ELEMENTWISE,
    HANDLERS,
    IGNORED,
    REASONS,
    Arguments,
    NotSupportedError,
    shape_of,
)
from r2b.frontend.handlers_shape import PARTS, constant_of
from r2b.frontend.locations import location_of
from r2b.ir.errors import Location, UnsupportedOpError
from r2b.ir.graph import Graph
from r2b.ir.ops import Input, Opaque, Output
from r2b.ir.types import DType, TensorType

_WAY_OUT = (
    "Write these places with supported operations. Operations on parameters alone are always "
    "supported, they are computed once."
)
_MAYBE = "no operation of the Graph stands for it, unless a straight-through estimator cancels it"
_TRANSPOSITIONS = frozenset({"t", "transpose", "permute", "numpy_T", "mT"})


def import_module(module: nn.Module, example: torch.Tensor) -> Graph:
    """Import a module as a raw Graph, and compare the two on several frames.

    The names of the Graph are those of the ATen graph; every operation carries the path of the
    innermost module and the source line. :func:`r2b.ir.passes.canonicalize.canonicalize` is the
    next step. What PyTorch has and the Graph has no word for becomes an
    :class:`~r2b.ir.ops.Opaque`, which that step refuses where it is left.

    Parameters
    ----------
    module : nn.Module
        Is copied, and the copy evaluated in evaluation mode, whatever mode the module is in.
    example : Tensor, N x C x H x W or N x F, float32
        Gives the shape of a frame, and is one of the frames compared.

    Raises
    ------
    UserError
        The example is not such a tensor, or the model does not take it, or what was captured
        differs from the model.
    UnsupportedOpError
        The model cannot be captured, or holds values that are not tensors per frame: all are
        listed.
    """
    return import_and_capture(module, example)[0]


def import_and_capture(module: nn.Module, example: torch.Tensor) -> tuple[Graph, Capture]:
    """Import a module as :func:`import_module` does; what was captured comes with the Graph.

    :func:`r2b.frontend.check.check_canonical` compares with it what the passes made.
    """
    captured = capture(module, example)
    graph = import_capture(captured)
    check_against_module(twin_of(module), captured, graph, example)
    return graph, captured


def import_exported(program: ExportedProgram) -> Graph:
    """Import a program of ``torch.export`` as :func:`import_module` does a module.

    Parameters
    ----------
    program : ExportedProgram
        With one input, N x C x H x W or N x F, float32. N may be symbolic or any number.

    Raises
    ------
    UserError
        The program has not such an input.
    UnsupportedOpError
        The program was exported in training mode, or holds what is not supported.
    """
    return import_and_capture_exported(program)[0]


def import_and_capture_exported(program: ExportedProgram) -> tuple[Graph, Capture]:
    """Import a program as :func:`import_exported` does; what was captured comes with the Graph."""
    captured = capture_program(program)
    graph = import_capture(captured)
    check_against_program(program, captured, graph)
    return graph, captured


def import_structure(network: nn.Module | ExportedProgram, example: torch.Tensor) -> Graph:
    """Import a module or a program without comparing any value with PyTorch's.

    For what reads operations and shapes alone; what is computed from the Graph's values needs
    :func:`import_module` or :func:`import_exported`.

    Parameters
    ----------
    network : nn.Module or ExportedProgram
    example : Tensor
        As :func:`import_module` takes it; of no use with a program.
    """
    if isinstance(network, ExportedProgram):
        return import_capture(capture_program(network))
    return import_capture(capture(network, example))


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
    several : dict
        Nodes with several results that no handler took, with the reason.
    """

    captured: Capture
    graph: Graph = field(default_factory=Graph)
    names: dict[fx.Node, str] = field(default_factory=dict[fx.Node, str])
    fixed: dict[fx.Node, Any] = field(default_factory=dict[fx.Node, Any])
    lost: set[fx.Node] = field(default_factory=set[fx.Node])
    several: dict[fx.Node, str] = field(default_factory=dict[fx.Node, str])
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
            "get_attr": self._attribute,
            "output": self._outputs,
        }
        for node in self.captured.nodes:
            steps.get(node.op, self._refuse_kind)(node)
        if self.refusals:
            raise UnsupportedOpError(_report([*self.refusals, *self._opaque()]))
        self.graph.prune()
        return self.graph

    def _opaque(self) -> list[_Refusal]:
        return [
            _Refusal(node.op.target, node.location, node.op.reason or _MAYBE)
            for node in self.graph.nodes()
            if isinstance(node.op, Opaque)
        ]

    # -------------------------------------------------------------------------------------- nodes

    def _placeholder(self, node: fx.Node) -> None:
        if node.name in self.origins:
            self.fixed[node] = self.origins[node.name][1]
            return
        op = Input((1, *self.captured.input_shape))
        self.names[node] = self.graph.add(op, name=node.name).name

    def _attribute(self, node: fx.Node) -> None:
        value: Any = self.captured.program.graph_module
        for name in str(node.target).split("."):
            value = getattr(value, name)
        if isinstance(value, torch.Tensor):
            self.fixed[node] = value.detach()
        else:
            self._refuse(node, "a nested graph")

    def _outputs(self, node: fx.Node) -> None:
        for result in self.captured.results:
            if not isinstance(result, fx.Node):
                self._refuse(node, "an output that is not a tensor")
            elif result in self.fixed:
                self._refuse(result, "an output that does not depend on the frames")
            elif result in self.lost:
                continue
            elif result not in self.names:
                self._refuse(result, "an output that is not a tensor per frame")
            else:
                self.graph.add(Output(), [self.names[result]], name="output")

    def _call(self, node: fx.Node) -> None:
        if node.target in IGNORED:
            return
        if any(source in self.lost for source in node.all_input_nodes):
            self.lost.add(node)
        elif self._depends_on_parameters_only(node):
            self.fixed[node] = _compute(node, self.fixed)
        elif isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat | int):
            return
        elif node.target is operator.getitem:
            self._getitem(node)
        else:
            self._import(node)

    def _depends_on_parameters_only(self, node: fx.Node) -> bool:
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        return not random and all(source in self.fixed for source in node.all_input_nodes)

    def _getitem(self, node: fx.Node) -> None:
        source, index = node.args
        if not isinstance(source, fx.Node) or not isinstance(index, int):
            self._refuse(node, "an element of what is no list of tensors")
        elif index == 0 and source in self.names:
            self.names[node] = self.names[source]
        elif source.target in PARTS and source in self.several:
            self._part(node, source, index)
        else:
            reason = self.several.get(source, "only the first result of an operation is supported")
            self._add_opaque(node, source, reason)

    def _part(self, node: fx.Node, source: fx.Node, index: int) -> None:
        """One of the parts that a tensor is split into, as an operation of its own."""
        arguments = self._arguments(source, False)
        arguments = replace(arguments, values=arguments.values | {"part": index}, name=node.name)
        try:
            self.names[node] = PARTS[source.target](arguments)
        except (NotSupportedError, ValueError) as error:
            self._add_opaque(node, source, str(error))

    def _import(self, node: fx.Node) -> None:
        if node.target in PARTS:
            self.several[node] = ""
            return
        try:
            self.names[node] = self._handle(node)
        except (NotSupportedError, ValueError) as error:
            reason = str(error).removeprefix(f"{node.name} at {location_of(node)}: ")
            if isinstance(node.meta.get("val"), tuple | list):
                self.several[node] = reason
            else:
                self._add_opaque(node, node, reason)

    def _handle(self, node: fx.Node) -> str:
        handler = HANDLERS.get(node.target)
        if handler is None:
            raise NotSupportedError(REASONS.get(node.target, ""))
        constant = node in self.fixed
        name = handler(self._arguments(node, constant))
        found = self.graph[name].type
        if found.batched and found.shape != shape_of(node, self.captured.batch):
            wanted = shape_of(node, self.captured.batch)
            self.graph.remove(name)
            raise NotSupportedError(f"its result is {wanted}, read as {found}")
        return name

    def _arguments(self, node: fx.Node, fixed: bool) -> Arguments:
        return Arguments(
            self.graph,
            node,
            bind(node),
            self.lookup,
            fixed,
            self.captured.batch,
            transposed=self._transposed,
        )

    def _add_opaque(self, node: fx.Node, source: fx.Node, reason: str) -> None:
        """Let an operation without a word stand for what it is; refuse a result without a type.

        Parameters
        ----------
        node : fx.Node
            Gives name and type.
        source : fx.Node
            The operation: the node, or what it is a result of.
        """
        try:
            shape = shape_of(node, self.captured.batch)
        except NotSupportedError as error:
            self._refuse(node, f"{error}; {reason}" if reason else str(error))
            return
        operands = [self._operand(one) for one in source.all_input_nodes]
        dtype = DType.BOOL if node.meta["val"].dtype is torch.bool else DType.FLOAT
        op = Opaque(str(source.target), reason, TensorType(shape, dtype), _written(node, source))
        known = [operand for operand in operands if operand]
        self.names[node] = self.graph.add(
            op, known, name=node.name, location=location_of(source)
        ).name

    def _operand(self, node: fx.Node) -> str:
        try:
            return self.lookup(node)
        except NotSupportedError:
            return ""

    # --------------------------------------------------------------------------------- parameters

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
        if node.op == "call_function" and node.target is not operator.getitem:
            try:
                return self._handle(node)
            except (NotSupportedError, ValueError):
                pass
        return self._add_constant(node, node.name, self.fixed[node])

    def _add_constant(self, node: fx.Node, name: str, value: Any) -> str:
        if not isinstance(value, torch.Tensor):
            raise NotSupportedError(f"an operand of type {type(value).__name__}")
        origin = self.origins[node.name][0] if node.name in self.origins else ""
        op, place = constant_of(value, origin), _owner(origin) or location_of(node)
        return self.graph.add(op, name=name, location=place).name

    def _transposed(self, node: fx.Node) -> str:
        """Transpose of a matrix of parameters: the matrix before a transposition, if there is one.

        Otherwise the expression is built again on transposed matrices as far as it takes each
        element by itself, so that the passes still see how a weight is made.
        """
        if _short(node.target) in _TRANSPOSITIONS and len(node.all_input_nodes) == 1:
            return self.lookup(node.all_input_nodes[0])
        matrices = [self.fixed.get(source) for source in node.all_input_nodes]
        shape = self.fixed[node].shape
        plain = all(isinstance(one, torch.Tensor) and one.shape == shape for one in matrices)
        name = f"{node.name}_transposed"
        if node.target in ELEMENTWISE and matrices and plain:
            arguments = Arguments(self.graph, node, bind(node), self._transposed, True, name=name)
            return HANDLERS[node.target](arguments)
        return self._add_constant(node, name, self.fixed[node].t())

    # ----------------------------------------------------------------------------------- refusals

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


def _written(node: fx.Node, source: fx.Node) -> str:
    """Arguments of an operation as text; what is random is like nothing else."""
    if torch.Tag.nondeterministic_seeded in getattr(source.target, "tags", ()):
        return node.name
    index = f"[{node.args[1]}]" if node is not source else ""
    # operands by position: equal operations on equal values are one, whatever the names
    places = {operand: f"#{place}" for place, operand in enumerate(source.all_input_nodes)}
    args, kwargs = fx.map_arg((source.args, dict(source.kwargs)), places.__getitem__)
    return f"{args}{kwargs or ''}{index}"


def _report(refusals: list[_Refusal]) -> str:
    lines = "\n".join(f"  {refusal}" for refusal in refusals)
    known = {_short(target) for target in HANDLERS}
    names = ", ".join(sorted(name for name in known if not name.startswith("_")))
    count = f"{len(refusals)} operation{'s' if len(refusals) > 1 else ''}"
    return f"{count} of the model cannot be compiled:\n{lines}\nSupported: {names}.\n{_WAY_OUT}"


def _short(target: Any) -> str:
    return str(target).removeprefix("aten.").partition(".")[0]
