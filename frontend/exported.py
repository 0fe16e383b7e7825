"""A program that somebody else exported, made into a :class:`~r2b.frontend.capture.Capture`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from r2b.frontend.capture import Capture, functional
from r2b.frontend.handlers import aten
from r2b.frontend.locations import location_of
from r2b.ir.errors import UnsupportedOpError, UserError

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_NORMS = ("batch_norm", "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit")


def capture_program(program: ExportedProgram) -> Capture:
    """Capture an exported program.

    The number of frames is symbolic, or the first dimension of the program's input. In the latter
    case a first dimension of that size is taken for the frames wherever a value depends on the
    input; :mod:`r2b.frontend.check` then compares values.

    Raises
    ------
    UserError
        The program has not one float32 input N x C x H x W or N x F.
    UnsupportedOpError
        The program was exported in training mode.
    """
    _refuse_training(program)
    _refuse_keywords(program)
    shape = _input_shape(program)
    batch = shape[0] if isinstance(shape[0], int) else None
    graph = copy.deepcopy(program.graph_module.graph)
    for node, original in zip(graph.nodes, program.graph_module.graph.nodes, strict=True):
        node.name = original.name  # a copy renames what Python calls so too, for example input
    twin = ExportedProgram(
        program.graph_module,
        graph,
        copy.deepcopy(program.graph_signature),
        program.state_dict,
        dict(program.range_constraints),
        list(program.module_call_graph),
        program.example_inputs,
        program.constants,
        verifiers=program.verifiers,
    )
    if batch is None and not _is_symbol(shape[0]):
        raise UserError("the first dimension of the program's input must be the number of frames")
    return Capture(functional(twin), tuple(shape[1:]), batch)


def _refuse_keywords(program: ExportedProgram) -> None:
    """Refuse frames that are not the one positional argument; only such can be given them."""
    spec = program.call_spec.in_spec
    if spec is None:
        return
    args, kwargs = spec.children()
    leaf = args.num_children == 1 and args.children()[0].is_leaf()
    if kwargs.num_children or (args.num_leaves == 1 and not leaf):
        raise UserError(
            "the exported program takes its frames by keyword or inside of another value: export "
            "a model whose forward takes the frames as its one argument, "
            "torch.export.export(model, (frames,))"
        )


def _input_shape(program: ExportedProgram) -> list[Any]:
    names = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT
    ]
    if len(names) != 1:
        raise UserError(
            f"the exported program takes {len(names)} inputs: export a model that takes the "
            "frames alone"
        )
    value = next(node for node in program.graph.nodes if node.name == names[0]).meta["val"]
    if not isinstance(value, torch.Tensor):
        raise UserError("the input of the exported program must be a tensor")
    if value.dtype != torch.float32 or value.ndim not in (2, 4):
        kind = str(value.dtype).removeprefix("torch.")
        raise UserError(
            "the exported program must take frames N x C x H x W or vectors N x F of float32, not "
            f"{kind} of {value.ndim} dimensions"
        )
    sizes = list(value.shape)
    if not all(isinstance(size, int) for size in sizes[1:]):
        raise UserError(
            "the exported program takes images of any size: the accelerator is built for one. "
            "Export it with a dynamic first dimension only."
        )
    return sizes


def _is_symbol(size: Any) -> bool:
    return bool(size.node.expr.is_symbol)


def _refuse_training(program: ExportedProgram) -> None:
    graphs = [part for part in program.graph_module.modules() if isinstance(part, fx.GraphModule)]
    places = [
        f"{node.target} at {location_of(node)}"
        for part in graphs
        for node in part.graph.nodes
        if _trains(node)
    ]
    if places:
        raise UnsupportedOpError(
            f"the program was exported in training mode: {', '.join(places[:3])} "
            f"({len(places)} in all). Call model.eval() before torch.export.export."
        )


def _trains(node: fx.Node) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    name = str(packet).removeprefix("aten.")
    if packet is None or name not in (*_DROPOUTS, *_NORMS, "native_dropout"):
        return node.target is aten._native_batch_norm_legit_functional.default
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    written = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    has_statistics = name not in _NORMS or written.get("running_mean") is not None
    return bool(written.get("train", written.get("training"))) and has_statistics
