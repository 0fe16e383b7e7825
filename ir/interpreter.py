"""Float semantics of the Graph in NumPy, one function per operation.

The functions follow PyTorch's definitions; the results have the precision of the operands (float64
by default). They are vectorised over frames and pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.graph import Graph

Array = npt.NDArray[Any]
OpT = TypeVar("OpT", bound=ops.Op)
Semantics = Callable[[Any, Sequence[Array]], Array]

SEMANTICS: dict[type[ops.Op], Semantics] = {}
"""The function of each operation; :func:`semantics` fills it."""


def semantics(
    op: type[OpT],
) -> Callable[[Callable[[OpT, Sequence[Array]], Array]], Callable[[OpT, Sequence[Array]], Array]]:
    """Register the decorated function as the meaning of an operation."""

    def register(
        function: Callable[[OpT, Sequence[Array]], Array],
    ) -> Callable[[OpT, Sequence[Array]], Array]:
        SEMANTICS[op] = function
        return function

    return register


def evaluate(op: ops.Op, operands: Sequence[Array]) -> Array:
    """Compute one operation on the values of its operands."""
    with np.errstate(all="ignore"):  # NaN and infinity are values here, as in PyTorch
        return SEMANTICS[type(op)](op, operands)


def run(graph: Graph, frames: Array, dtype: npt.DTypeLike = np.float64) -> dict[str, Array]:
    """Compute every value of a graph with one input.

    Parameters
    ----------
    graph : Graph
    frames : array, N x C x H x W
    dtype : precision of the computation

    Returns
    -------
    dict
        Value of each node by its name, frames first.

    Raises
    ------
    ValueError
        The graph has not one input, or the frames do not fit it.
    """
    inputs = graph.inputs
    if len(inputs) != 1:
        raise ValueError(f"the graph must have one input, not {len(inputs)}")
    shape = inputs[0].type.shape[1:]
    if frames.shape[1:] != shape:
        raise ValueError(f"the frames must be N x {shape}, not {frames.shape}")
    values: dict[str, Array] = {inputs[0].name: frames.astype(dtype)}
    for node in graph.nodes():
        if node.name not in values:
            value = evaluate(node.op, [values[name] for name in node.operands])
            values[node.name] = value if value.dtype == np.bool_ else value.astype(dtype)
    return values


def _like(array: Array, model: Array) -> Array:
    """Give an array of parameters the precision of a value."""
    return array.astype(np.result_type(model.dtype, np.float16))


def _by_channel(array: Array, value: Array) -> Array:
    """Shape one value per channel so that it broadcasts along dimension 1 of `value`."""
    return _like(array, value).reshape(-1, *([1] * (value.ndim - 2)))


@semantics(ops.Input)
def _input(op: ops.Input, operands: Sequence[Array]) -> Array:
    raise ValueError("the value of an Input is given, not computed")


@semantics(ops.Output)
def _output(op: ops.Output, operands: Sequence[Array]) -> Array:
    return operands[0]


@semantics(ops.Identity)
def _identity(op: ops.Identity, operands: Sequence[Array]) -> Array:
    return operands[0]


# --------------------------------------------------------------------------------- contractions


def _taps(
    image: Array,
    kernel: ops.Pair,
    stride: ops.Pair,
    padding: ops.Padding,
    dilation: ops.Pair,
    fill: float,
) -> list[Array]:
    """For each tap of the window, row by row, the pixels it meets: N x C x OH x OW."""
    top, left, bottom, right = padding
    padded = np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    height, width = ops.window_size(image.shape[2:], kernel, stride, padding, dilation)
    return [
        padded[
            :,
            :,
            row * dilation[0] :: stride[0],
            column * dilation[1] :: stride[1],
        ][:, :, :height, :width]
        for row in range(kernel[0])
        for column in range(kernel[1])
    ]


def _convolve(
    op: ops.Conv2d | ops.BinaryConv2d | ops.Convolution, image: Array, weight: Array
) -> Array:
    """Sum over taps of a matrix product over channels, group by group."""
    fill = getattr(op, "padding_value", 0)
    outputs, inputs, *kernel = weight.shape
    matrices = weight.reshape(op.groups, outputs // op.groups, inputs, -1)
    total = np.zeros(1, image.dtype)
    size: tuple[int, ...] = ()
    taps = _taps(image, cast(ops.Pair, tuple(kernel)), op.stride, op.padding, op.dilation, fill)
    for index, pixels in enumerate(taps):
        size = pixels.shape[2:]
        columns = pixels.reshape(len(image), op.groups, inputs, -1)
        total = total + np.matmul(np.ascontiguousarray(matrices[..., index]), columns)
    return total.reshape(len(image), outputs, *size)


@semantics(ops.Conv2d)
def _conv2d(op: ops.Conv2d, operands: Sequence[Array]) -> Array:
    result = _convolve(op, operands[0], _like(op.weight, operands[0]))
    return result if op.bias is None else result + _by_channel(op.bias, result)


@semantics(ops.Convolution)
def _convolution(op: ops.Convolution, operands: Sequence[Array]) -> Array:
    result = _convolve(op, operands[0], operands[1])
    return result + _by_channel(operands[2], result) if len(operands) == 3 else result


@semantics(ops.BinaryConv2d)
def _binary_conv2d(op: ops.BinaryConv2d, operands: Sequence[Array]) -> Array:
    dots = _convolve(op, operands[0], _like(op.weight, operands[0]))
    return dots * _by_channel(op.scale, dots)


def _affine(value: Array, weight: Array, bias: Array | None) -> Array:
    result = value @ _like(weight, value).T
    return result if bias is None else result + _like(bias, value)


@semantics(ops.Linear)
def _linear(op: ops.Linear, operands: Sequence[Array]) -> Array:
    return _affine(operands[0], op.weight, op.bias)


@semantics(ops.BinaryLinear)
def _binary_linear(op: ops.BinaryLinear, operands: Sequence[Array]) -> Array:
    return _affine(operands[0], op.weight, None) * _like(op.scale, operands[0])


@semantics(ops.Dense)
def _dense(op: ops.Dense, operands: Sequence[Array]) -> Array:
    return _affine(operands[0], operands[1], operands[2] if len(operands) == 3 else None)


# ----------------------------------------------------------------------------------- per channel


@semantics(ops.BatchNorm)
def _batch_norm(op: ops.BatchNorm, operands: Sequence[Array]) -> Array:
    value = operands[0]
    return value * _by_channel(op.multiplier, value) + _by_channel(op.offset, value)


@semantics(ops.Normalization)
def _normalization(op: ops.Normalization, operands: Sequence[Array]) -> Array:
    value, gamma, beta, mean, var = operands
    return _batch_norm(ops.BatchNorm(gamma, beta, mean, var, op.eps), [value])


@semantics(ops.PRelu)
def _prelu(op: ops.PRelu, operands: Sequence[Array]) -> Array:
    return _parametric_relu(ops.ParametricRelu(), [operands[0], op.slope])


@semantics(ops.ParametricRelu)
def _parametric_relu(op: ops.ParametricRelu, operands: Sequence[Array]) -> Array:
    value, slope = operands
    return np.where(value > 0, value, value * _by_channel(slope, value))


@semantics(ops.Scale)
def _scale(op: ops.Scale, operands: Sequence[Array]) -> Array:
    return operands[0] * operands[1]


@semantics(ops.SpatialScale)
def _spatial_scale(op: ops.SpatialScale, operands: Sequence[Array]) -> Array:
    return operands[0] * _like(op.factor, operands[0])


# ---------------------------------------------------------------------------------- element-wise


@semantics(ops.Relu)
def _relu(op: ops.Relu, operands: Sequence[Array]) -> Array:
    return np.maximum(operands[0], 0)


@semantics(ops.Hardtanh)
def _hardtanh(op: ops.Hardtanh, operands: Sequence[Array]) -> Array:
    return np.clip(operands[0], op.lo, op.hi)


@semantics(ops.Sigmoid)
def _sigmoid(op: ops.Sigmoid, operands: Sequence[Array]) -> Array:
    return _logistic(operands[0])


def _hardsigmoid(value: Array) -> Array:
    return np.clip(value + 3, 0, 6) / 6


def _logistic(value: Array) -> Array:
    # tanh does not overflow where exp would
    return 0.5 * (1 + np.tanh(0.5 * value))


def _error_function(value: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(value)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": _logistic,
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda value: value * _hardsigmoid(value),
    "silu": lambda value: value * _logistic(value),
    "elu": lambda value: np.where(value > 0, value, np.expm1(np.minimum(value, 0))),
    "softplus": lambda value: np.logaddexp(value, 0),
    "gelu": lambda value: 0.5 * value * (1 + _error_function(value / math.sqrt(2))),
}
"""Functions of one number by the name that Activation and Gate use."""


@semantics(ops.Activation)
def _activation(op: ops.Activation, operands: Sequence[Array]) -> Array:
    return ACTIVATIONS[op.kind](operands[0])


@semantics(ops.Softmax)
def _softmax(op: ops.Softmax, operands: Sequence[Array]) -> Array:
    shifted = operands[0] - operands[0].max(axis=1, keepdims=True)
    logarithm = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithm if op.log else np.exp(logarithm)


@semantics(ops.Sign)
def _sign(op: ops.Sign, operands: Sequence[Array]) -> Array:
    value = operands[0]
    return np.where(value == 0, _like(np.array(op.zero), value), np.sign(value))


@semantics(ops.Add)
def _add(op: ops.Add, operands: Sequence[Array]) -> Array:
    return operands[0] + operands[1]


_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
}

_COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "eq": np.equal,
    "ne": np.not_equal,
}

_UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rsqrt": lambda value: 1 / np.sqrt(value),
    "reciprocal": lambda value: 1 / value,
    "exp": np.exp,
    "tanh": np.tanh,
}


def _real(value: Array) -> Array:
    """Truth values as 0 and 1."""
    return value.astype(np.float32) if value.dtype == np.bool_ else value


@semantics(ops.Arithmetic)
def _arithmetic(op: ops.Arithmetic, operands: Sequence[Array]) -> Array:
    return _ARITHMETIC[op.kind](_real(operands[0]), _real(operands[1]))


@semantics(ops.Compare)
def _compare(op: ops.Compare, operands: Sequence[Array]) -> Array:
    return _COMPARE[op.kind](operands[0], operands[1])


@semantics(ops.Where)
def _where(op: ops.Where, operands: Sequence[Array]) -> Array:
    return np.where(operands[0], _real(operands[1]), _real(operands[2]))


@semantics(ops.Unary)
def _unary(op: ops.Unary, operands: Sequence[Array]) -> Array:
    return _UNARY[op.kind](_real(operands[0]))


@semantics(ops.ToFloat)
def _to_float(op: ops.ToFloat, operands: Sequence[Array]) -> Array:
    return _real(operands[0])


# --------------------------------------------------------------------------------------- pooling


@semantics(ops.MaxPool2d)
def _max_pool2d(op: ops.MaxPool2d, operands: Sequence[Array]) -> Array:
    taps = _taps(operands[0], op.kernel, op.stride, op.padding, (1, 1), -np.inf)
    return np.max(taps, axis=0)


@semantics(ops.AvgPool2d)
def _avg_pool2d(op: ops.AvgPool2d, operands: Sequence[Array]) -> Array:
    geometry = (op.kernel, op.stride, op.padding, (1, 1), 0)
    total = np.sum(_taps(operands[0], *geometry), axis=0)
    if op.count_include_pad:
        return total / (op.kernel[0] * op.kernel[1])
    inside = np.ones((1, 1, *operands[0].shape[2:]), operands[0].dtype)
    return total / np.sum(_taps(inside, *geometry), axis=0)


@semantics(ops.GlobalAvgPool)
def _global_avg_pool(op: ops.GlobalAvgPool, operands: Sequence[Array]) -> Array:
    return operands[0].mean(axis=(2, 3), keepdims=True)


@semantics(ops.AdaptiveAvgPool2d)
def _adaptive_avg_pool2d(op: ops.AdaptiveAvgPool2d, operands: Sequence[Array]) -> Array:
    frames, channels, height, width = operands[0].shape
    rows, columns = op.size
    windows = (frames, channels, rows, height // rows, columns, width // columns)
    return operands[0].reshape(windows).mean(axis=(3, 5))


@semantics(ops.Mean)
def _mean(op: ops.Mean, operands: Sequence[Array]) -> Array:
    return np.asarray(operands[0].mean(axis=op.axes, keepdims=op.keepdim))


@semantics(ops.Gate)
def _gate(op: ops.Gate, operands: Sequence[Array]) -> Array:
    mean = operands[0].mean(axis=(2, 3))
    hidden = np.maximum(_affine(mean, op.fc1, op.fc1_bias), 0)
    result = ACTIVATIONS[op.function](_affine(hidden, op.fc2, op.fc2_bias))
    return result[:, :, None, None]


# ----------------------------------------------------------------------------------------- shape


@semantics(ops.Constant)
def _constant(op: ops.Constant, operands: Sequence[Array]) -> Array:
    return op.value


@semantics(ops.Flatten)
def _flatten(op: ops.Flatten, operands: Sequence[Array]) -> Array:
    return operands[0].reshape(len(operands[0]), -1)


@semantics(ops.Pad)
def _pad(op: ops.Pad, operands: Sequence[Array]) -> Array:
    top, left, bottom, right = op.padding
    border = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(operands[0], border, constant_values=op.value)


@semantics(ops.Concat)
def _concat(op: ops.Concat, operands: Sequence[Array]) -> Array:
    return np.concatenate(operands, axis=1)


@semantics(ops.Select)
def _select(op: ops.Select, operands: Sequence[Array]) -> Array:
    rows, columns = (
        slice(start, start + size * step, step)
        for start, step, size in zip(op.start, op.step, op.size, strict=True)
    )
    image = operands[0][:, :, rows, columns]
    # one channel of zeros behind the others is what -1 names
    return np.concatenate([image, np.zeros_like(image[:, :1])], axis=1)[:, list(op.channels)]


@semantics(ops.Opaque)
def _opaque(op: ops.Opaque, operands: Sequence[Array]) -> Array:
    raise ValueError(f"the Graph does not know the value of {op.target}")


@semantics(ops.Reshape)
def _reshape(op: ops.Reshape, operands: Sequence[Array]) -> Array:
    # the first dimension is the frames for a value per frame and follows for a constant
    return operands[0].reshape((-1, *op.shape[1:]) if op.shape else ())


@semantics(ops.Expand)
def _expand(op: ops.Expand, operands: Sequence[Array]) -> Array:
    # the frames are 1 in the shape, and more in the value
    return np.broadcast_to(operands[0], np.broadcast_shapes(operands[0].shape, op.shape))
