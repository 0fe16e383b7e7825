"""One handler per group of ATen operations: from the node's arguments to operations of the Graph.

A handler is given an :class:`Arguments` and returns the name of the value it made. What it cannot
express it refuses with :class:`NotSupportedError`; the importer collects these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from r2b.frontend.capture import location_of, to_numpy
from r2b.ir import ops
from r2b.ir.graph import Graph

aten = torch.ops.aten


class NotSupportedError(Exception):
    """A node that no operation of the Graph expresses; the text says why."""


@dataclass(frozen=True)
class Arguments:
    """A node of the ATen graph with its arguments by the names of the schema.

    Parameters
    ----------
    graph : Graph
        The graph under construction.
    node : fx.Node
    values : dict
        By ATen name: arguments as written, defaults filled in.
    lookup : callable
        From an ATen node to the name of its value in the graph.
    fixed : bool
        The node depends on parameters only.
    """

    graph: Graph
    node: fx.Node
    values: dict[str, Any]
    lookup: Callable[[fx.Node], str]
    fixed: bool = False

    def __getitem__(self, name: str) -> Any:
        """Argument that is not a tensor, as written."""
        return self.values[name]

    def has(self, name: str) -> bool:
        """Tell whether an optional argument is given."""
        return self.values.get(name) is not None

    def tensor(self, name: str) -> str:
        """Value of a tensor argument, or of the number written in its place."""
        return self.operand(self.values[name])

    def operand(self, value: Any) -> str:
        """Value of a node, or a constant for a number."""
        if isinstance(value, fx.Node):
            return self.lookup(value)
        if isinstance(value, bool | int | float):
            return self.constant(float(value))
        raise NotSupportedError(f"an operand of type {type(value).__name__}")

    def constant(self, value: float | np.ndarray) -> str:
        """Make a constant of this node."""
        constant = ops.Constant(np.asarray(value, dtype=np.float64))
        return self.graph.add(constant, name="number", location=location_of(self.node)).name

    def channels(self, name: str) -> int:
        """Channels of a tensor argument."""
        return self.graph[self.tensor(name)].type.channels

    def size(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor argument, 1 for the frames."""
        return self.graph[self.tensor(name)].type.shape

    def pair(self, name: str) -> ops.Pair:
        """Vertical and horizontal size, from one number or two."""
        return _pair(self.values[name])

    def shape(self) -> tuple[int, ...]:
        """Shape of the node's own value, 1 for the frames."""
        return tuple(self.node.meta["val"].shape) if self.fixed else shape_of(self.node)

    def make(self, op: ops.Op, *operands: str) -> str:
        """Add an operation under the name of the node."""
        return self.graph.add(
            op, operands, name=self.node.name, location=location_of(self.node)
        ).name


Handler = Callable[[Arguments], str]

HANDLERS: dict[Any, Handler] = {}
"""Every ATen operation that is supported; :func:`handles` fills it."""

IGNORED = frozenset(
    {
        aten._assert_tensor_metadata.default,
        aten._assert_scalar.default,
        aten.sym_constrain_range.default,
        aten.sym_constrain_range_for_size.default,
    }
)
"""Operations without a value, and without an effect on a network that ran once."""


def handles(*targets: Any) -> Callable[[Handler], Handler]:
    """Register the decorated function for some ATen operations."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(targets, handler))
        return handler

    return register


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of the value of a node that depends on the frames; 1 stands for their number."""
    value = node.meta["val"]
    sizes = list(value[0].shape if isinstance(value, tuple) else value.shape)
    if not sizes or isinstance(sizes[0], int) or not sizes[0].node.expr.is_symbol:
        raise NotSupportedError("the first dimension of its result is not the number of frames")
    if not all(isinstance(size, int) for size in sizes[1:]):
        raise NotSupportedError("a dimension of its result, not the first, depends on the frames")
    return (1, *sizes[1:])


def _pair(value: Any) -> ops.Pair:
    numbers = [value] if isinstance(value, int) else list(value)
    if len(numbers) not in (1, 2) or not all(isinstance(number, int) for number in numbers):
        raise NotSupportedError(f"{numbers} where one number or a pair is expected")
    return int(numbers[0]), int(numbers[-1])


def _refuse_if(condition: bool, reason: str) -> None:
    if condition:
        raise NotSupportedError(reason)


# ---------------------------------------------------------------------------------- contractions


@handles(aten.conv2d.default, aten.conv2d.padding)
def _conv2d(node: Arguments) -> str:
    top, left = (0, 0) if isinstance(node["padding"], str) else node.pair("padding")
    padding = (top, left, top, left)
    weight = node["weight"].meta["val"].shape
    if node["padding"] == "same":
        padding = _same_padding((int(weight[2]), int(weight[3])), node.pair("dilation"))
    op = ops.Convolution(node.pair("stride"), padding, node.pair("dilation"), node["groups"])
    return node.make(op, *_present(node, "input", "weight", "bias"))


