"""Handlers of what moves values: views, padding, concatenation, copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r2b.frontend.arguments import Arguments, aten, handles, overloads, refuse_if
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
    refuse_if(node.shape() != node.size("self"), "a slice that drops elements")
    return node.make(ops.Identity("slice"), node.tensor("self"))


# ------------------------------------------------------------------------ padding, concatenation


@handles(*overloads("pad.default", "constant_pad_nd.default"))
def _pad(node: Arguments) -> str:
    mode = node.values.get("mode", "constant")
    refuse_if(
        mode != "constant",
        f"padding of mode {mode}: the border must be a constant (zero padding, or "
        "torch.nn.functional.pad with a value)",
    )
    amounts = [int(amount) for amount in node["pad"]] + [0, 0, 0, 0]
    left, right, top, bottom, *others = amounts
    refuse_if(any(others), "padding of channels: concatenate, or use a projection")
    if not any(amounts):
        return node.make(ops.Identity("pad"), node.tensor("self"))
    value = float(node["value"]) if node.has("value") else 0.0
    return node.make(ops.Pad((top, left, bottom, right), value), node.tensor("self"))


@handles(*overloads("cat.default", "concat.default", "concatenate.default"))
def _cat(node: Arguments) -> str:
    names = [node.operand(tensor) for tensor in node["tensors"]]
    rank = len(node.graph[names[0]].type.shape)
    refuse_if(node["dim"] % rank != 1, "concatenation along anything but the channels")
    refuse_if(
        not all(node.graph[name].type.batched for name in names),
        "concatenation of frames with a constant",
    )
    return node.make(ops.Concat(), *names)


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
