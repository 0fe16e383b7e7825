"""Handlers of what moves values: views, padding, concatenation, copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r2b.frontend.arguments import (
    Arguments,
    Handler,
    NotSupportedError,
    aten,
    handles,
    overloads,
    refuse_if,
)
from r2b.frontend.capture import to_numpy
from r2b.ir import ops

# ------------------------------------------------------------------------------------------ views


@handles(
    *overloads("view.default", "_unsafe_view.default", "reshape.default", "view_as.default"),
    *overloads("reshape_as.default", "_reshape_alias.default", "flatten.using_ints"),
    *overloads("unsqueeze.default", "squeeze.default", "squeeze.dim", "squeeze.dims"),
    *overloads("unflatten.int", "view_copy.default", "unsqueeze_copy.default"),
)
def _reshape(node: Arguments) -> str:
    return node.make(ops.Reshape(node.shape()), node.tensor("self"))


@handles(*overloads("expand.default", "expand_as.default", "broadcast_to.default"))
def _expand(node: Arguments) -> str:
    if node.batched("self") or node.fixed:
        return node.make(ops.Expand(node.shape()), node.tensor("self"))
    # a parameter repeated for every frame: whatever uses it broadcasts over the frames
    return node.step(ops.Expand(node.shape()), node.tensor("self"))


@handles(*overloads("permute.default", "transpose.int", "t.default", "movedim.int"))
def _permute(node: Arguments) -> str:
    """Exchange dimensions: a view where none but dimensions of one element pass each other."""
    refuse_if(node.fixed, "a transposition")
    size = node.size("self")
    order = _order(node, len(size))
    moved = [axis for axis in order if size[axis] > 1 or axis == 0]
    refuse_if(
        order[0] != 0 or moved != sorted(moved),
        "dimensions of the frames change places; write the network for N x C x H x W",
    )
    return node.make(ops.Reshape(node.shape()), node.tensor("self"))


def _order(node: Arguments, rank: int) -> list[int]:
    if "dims" in node.values:
        return [axis % rank for axis in node["dims"]]
    refuse_if("source" in node.values, "a moved dimension")
    order = list(range(rank))
    first, second = node.values.get("dim0", 0) % rank, node.values.get("dim1", 1) % rank
    order[first], order[second] = second, first
    return order


@handles(aten.select.int)
def _select(node: Arguments) -> str:
    size = node.size("self")
    refuse_if(
        node.fixed or size[node["dim"] % len(size)] != 1,
        "a part of a tensor: give the convolution that made it fewer channels, or keep all",
    )
    return node.make(ops.Reshape(node.shape()), node.tensor("self"))


@handles(aten.slice.Tensor)
def _slice(node: Arguments) -> str:
    size = node.size("self")
    if node.shape() == size:
        return node.make(ops.Identity("slice"), node.tensor("self"))
    axis = node["dim"] % len(size)
    _refuse_unless_image(node, axis)
    first, last, step = slice(node["start"], node["end"], node["step"]).indices(size[axis])
    return _selected(node, axis, range(first, last, step))


@handles(*overloads("narrow.default"))
def _narrow(node: Arguments) -> str:
    size = node.size("self")
    axis = node["dim"] % len(size)
    _refuse_unless_image(node, axis)
    first = node["start"] % size[axis]
    return _selected(node, axis, range(first, first + node["length"]))


@handles(*overloads("index_select.default"))
def _index_select(node: Arguments) -> str:
    index = node.graph[node.tensor("index")]
    while isinstance(index.op, ops.Identity):
        (index,) = node.graph.operands(index.name)
    if not isinstance(index.op, ops.Constant):
        raise NotSupportedError("an index that depends on the frames")
    axis = node["dim"] % len(node.size("self"))
    _refuse_unless_image(node, axis)
    return _selected(node, axis, [int(channel) for channel in index.op.value.reshape(-1)])


@handles(*overloads("channel_shuffle.default", "native_channel_shuffle.default"))
def _channel_shuffle(node: Arguments) -> str:
    _refuse_unless_image(node, 1)
    channels, groups = node.channels("self"), node["groups"]
    order = [g * (channels // groups) + i for i in range(channels // groups) for g in range(groups)]
    return _selected(node, 1, order)


def _refuse_unless_image(node: Arguments, axis: int) -> None:
    refuse_if(node.fixed or axis == 0, "a part of the frames")
    refuse_if(len(node.size("self")) != 4, "a part of a tensor that is not N x C x H x W")


def _selected(node: Arguments, axis: int, chosen: Sequence[int]) -> str:
    """Choose along one dimension; rows and columns in their order, at one distance."""
    size = node.size("self")
    regular = isinstance(chosen, range) or axis == 1
    refuse_if(not chosen or not regular, "rows or columns put in another order")
    ranges = [range(count) for count in size]
    if axis > 1:
        assert isinstance(chosen, range)
        ranges[axis] = chosen
    channels = tuple(chosen) if axis == 1 else tuple(range(size[1]))
    rows, columns = ranges[2:]
    op = ops.Select(
        channels,
        (rows.start, columns.start),
        (rows.step, columns.step),
        (len(rows), len(columns)),
    )
    return node.make(op, node.tensor("self"))


def _split(node: Arguments) -> str:
    size = node.size("self")
    axis = node["dim"] % len(size)
    _refuse_unless_image(node, axis)
    sizes = [part.shape[axis] for part in node.node.meta["val"]]
    first = sum(sizes[: node["part"]])
    return _selected(node, axis, range(first, first + sizes[node["part"]]))


PARTS: dict[Any, Handler] = dict.fromkeys(
    overloads("split.Tensor", "split_with_sizes.default", "chunk.default"), _split
)
"""ATen operations with a list of results; asked once for each, whose index is argument "part"."""


# ------------------------------------------------------------------------ padding, concatenation


@handles(*overloads("pad.default", "constant_pad_nd.default"))
def _pad(node: Arguments) -> str:
    mode = node.values.get("mode", "constant")
    refuse_if(
        mode != "constant",
        f"padding of mode {mode}: the border must be a constant (zero padding, or "
        "torch.nn.functional.pad with a value)",
    )
    written = [int(amount) for amount in node["pad"]]
    amounts = [*written, *[0] * (8 - len(written))]
    left, right, top, bottom, *others = amounts
    if not any(amounts):
        return node.make(ops.Identity("pad"), node.tensor("self"))
    value = float(node["value"]) if node.has("value") else 0.0
    source, border = node.tensor("self"), ops.Pad((top, left, bottom, right), value)
    if not any(others):
        return node.make(border, source)
    refuse_if(value != 0, "padding of channels with other than 0")
    refuse_if(any(others[2:]), "padding of the frames themselves")
    if any(border.padding):
        source = node.step(border, source)
    return _padded_channels(node, source, others[0], others[1])


def _padded_channels(node: Arguments, source: str, before: int, behind: int) -> str:
    """Add channels of 0; negative numbers take channels away."""
    _refuse_unless_image(node, 1)
    _, channels, rows, columns = node.graph[source].type.shape
    kept = range(max(0, -before), channels - max(0, -behind))
    chosen = (*[-1] * max(0, before), *kept, *[-1] * max(0, behind))
    return node.make(ops.Select(chosen, size=(rows, columns)), source)


@handles(*overloads("cat.default", "concat.default", "concatenate.default"))
def _cat(node: Arguments) -> str:
    names = [node.operand(tensor) for tensor in node["tensors"]]
    framed = next((name for name in names if node.graph[name].type.batched), "")
    refuse_if(not framed, "concatenation of constants")
    rank = len(node.graph[framed].type.shape)
    refuse_if(node["dim"] % rank != 1, "concatenation along anything but the channels")
    parts = [
        name if node.graph[name].type.batched else _zeros(node, name, tensor, framed)
        for name, tensor in zip(names, node["tensors"], strict=True)
    ]
    return node.make(ops.Concat(), *parts)


def _zeros(node: Arguments, name: str, tensor: Any, framed: str) -> str:
    """Channels of 0 that are concatenated with frames, as a selection of none of theirs."""
    constant, size = node.graph[name].op, node.graph[framed].type.shape
    zero = isinstance(constant, ops.Constant) and not constant.value.any()
    refuse_if(not zero or len(size) != 4, "concatenation of frames with a constant that is not 0")
    shape = tuple(tensor.meta["val"].shape)
    refuse_if(len(shape) != 4, "concatenation of frames with a constant of another rank")
    channels = int(shape[1])
    return node.step(ops.Select((-1,) * channels, size=(size[2], size[3])), framed)


@handles(*overloads("repeat.default", "tile.default"))
def _repeat(node: Arguments) -> str:
    size = node.size("self")
    written: Sequence[Any] = node["repeats"] if "repeats" in node.values else node["dims"]
    times = [1] * (len(size) - len(written)) + list(written)
    whole = len(times) == len(size) and all(isinstance(count, int) for count in times)
    refuse_if(
        not whole or node.fixed or any(count != 1 for count in [times[0], *times[2:]]),
        "repetition along anything but the channels",
    )
    refuse_if(not node.batched("self"), "repetition of a constant")
    if len(times) < 2 or times[1] == 1:
        return node.make(ops.Identity("repeat"), node.tensor("self"))
    return node.make(ops.Concat(), *[node.tensor("self")] * times[1])


# ----------------------------------------------------------------------------------------- copies


_IDENTITIES: dict[str, str] = {
    "detach.default": "detach",
    "detach_copy.default": "detach",
    "alias.default": "alias",
    "alias_copy.default": "alias",
    "clone.default": "clone",
    "contiguous.default": "contiguous",
    "lift_fresh_copy.default": "lift",
    "lift.default": "lift",
}


def _identity(kind: str) -> Any:
    def handler(node: Arguments) -> str:
        return node.make(ops.Identity(kind), node.tensor("self"))

    return handler


for _name, _kind in _IDENTITIES.items():
    handles(*overloads(_name), elementwise=True)(_identity(_kind))


@handles(aten.copy.default)
def _copy(node: Arguments) -> str:
    """Content of another tensor in the place of one's own."""
    source = node.graph[node.tensor("src")]
    if source.type.shape == node.shape():
        return node.make(ops.Identity("copy"), source.name)
    return node.step(ops.Expand(node.shape()), source.name)


@handles(
    *overloads("dropout.default", "feature_dropout.default", "alpha_dropout.default"),
    *overloads("feature_alpha_dropout.default", "native_dropout.default"),
)
def _dropout(node: Arguments) -> str:
    refuse_if(bool(node["train"]), "dropout that is active in evaluation")
    return node.make(ops.Identity("dropout"), node.tensor("input"))


def constant_of(tensor: Any, origin: str) -> ops.Constant:
    """Constant of a parameter or of a value computed from parameters."""
    return ops.Constant(to_numpy(tensor), origin)