def _same_padding(kernel: ops.Pair, dilation: ops.Pair) -> ops.Padding:
    """Padding that keeps the size; an odd rest goes to the bottom and to the right."""
    total = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    top, left = total[0] // 2, total[1] // 2
    return top, left, total[0] - top, total[1] - left


def _present(node: Arguments, *names: str) -> Iterable[str]:
    return [node.tensor(name) for name in names if node.has(name)]


@handles(aten.linear.default)
def _linear(node: Arguments) -> str:
    return node.make(ops.Dense(), *_present(node, "input", "weight", "bias"))


# ------------------------------------------------------------------------- per channel, activation


@handles(
    aten.batch_norm.default,
    aten._native_batch_norm_legit_no_training.default,
)
def _batch_norm(node: Arguments) -> str:
    _refuse_if(bool(node.values.get("training")), "batch norm that uses the statistics of a batch")
    _refuse_if(not node.has("running_mean"), "batch norm without running statistics")
    channels = node.channels("input")
    gamma = node.tensor("weight") if node.has("weight") else node.constant(np.ones(channels))
    beta = node.tensor("bias") if node.has("bias") else node.constant(np.zeros(channels))
    statistics = (node.tensor("running_mean"), node.tensor("running_var"))
    return node.make(ops.Normalization(node["eps"]), node.tensor("input"), gamma, beta, *statistics)


@handles(aten.prelu.default)
def _prelu(node: Arguments) -> str:
    return node.make(ops.ParametricRelu(), node.tensor("self"), node.tensor("weight"))


@handles(aten.leaky_relu.default)
def _leaky_relu(node: Arguments) -> str:
    slope = node.constant(float(node["negative_slope"]))
    return node.make(ops.ParametricRelu(), node.tensor("self"), slope)


@handles(aten.relu.default)
def _relu(node: Arguments) -> str:
    return node.make(ops.Relu(), node.tensor("self"))


@handles(aten.sigmoid.default)
def _sigmoid(node: Arguments) -> str:
    return node.make(ops.Sigmoid(), node.tensor("self"))


@handles(aten.hardtanh.default, aten.relu6.default)
def _hardtanh(node: Arguments) -> str:
    low, high = node.values.get("min_val", 0), node.values.get("max_val", 6)
    return node.make(ops.Hardtanh(float(low), float(high)), node.tensor("self"))


@handles(aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default)
def _clamp(node: Arguments) -> str:
    low = float(node["min"]) if node.has("min") else -np.inf
    high = float(node["max"]) if node.has("max") else np.inf
    op = ops.Relu() if (low, high) == (0, np.inf) else ops.Hardtanh(low, high)
    return node.make(op, node.tensor("self"))


@handles(aten.sign.default)
def _sign(node: Arguments) -> str:
    return node.make(ops.Sign(0), node.tensor("self"))


# ------------------------------------------------------------------------------------ arithmetic


