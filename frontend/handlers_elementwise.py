"""Handlers of operations that take each element by itself, or each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from r2b.frontend.arguments import (
    Arguments,
    Handler,
    aten,
    handles,
    overloads,
    refuse_if,
)
from r2b.ir import ops
from r2b.ir.types import DType

# ------------------------------------------------------------------------------------ activations


@handles(aten.relu.default, elementwise=True)
def _relu(node: Arguments) -> str:
    return node.make(ops.Relu(), node.tensor("self"))


@handles(aten.sigmoid.default, elementwise=True)
def _sigmoid(node: Arguments) -> str:
    return node.make(ops.Sigmoid(), node.tensor("self"))


@handles(aten.hardtanh.default, aten.relu6.default, elementwise=True)
def _hardtanh(node: Arguments) -> str:
    low, high = node.values.get("min_val", 0), node.values.get("max_val", 6)
    return node.make(ops.Hardtanh(float(low), float(high)), node.tensor("self"))


@handles(aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default, elementwise=True)
def _clamp(node: Arguments) -> str:
    low = float(node["min"]) if node.has("min") else -np.inf
    high = float(node["max"]) if node.has("max") else np.inf
    op = ops.Relu() if (low, high) == (0, np.inf) else ops.Hardtanh(low, high)
    return node.make(op, node.tensor("self"))


@handles(aten.clamp.Tensor, aten.clamp_min.Tensor, aten.clamp_max.Tensor, elementwise=True)
def _clamp_by_tensors(node: Arguments) -> str:
    value = node.tensor("self")
    if node.has("min") and node.has("max"):
        value = node.step(ops.Arithmetic("maximum"), value, node.tensor("min"))
        return node.make(ops.Arithmetic("minimum"), value, node.tensor("max"))
    if node.has("min"):
        return node.make(ops.Arithmetic("maximum"), value, node.tensor("min"))
    return node.make(ops.Arithmetic("minimum"), value, node.tensor("max"))


@handles(aten.threshold.default, elementwise=True)
def _threshold(node: Arguments) -> str:
    level, value = float(node["threshold"]), float(node["value"])
    if level == value == 0:
        return node.make(ops.Relu(), node.tensor("self"))
    above = node.step(ops.Compare("gt"), node.tensor("self"), node.constant(level))
    return node.make(ops.Where(), above, node.tensor("self"), node.constant(value))


@handles(aten.prelu.default, aten._prelu_kernel.default)
def _prelu(node: Arguments) -> str:
    weight = node.tensor("weight")
    kind = node.graph[weight].type
    refuse_if(kind.batched, "a slope that depends on the frames")
    if len(kind.shape) > 1:
        weight = node.step(ops.Reshape((int(np.prod(kind.shape)),)), weight)
    return node.make(ops.ParametricRelu(), node.tensor("self"), weight)


@handles(aten.leaky_relu.default)
def _leaky_relu(node: Arguments) -> str:
    slope = node.constant(float(node["negative_slope"]))
    return node.make(ops.ParametricRelu(), node.tensor("self"), slope)


@handles(aten.rrelu.default)
def _rrelu(node: Arguments) -> str:
    refuse_if(bool(node["training"]), "rrelu that is active in evaluation")
    slope = node.constant((float(node["lower"]) + float(node["upper"])) / 2)
    return node.make(ops.ParametricRelu(), node.tensor("self"), slope)


def _activation(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        return node.make(ops.Activation(kind), node.tensor("self"))

    return handler


for _kind in ("hardsigmoid", "hardswish", "silu"):
    handles(getattr(aten, _kind).default, elementwise=True)(_activation(_kind))


@handles(aten.elu.default)
def _elu(node: Arguments) -> str:
    plain = all(node.values.get(name, 1) == 1 for name in ("alpha", "scale", "input_scale"))
    refuse_if(not plain, "elu with a scale or an alpha that is not 1 (selu, celu)")
    return node.make(ops.Activation("elu"), node.tensor("self"))


@handles(aten.softplus.default)
def _softplus(node: Arguments) -> str:
    refuse_if(node["beta"] != 1 or node["threshold"] < 15, "softplus with a beta or a threshold")
    return node.make(ops.Activation("softplus"), node.tensor("self"))


@handles(aten.gelu.default)
def _gelu(node: Arguments) -> str:
    refuse_if(node["approximate"] != "none", "gelu by its tanh approximation, use the exact one")
    return node.make(ops.Activation("gelu"), node.tensor("self"))


@handles(
    *overloads("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default"),
)
def _softmax(node: Arguments) -> str:
    rank = len(node.size("self"))
    last = rank == 2 and node["dim"] % rank == 1
    refuse_if(not last, "softmax over anything but the classes N x C")
    logarithm = "log_softmax" in str(node.node.target)
    return node.make(ops.Softmax(logarithm), node.tensor("self"))


# ------------------------------------------------------------------------------------ arithmetic


@handles(aten.sign.default, aten.sgn.default, elementwise=True)
def _sign(node: Arguments) -> str:
    return node.make(ops.Sign(0, "torch.sign"), node.tensor("self"))


def _binary(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        left, right = node.tensor("self"), node.tensor("other")
        truths = all(node.graph[name].type.dtype is DType.BOOL for name in (left, right))
        refuse_if(
            truths and kind != "mul", "arithmetic of truth values, convert them with .float()"
        )
        if node.values.get("alpha", 1) != 1:
            factor = node.constant(float(node["alpha"]))
            right = node.graph.add(ops.Arithmetic("mul"), [right, factor], near=factor).name
        return node.make(ops.Arithmetic(kind), left, right)

    return handler


_ARITHMETIC: dict[str, tuple[str, ...]] = {
    "add": ("add.Tensor", "add.Scalar"),
    "sub": ("sub.Tensor", "sub.Scalar"),
    "mul": ("mul.Tensor", "mul.Scalar"),
    "div": ("div.Tensor", "div.Scalar"),
    "maximum": ("maximum.default",),
    "minimum": ("minimum.default",),
}

for _kind, _names in _ARITHMETIC.items():
    handles(*overloads(*_names), elementwise=True)(_binary(_kind))


@handles(aten.rsub.Scalar, aten.rsub.Tensor, elementwise=True)
def _rsub(node: Arguments) -> str:
    refuse_if(node["alpha"] != 1, "rsub with alpha")
    return node.make(ops.Arithmetic("sub"), node.tensor("other"), node.tensor("self"))


@handles(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar, elementwise=True)
def _pow(node: Arguments) -> str:
    return node.make(ops.Arithmetic("pow"), node.tensor("self"), node.tensor("exponent"))


@handles(*overloads("square.default"), elementwise=True)
def _square(node: Arguments) -> str:
    return node.make(ops.Arithmetic("pow"), node.tensor("self"), node.constant(2.0))


def _compare(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        return node.make(ops.Compare(kind), node.tensor("self"), node.tensor("other"))

    return handler


for _kind in ("ge", "gt", "le", "lt", "eq", "ne"):
    _packet = getattr(aten, _kind)
    handles(_packet.Scalar, _packet.Tensor, elementwise=True)(_compare(_kind))


@handles(
    aten.where.self,
    aten.where.Scalar,
    aten.where.ScalarSelf,
    aten.where.ScalarOther,
    elementwise=True,
)
def _where(node: Arguments) -> str:
    branches = (node.tensor("self"), node.tensor("other"))
    return node.make(ops.Where(), node.tensor("condition"), *branches)


@handles(aten.masked_fill.Scalar, aten.masked_fill.Tensor, elementwise=True)
def _masked_fill(node: Arguments) -> str:
    return node.make(ops.Where(), node.tensor("mask"), node.tensor("value"), node.tensor("self"))


@handles(aten.index_put.default)
def _index_put(node: Arguments) -> str:
    """``x[mask] = number``; other indices are assignments to a part of a tensor."""
    masks = [node.operand(index) for index in node["indices"] if index is not None]
    kinds = [node.graph[mask].type for mask in masks]
    whole = len(node["indices"]) == 1 and [kind.shape for kind in kinds] == [node.shape()]
    refuse_if(
        not whole or kinds[0].dtype is not DType.BOOL or bool(node["accumulate"]),
        "an assignment to a part of a tensor: use a mask of its shape, or torch.where",
    )
    value = node.tensor("values")
    refuse_if(node.graph[value].type.shape not in ((), (1,)), "an assignment of several values")
    return node.make(ops.Where(), masks[0], value, node.tensor("self"))


@handles(*overloads("bitwise_not.default", "logical_not.default"), elementwise=True)
def _not(node: Arguments) -> str:
    return node.make(ops.Compare("eq"), _as_number(node, "self"), node.constant(0.0))


def _as_number(node: Arguments, name: str) -> str:
    """0 and 1 of a truth value; a real value, which is true where it is not 0, by comparison."""
    value = node.tensor(name)
    if node.graph[value].type.dtype is DType.BOOL:
        return node.step(ops.ToFloat(), value)
    refuse_if("logical" not in str(node.node.target), "arithmetic of bits")
    return node.step(ops.ToFloat(), node.step(ops.Compare("ne"), value, node.constant(0.0)))


def _logical(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        joined = ops.Arithmetic(kind)
        value = node.step(joined, _as_number(node, "self"), _as_number(node, "other"))
        return node.make(ops.Compare("ne"), value, node.constant(0.0))

    return handler


_LOGIC = {"and": "mul", "or": "maximum", "xor": "sub"}

for _name, _kind in _LOGIC.items():
    _names = (f"bitwise_{_name}.Tensor", f"logical_{_name}.default", f"__{_name}__.Tensor")
    handles(*overloads(*_names), elementwise=True)(_logical(_kind))


@handles(aten.heaviside.default, elementwise=True)
def _heaviside(node: Arguments) -> str:
    value, zero = node.tensor("self"), node.constant(0.0)
    above = node.step(ops.ToFloat(), node.step(ops.Compare("gt"), value, zero))
    return node.make(
        ops.Where(), node.step(ops.Compare("eq"), value, zero), node.tensor("values"), above
    )


def _unary(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        return node.make(ops.Unary(kind), node.tensor("self"))

    return handler


for _kind in ("neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp", "tanh"):
    handles(getattr(aten, _kind).default, elementwise=True)(_unary(_kind))


# ------------------------------------------------------------------------------ numbers, types


_FILLS: dict[Any, float | None] = {
    **dict.fromkeys(
        overloads("full.default", "full_like.default", "new_full.default", "fill.Scalar")
    ),
    **dict.fromkeys(overloads("ones.default", "ones_like.default", "new_ones.default"), 1.0),
    **dict.fromkeys(overloads("zeros.default", "zeros_like.default", "new_zeros.default"), 0.0),
}
"""The number that an operation fills a tensor with; None where it is an argument."""


@handles(*_FILLS)
def _full(node: Arguments) -> str:
    fill = _FILLS[node.node.target]
    if fill is None:
        fill = float(node["fill_value" if "fill_value" in node.values else "value"])
    shape = tuple(node.node.meta["val"].shape)
    if node.fixed and all(isinstance(size, int) for size in shape):
        return node.constant(np.full(shape, fill))
    # one number stands for all: whatever uses it broadcasts
    return node.constant(fill)


@handles(
    *overloads("_to_copy.default", "to.dtype", "to.other", "to.device", "to.dtype_layout"),
    *overloads("type_as.default", "_cast_Float.default", "prims::convert_element_type.default"),
    elementwise=True,
)
def _convert(node: Arguments) -> str:
    """Change the type: 0 and 1 of truth values are exact in every type, real ones in two."""
    dtype = node.node.meta["val"].dtype
    source = node.tensor("self")
    kind = node.graph[source].type.dtype
    if dtype is torch.bool:
        if kind is DType.BOOL:
            return node.make(ops.Identity("to"), source)
        return node.make(ops.Compare("ne"), source, node.constant(0.0))
    exact = kind is DType.BOOL or dtype in (torch.float32, torch.float64)
    refuse_if(not exact, f"a conversion to {str(dtype).removeprefix('torch.')}, use float32")
    return node.make(ops.ToFloat(), source)
