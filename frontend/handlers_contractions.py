"""Handlers of convolutions, linear layers, matrix products and normalisations."""

from __future__ import annotations

import numpy as np
from torch import fx

from r2b.frontend.arguments import Arguments, aten, handles, overloads, refuse_if
from r2b.ir import ops

# ---------------------------------------------------------------------------------- convolutions


@handles(aten.conv2d.default, aten.conv2d.padding)
def _conv2d(node: Arguments) -> str:
    top, left = (0, 0) if isinstance(node["padding"], str) else node.pair("padding")
    padding = (top, left, top, left)
    weight = node["weight"].meta["val"].shape
    if node["padding"] == "same":
        padding = _same_padding((int(weight[2]), int(weight[3])), node.pair("dilation"))
    return _convolution(node, padding)


@handles(aten.convolution.default)
def _any_convolution(node: Arguments) -> str:
    refuse_if(bool(node["transposed"]), "a transposed convolution")
    top, left = node.pair("padding")
    return _convolution(node, (top, left, top, left))


def _convolution(node: Arguments, padding: ops.Padding) -> str:
    refuse_if(node.batched("weight"), "a weight that depends on the frames")
    op = ops.Convolution(node.pair("stride"), padding, node.pair("dilation"), node["groups"])
    return node.make(op, *node.present("input", "weight", "bias"))


def _same_padding(kernel: ops.Pair, dilation: ops.Pair) -> ops.Padding:
    """Padding that keeps the size; an odd rest goes to the bottom and to the right."""
    total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    top, left = total[0] // 2, total[1] // 2
    return top, left, total[0] - top, total[1] - left


# ------------------------------------------------------------------------------ matrix products


@handles(aten.linear.default)
def _linear(node: Arguments) -> str:
    refuse_if(node.batched("weight"), "a weight that depends on the frames")
    return node.make(ops.Dense(), *node.present("input", "weight", "bias"))


@handles(aten.matmul.default, aten.mm.default)
def _matmul(node: Arguments) -> str:
    right = "other" if "other" in node.values else "mat2"
    return node.make(ops.Dense(), node.tensor("self"), _weight(node, node[right]))


@handles(aten.addmm.default)
def _addmm(node: Arguments) -> str:
    refuse_if((node["alpha"], node["beta"]) != (1, 1), "addmm with alpha or beta")
    operands = (node.tensor("mat1"), _weight(node, node["mat2"]))
    if not node.batched("self") and len(node.size("self")) == 1:
        return node.make(ops.Dense(), *operands, node.tensor("self"))
    product = node.step(ops.Dense(), *operands)
    return node.make(ops.Arithmetic("add"), product, node.tensor("self"))


@handles(aten.einsum.default)
def _einsum(node: Arguments) -> str:
    """Products over the last dimension of the frames' side: ``bi,oi->bo`` or ``bi,io->bo``."""
    left, right, result = node["equation"].replace(" ", "").replace("->", ",").split(",")
    refuse_if(len(node["tensors"]) != 2 or "." in node["equation"], "this form of einsum")
    first, second = node["tensors"]
    if node.graph[node.operand(second)].type.batched:
        left, right, first, second = right, left, second, first
    inner = left[-1:]
    outer = right.replace(inner, "")
    plain = len(right) == 2 and result == left[:-1] + outer and outer not in left
    refuse_if(not plain, f"einsum of the form {node['equation']}, write it as a linear layer")
    weight = node.operand(second) if right == outer + inner else _weight(node, second)
    return node.make(ops.Dense(), node.operand(first), weight)


def _weight(node: Arguments, right: fx.Node) -> str:
    """Transpose of the right side of a product, as a linear layer has its weight."""
    found = node.graph[node.operand(right)].type
    refuse_if(
        found.batched or len(found.shape) != 2,
        "a product of two tensors: the right side must be a weight of two dimensions",
    )
    refuse_if(node.transposed is None, "a product of parameters")
    return node.transposed(right)  # pyright: ignore[reportOptionalCall]


# -------------------------------------------------------------------------------- normalisation


@handles(
    *overloads(
        "batch_norm.default",
        "native_batch_norm.default",
        "cudnn_batch_norm.default",
        "miopen_batch_norm.default",
        "_native_batch_norm_legit.default",
        "_native_batch_norm_legit_functional.default",
        "_native_batch_norm_legit_no_training.default",
    )
)
def _batch_norm(node: Arguments) -> str:
    refuse_if(
        not node.has("running_mean") or bool(node.values.get("training")),
        "batch norm that uses the statistics of a batch: train it with "
        "track_running_stats=True and leave it in evaluation mode",
    )
    channels = node.channels("input")
    gamma = node.tensor("weight") if node.has("weight") else node.constant(np.ones(channels))
    beta = node.tensor("bias") if node.has("bias") else node.constant(np.zeros(channels))
    statistics = (node.tensor("running_mean"), node.tensor("running_var"))
    eps = node["eps"] if "eps" in node.values else node["epsilon"]
    return node.make(ops.Normalization(eps), node.tensor("input"), gamma, beta, *statistics)