def _binary(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        left, right = node.tensor("self"), node.tensor("other")
        if node.values.get("alpha", 1) != 1:
            factor = node.constant(float(node["alpha"]))
            right = node.graph.add(ops.Arithmetic("mul"), [right, factor], near=factor).name
        return node.make(ops.Arithmetic(kind), left, right)

    return handler


_ARITHMETIC: dict[str, tuple[Any, ...]] = {
    "add": (aten.add.Tensor, aten.add.Scalar),
    "sub": (aten.sub.Tensor, aten.sub.Scalar),
    "mul": (aten.mul.Tensor, aten.mul.Scalar),
    "div": (aten.div.Tensor, aten.div.Scalar),
    "maximum": (aten.maximum.default,),
    "minimum": (aten.minimum.default,),
}

for _kind, _targets in _ARITHMETIC.items():
    handles(*_targets)(_binary(_kind))


@handles(aten.rsub.Scalar, aten.rsub.Tensor)
def _rsub(node: Arguments) -> str:
    _refuse_if(node["alpha"] != 1, "rsub with alpha")
    return node.make(ops.Arithmetic("sub"), node.tensor("other"), node.tensor("self"))


@handles(aten.pow.Tensor_Scalar)
def _pow(node: Arguments) -> str:
    return node.make(ops.Arithmetic("pow"), node.tensor("self"), node.tensor("exponent"))


def _compare(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        return node.make(ops.Compare(kind), node.tensor("self"), node.tensor("other"))

    return handler


for _kind in ("ge", "gt", "le", "lt", "eq", "ne"):
    _packet = getattr(aten, _kind)
    handles(_packet.Scalar, _packet.Tensor)(_compare(_kind))


@handles(aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther)
def _where(node: Arguments) -> str:
    branches = (node.tensor("self"), node.tensor("other"))
    return node.make(ops.Where(), node.tensor("condition"), *branches)


def _unary(kind: Any) -> Handler:
    def handler(node: Arguments) -> str:
        return node.make(ops.Unary(kind), node.tensor("self"))

    return handler


for _kind in ("neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp", "tanh"):
    handles(getattr(aten, _kind).default)(_unary(_kind))


@handles(aten.ones_like.default, aten.zeros_like.default, aten.full_like.default)
def _full_like(node: Arguments) -> str:
    fills: dict[Any, float] = {aten.ones_like.default: 1.0, aten.zeros_like.default: 0.0}
    fill = fills.get(node.node.target, node.values.get("fill_value"))
    # one number stands for all: whatever uses it broadcasts
    return node.constant(float(fill))  # pyright: ignore[reportArgumentType]


# --------------------------------------------------------------------------------------- pooling


@handles(aten.max_pool2d.default)
def _max_pool2d(node: Arguments) -> str:
    _refuse_if(node.pair("dilation") != (1, 1), "max pooling with a dilation")
    kernel, stride = _window(node)
    return node.make(ops.MaxPool2d(kernel, stride, _pool_padding(node)), node.tensor("self"))


@handles(aten.avg_pool2d.default)
def _avg_pool2d(node: Arguments) -> str:
    _refuse_if(node.has("divisor_override"), "average pooling with a divisor of its own")
    kernel, stride = _window(node)
    padding = _pool_padding(node)
    counts = bool(node["count_include_pad"])
    grown = padding[:2] != padding[2:]
    _refuse_if(counts and grown, "average pooling with ceil_mode whose last window is cut off")
    # without padding both divisors are the same, and the window size is the simpler one
    op = ops.AvgPool2d(kernel, stride, padding, counts or not any(padding))
    return node.make(op, node.tensor("self"))


def _window(node: Arguments) -> tuple[ops.Pair, ops.Pair]:
    kernel = node.pair("kernel_size")
    return kernel, node.pair("stride") if node["stride"] else kernel


def _pool_padding(node: Arguments) -> ops.Padding:
    """Padding; what ceil_mode adds at the bottom and on the right is written out."""
    top, left = node.pair("padding")
    kernel, stride = _window(node)
    source, result = node.size("self")[2:], node.shape()[2:]
    needed = [
        (result[axis] - 1) * stride[axis] + kernel[axis] - source[axis] - (top, left)[axis]
        for axis in range(2)
    ]
    return top, left, max(top, needed[0]), max(left, needed[1])


@handles(aten.adaptive_avg_pool2d.default)
def _adaptive_avg_pool2d(node: Arguments) -> str:
    return node.make(ops.AdaptiveAvgPool2d(node.shape()[2:]), node.tensor("self"))  # pyright: ignore[reportArgumentType]


@handles(aten.mean.dim)
def _mean(node: Arguments) -> str:
    rank = len(node.size("self"))
    axes = node["dim"] or range(rank)
    normal = tuple(sorted(axis % rank for axis in axes))
    return node.make(ops.Mean(normal, bool(node["keepdim"])), node.tensor("self"))


# ----------------------------------------------------------------------------------------- shape


@handles(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)
def _reshape(node: Arguments) -> str:
    return node.make(ops.Reshape(node.shape()), node.tensor("self"))


@handles(aten.expand.default, aten.expand_as.default)
def _expand(node: Arguments) -> str:
    return node.make(ops.Expand(node.shape()), node.tensor("self"))


@handles(aten.slice.Tensor)
def _slice(node: Arguments) -> str:
    _refuse_if(node.shape() != node.size("self"), "a slice that drops elements")
    return node.make(ops.Identity("slice"), node.tensor("self"))


_IDENTITIES: dict[Any, str] = {
    aten.detach.default: "detach",
    aten.alias.default: "alias",
    aten.clone.default: "clone",
    aten.contiguous.default: "contiguous",
    aten.lift_fresh_copy.default: "lift",
}


@handles(*_IDENTITIES)
def _identity(node: Arguments) -> str:
    kind = _IDENTITIES[node.node.target]
    return node.make(ops.Identity(kind), next(iter(_present(node, "self"))))


@handles(aten.dropout.default, aten.feature_dropout.default)
def _dropout(node: Arguments) -> str:
    _refuse_if(bool(node["train"]), "dropout that is active in evaluation")
    return node.make(ops.Identity("dropout"), node.tensor("input"))


@handles(
    aten._to_copy.default,
    aten.to.dtype,
    aten.to.other,
    aten.to.device,
    aten.to.dtype_layout,
    aten.type_as.default,
)
def _to_float(node: Arguments) -> str:
    dtype = node.node.meta["val"].dtype
    _refuse_if(dtype != torch.float32, f"a conversion to {str(dtype).removeprefix('torch.')}")
    return node.make(ops.ToFloat(), node.tensor("self"))


def constant_of(tensor: torch.Tensor, origin: str) -> ops.Constant:
    """Constant of a parameter or of a value computed from parameters."""
    return ops.Constant(to_numpy(tensor), origin)
