"""Operations of the Graph.

Two vocabularies stand here. The **canonical** one (from :class:`Input` to :class:`Output`) is what
the passes leave and the quantizer reads: weights are attributes, binary convolutions and gates are
single operations. The **raw** one (from :class:`Constant` on) is what the frontend writes before:
parameters are operands, arithmetic is generic, as in ATen.

An operation is a frozen dataclass. It knows its number of operands (``arity``) and the type of its
result (:meth:`Op.result_type`); what it computes is a formula in its docstring and a function in
:mod:`r2b.ir.interpreter`. Arrays in fields are copied, converted and made read-only. Padding is
always ``(top, left, bottom, right)``; kernel, stride and dilation are ``(vertical, horizontal)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from r2b.ir.types import DType, TensorType

FloatArray = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
Types = Sequence[TensorType]

_NO_PADDING: Padding = (0, 0, 0, 0)


class Op:
    """Base of all operations.

    Attributes
    ----------
    arity : tuple of int
        Numbers of operands that are allowed.
    raw : bool
        Belongs to the vocabulary before canonicalisation only.
    """

    arity: ClassVar[tuple[int, ...]] = (1,)
    raw: ClassVar[bool] = False
    _real_arrays: ClassVar[tuple[str, ...]] = ()
    _bipolar_arrays: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Make the fields that hold arrays read-only copies, of float64 or int8."""
        for name in self._real_arrays:
            self._freeze(name, np.float64)
        for name in self._bipolar_arrays:
            self._freeze(name, np.int8)

    def result_type(self, operands: Types) -> TensorType:
        """Give the type of the result; raise `ValueError` if the operands do not fit."""
        if len(operands) not in self.arity:
            wanted = " or ".join(str(count) for count in self.arity)
            raise ValueError(f"{type(self).__name__} takes {wanted} operands, not {len(operands)}")
        return self._infer(operands)

    def _infer(self, operands: Types) -> TensorType:
        raise NotImplementedError(type(self).__name__)

    def _freeze(self, name: str, dtype: npt.DTypeLike) -> None:
        if getattr(self, name) is not None:
            array = np.array(getattr(self, name), dtype=dtype, order="C")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __eq__(self, other: object) -> bool:
        """Compare class and fields, arrays by their elements."""
        if type(self) is not type(other):
            return False
        names = [field.name for field in fields(self)]  # pyright: ignore[reportArgumentType]
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        """Agree with equality; arrays are left out."""
        return hash(type(self).__name__)


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _feature_map(operand: TensorType, op: str) -> tuple[int, int, int]:
    """Return C, H, W of a feature map."""
    _require(
        operand.batched and len(operand.shape) == 4,
        f"{op} takes a feature map N x C x H x W, not {operand}",
    )
    return operand.shape[1], operand.shape[2], operand.shape[3]


def _per_channel(array: npt.NDArray[np.generic], channels: int, what: str) -> None:
    _require(
        array.shape == (channels,),
        f"{what} must hold one value for each of {channels} channels, not {array.shape}",
    )


def window_size(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """Height and width of the result of a sliding window over an image of height, width `size`."""
    result: list[int] = []
    for axis in range(2):
        padded = size[axis] + padding[axis] + padding[axis + 2]
        span = dilation[axis] * (kernel[axis] - 1) + 1
        _require(
            padded >= span, f"the window of {span} is larger than the padded image of {padded}"
        )
        result.append((padded - span) // stride[axis] + 1)
    return result[0], result[1]


def _conv_type(
    operand: TensorType,
    weight: tuple[int, ...],
    geometry: tuple[Pair, Padding, Pair, int],
    op: str,
) -> TensorType:
    stride, padding, dilation, groups = geometry
    channels, height, width = _feature_map(operand, op)
    _require(len(weight) == 4, f"{op} needs a weight of four dimensions, not {weight}")
    _require(
        channels == weight[1] * groups,
        f"{op} with a weight for {weight[1] * groups} input channels was given {channels}",
    )
    _require(
        weight[0] % groups == 0, f"{groups} groups must divide the {weight[0]} output channels"
    )
    kernel = (weight[2], weight[3])
    size = window_size((height, width), kernel, stride, padding, dilation)
    return TensorType((1, weight[0], *size))


# ------------------------------------------------------------------------------- canonical: ends


@dataclass(frozen=True, eq=False)
class Input(Op):
    """The frames.

    Parameters
    ----------
    shape : tuple of int
        ``(1, C, H, W)``; the 1 stands for any number of frames.
    """

    shape: tuple[int, ...]
    arity: ClassVar[tuple[int, ...]] = (0,)

    def _infer(self, operands: Types) -> TensorType:
        return TensorType(self.shape)


@dataclass(frozen=True, eq=False)
class Output(Op):
    """A result of the network: ``y = x``."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0]


# ----------------------------------------------------------------------- canonical: contractions


@dataclass(frozen=True, eq=False)
class Conv2d(Op):
    """Real convolution: ``y[n,o,p] = bias[o] + sum_{i,t} weight[o,i,t] * x[n,i,p*stride+t-pad]``.

    Parameters
    ----------
    weight : float64, Co x Ci/groups x kh x kw
    bias : float64 of Co values, or None
    stride, dilation : pair of int
    padding : (top, left, bottom, right)
        Taps outside the image contribute 0.
    groups : int
    """

    weight: FloatArray
    bias: FloatArray | None = None
    stride: Pair = (1, 1)
    padding: Padding = _NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    _real_arrays = ("weight", "bias")

    def _infer(self, operands: Types) -> TensorType:
        if self.bias is not None:
            _per_channel(self.bias, self.weight.shape[0], "the bias of Conv2d")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _conv_type(operands[0], self.weight.shape, geometry, "Conv2d")


@dataclass(frozen=True, eq=False)
class BinaryConv2d(Op):
    """``y[n,o,p] = scale[o] * sum_{i,t} weight[o,i,t] * x[n,i,p*stride+t-pad]``.

    Binary convolution: the operand is bipolar; taps in the padding contribute 0, neither -1 nor
    +1. A bias of the source stands behind as a :class:`BatchNorm` of multiplier 1.

    Parameters
    ----------
    weight : int8, -1 or +1, Co x Ci/groups x kh x kw
    scale : float64 of Co values
        Of any sign; all 1 where the source has none.
    stride, dilation : pair of int
    padding : (top, left, bottom, right)
    groups : int
    """

    weight: Int8Array
    scale: FloatArray
    stride: Pair = (1, 1)
    padding: Padding = _NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    _real_arrays = ("scale",)
    _bipolar_arrays = ("weight",)

    def _infer(self, operands: Types) -> TensorType:
        _require(
            operands[0].dtype is DType.BIPOLAR,
            f"the operand of BinaryConv2d must be bipolar, not {operands[0]}",
        )
        _require(
            bool(np.all(np.abs(self.weight) == 1)), "the weights of BinaryConv2d must be -1 or +1"
        )
        _per_channel(self.scale, self.weight.shape[0], "the scale of BinaryConv2d")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _conv_type(operands[0], self.weight.shape, geometry, "BinaryConv2d")


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """Fully connected layer: ``y[n,o] = bias[o] + sum_i weight[o,i] * x[n,i]``.

    Parameters
    ----------
    weight : float64, Co x Ci
    bias : float64 of Co values, or None
    """

    weight: FloatArray
    bias: FloatArray | None = None
    _real_arrays = ("weight", "bias")

    def _infer(self, operands: Types) -> TensorType:
        if self.bias is not None:
            _per_channel(self.bias, self.weight.shape[0], "the bias of Linear")
        return _linear_type(operands[0], self.weight.shape)


def _linear_type(operand: TensorType, weight: tuple[int, ...]) -> TensorType:
    _require(len(weight) == 2, f"Linear needs a weight of two dimensions, not {weight}")
    _require(
        operand.shape[-1] == weight[1],
        f"Linear with a weight for {weight[1]} inputs was given {operand}",
    )
    shape = (*operand.shape[:-1], weight[0])
    return TensorType(shape, batched=operand.batched)


# ------------------------------------------------------------------------ canonical: per channel


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """Affine map per channel: ``y = a*x + b``, ``a = gamma/sqrt(var+eps)``, ``b = beta - a*mean``.

    Stands for batch normalisation in evaluation and for every other affine map per channel (a
    learnable threshold, a normalisation of the input): see :meth:`affine`.

    Parameters
    ----------
    gamma, beta, mean, var : float64 of C values
    eps : float
    """

    gamma: FloatArray
    beta: FloatArray
    mean: FloatArray
    var: FloatArray
    eps: float = 1e-5
    _real_arrays = ("gamma", "beta", "mean", "var")

    @classmethod
    def affine(cls, multiplier: FloatArray, offset: FloatArray) -> BatchNorm:
        """Build the operation whose multiplier and offset are exactly those given."""
        zeros, ones = np.zeros_like(multiplier), np.ones_like(multiplier)
        return cls(multiplier, offset, zeros, ones, 0.0)

    @property
    def multiplier(self) -> FloatArray:
        """The factor a of each channel."""
        return self.gamma / np.sqrt(self.var + self.eps)

    @property
    def offset(self) -> FloatArray:
        """The summand b of each channel."""
        return self.beta - self.multiplier * self.mean

    def _infer(self, operands: Types) -> TensorType:
        for name in ("gamma", "beta", "mean", "var"):
            _per_channel(getattr(self, name), operands[0].channels, f"{name} of BatchNorm")
        _require(bool(np.all(self.var + self.eps > 0)), "var + eps of BatchNorm must be positive")
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class PRelu(Op):
    """``y = x`` for x > 0, else ``slope[c] * x``.

    Parameters
    ----------
    slope : float64 of C values
    """

    slope: FloatArray
    _real_arrays = ("slope",)

    def _infer(self, operands: Types) -> TensorType:
        _per_channel(self.slope, operands[0].channels, "the slope of PRelu")
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """``y[n,c,p] = x[n,c,p] * f[n,c]``; operands: x, and f of shape N x C x 1 x 1."""

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        channels, _, _ = _feature_map(operands[0], "Scale")
        _require(
            operands[1].batched and operands[1].shape == (1, channels, 1, 1),
            f"the factor of Scale must be N x {channels} x 1 x 1, not {operands[1]}",
        )
        return operands[0].with_dtype(DType.FLOAT)


# ----------------------------------------------------------------------- canonical: element-wise


class _Elementwise(Op):
    """Base of operations that keep the shape and give real values."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Relu(_Elementwise):
    """``y = max(x, 0)``."""


@dataclass(frozen=True, eq=False)
class Hardtanh(_Elementwise):
    """``y = min(max(x, lo), hi)``; a missing bound is infinite."""

    lo: float = -1.0
    hi: float = 1.0


@dataclass(frozen=True, eq=False)
class Sigmoid(_Elementwise):
    """``y = 1 / (1 + exp(-x))``."""


@dataclass(frozen=True, eq=False)
class Sign(Op):
    """``y = +1`` for x > 0, ``-1`` for x < 0, ``zero`` for x = 0.

    The result has type bipolar also for ``zero = 0``: then whoever uses it has to show that x is
    never 0, or to ask the user.

    Parameters
    ----------
    zero : -1, 0 or +1
        What the source gives for 0.
    """

    zero: Literal[-1, 0, 1] = 1

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.BIPOLAR)


@dataclass(frozen=True, eq=False)
class Add(_Elementwise):
    """``y = x0 + x1`` of equal shapes."""

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        left, right = operands
        _require(
            (left.shape, left.batched) == (right.shape, right.batched),
            f"the operands of Add must have one shape, not {left} and {right}",
        )
        return left.with_dtype(DType.FLOAT)


# ---------------------------------------------------------------------------- canonical: pooling


@dataclass(frozen=True, eq=False)
class MaxPool2d(Op):
    """Largest value of each window; positions in the padding are skipped."""

    kernel: Pair
    stride: Pair
    padding: Padding = _NO_PADDING

    def _infer(self, operands: Types) -> TensorType:
        return _pool_type(self, operands[0])


@dataclass(frozen=True, eq=False)
class AvgPool2d(Op):
    """Sum of each window over a divisor.

    Parameters
    ----------
    kernel, stride : pair of int
    padding : (top, left, bottom, right)
        Positions in the padding add 0.
    count_include_pad : bool
        The divisor is kh*kw; if False, the number of positions inside the image.
    """

    kernel: Pair
    stride: Pair
    padding: Padding = _NO_PADDING
    count_include_pad: bool = True

    def _infer(self, operands: Types) -> TensorType:
        return _pool_type(self, operands[0]).with_dtype(DType.FLOAT)


def _pool_type(op: MaxPool2d | AvgPool2d, operand: TensorType) -> TensorType:
    channels, height, width = _feature_map(operand, type(op).__name__)
    size = window_size((height, width), op.kernel, op.stride, op.padding, (1, 1))
    return operand.with_shape((1, channels, *size))


@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Op):
    """``y[n,c,0,0] = mean over H, W of x[n,c]``."""

    def _infer(self, operands: Types) -> TensorType:
        channels, _, _ = _feature_map(operands[0], "GlobalAvgPool")
        return TensorType((1, channels, 1, 1))


@dataclass(frozen=True, eq=False)
class Gate(Op):
    """``y[n,:,0,0] = sigmoid(fc2 relu(fc1 m + fc1_bias) + fc2_bias)``, ``m[c] = mean_HW x[n,c]``.

    The operand is the tensor that is averaged. A :class:`Scale` applies the result.

    Parameters
    ----------
    fc1 : float64, H x Ci
    fc1_bias : float64 of H values, or None
    fc2 : float64, Co x H
    fc2_bias : float64 of Co values, or None
    """

    fc1: FloatArray
    fc1_bias: FloatArray | None
    fc2: FloatArray
    fc2_bias: FloatArray | None
    _real_arrays = ("fc1", "fc1_bias", "fc2", "fc2_bias")

    def _infer(self, operands: Types) -> TensorType:
        channels, _, _ = _feature_map(operands[0], "Gate")
        hidden = _linear_type(TensorType((1, channels)), self.fc1.shape)
        result = _linear_type(hidden, self.fc2.shape)
        for bias, rows in ((self.fc1_bias, hidden.channels), (self.fc2_bias, result.channels)):
            if bias is not None:
                _per_channel(bias, rows, "the bias of Gate")
        return TensorType((1, result.channels, 1, 1))


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """All dimensions but the first become one: N x (C*H*W), in the order C, H, W."""

    def _infer(self, operands: Types) -> TensorType:
        _require(operands[0].batched, f"Flatten takes a tensor per frame, not {operands[0]}")
        return operands[0].with_shape((1, int(np.prod(operands[0].shape[1:]))))


# ------------------------------------------------------------------------------------------- raw


class RawOp(Op):
    """Base of the operations that exist only before canonicalisation."""

    raw: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Constant(RawOp):
    """A parameter, a buffer or a number; the same for every frame.

    Parameters
    ----------
    value : float64 or bool
    origin : str
        Name of the parameter in the model, empty for a number.
    """

    value: npt.NDArray[np.float64 | np.bool_]
    origin: str = ""
    arity: ClassVar[tuple[int, ...]] = (0,)

    def __post_init__(self) -> None:
        """Make the value a read-only copy."""
        is_bool = np.asarray(self.value).dtype == np.bool_
        self._freeze("value", np.bool_ if is_bool else np.float64)

    def _infer(self, operands: Types) -> TensorType:
        dtype = DType.BOOL if self.value.dtype == np.bool_ else DType.FLOAT
        return TensorType(self.value.shape, dtype, batched=False)


def _broadcast(operands: Types, dtype: DType) -> TensorType:
    """Type of an element-wise result; a constant must leave the frame dimension alone."""
    shapes = [operand.shape for operand in operands]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = " and ".join(str(operand) for operand in operands)
        raise ValueError(f"the shapes of {listed} do not broadcast") from error
    batched = any(operand.batched for operand in operands)
    if batched:
        aligned = all(len(operand.shape) == len(shape) for operand in operands if operand.batched)
        _require(aligned and shape[0] == 1, "broadcasting must leave the frame dimension alone")
    return TensorType(shape, dtype, batched)


@dataclass(frozen=True, eq=False)
class Arithmetic(RawOp):
    """``y = x0 . x1`` with broadcasting.

    Parameters
    ----------
    kind : "add", "sub", "mul", "div", "maximum", "minimum" or "pow"
    """

    kind: Literal["add", "sub", "mul", "div", "maximum", "minimum", "pow"]
    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        return _broadcast(operands, DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Compare(RawOp):
    """``y = (x0 . x1)`` with broadcasting, a truth value.

    Parameters
    ----------
    kind : "ge", "gt", "le", "lt", "eq" or "ne"
    """

    kind: Literal["ge", "gt", "le", "lt", "eq", "ne"]
    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        return _broadcast(operands, DType.BOOL)


@dataclass(frozen=True, eq=False)
class Where(RawOp):
    """``y = x1`` where x0 is true, else ``x2``."""

    arity: ClassVar[tuple[int, ...]] = (3,)

    def _infer(self, operands: Types) -> TensorType:
        return _broadcast(operands, DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Unary(RawOp):
    """``y = f(x)``.

    Parameters
    ----------
    kind : "neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp" or "tanh"
    """

    kind: Literal["neg", "abs", "sqrt", "rsqrt", "reciprocal", "exp", "tanh"]

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Identity(RawOp):
    """``y = x``.

    Parameters
    ----------
    kind : str
        What the source wrote: "detach", "dropout", "contiguous", ...; a "detach" marks the
        arithmetic of a straight-through estimator.
    """

    kind: str = "identity"

    def _infer(self, operands: Types) -> TensorType:
        return operands[0]


@dataclass(frozen=True, eq=False)
class ToFloat(RawOp):
    """``y = 1`` where x is true, else 0; a real x is left as it is."""

    def _infer(self, operands: Types) -> TensorType:
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class Mean(RawOp):
    """Mean over the dimensions `axes`, which become 1 (``keepdim``) or vanish."""

    axes: tuple[int, ...]
    keepdim: bool = False

    def _infer(self, operands: Types) -> TensorType:
        operand = operands[0]
        _require(not (operand.batched and 0 in self.axes), "a mean over the frames is not allowed")
        shape = tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(operand.shape)
            if self.keepdim or axis not in self.axes
        )
        return TensorType(shape, DType.FLOAT, operand.batched)


@dataclass(frozen=True, eq=False)
class Reshape(RawOp):
    """The same elements in the same order in another shape; 1 in front stands for the frames."""

    shape: tuple[int, ...]

    def _infer(self, operands: Types) -> TensorType:
        sizes = (int(np.prod(self.shape)), int(np.prod(operands[0].shape)))
        _require(sizes[0] == sizes[1], f"{operands[0]} cannot be viewed as {self.shape}")
        return operands[0].with_shape(self.shape)


@dataclass(frozen=True, eq=False)
class Expand(RawOp):
    """The operand repeated along its dimensions of size 1 to the given shape."""

    shape: tuple[int, ...]

    def _infer(self, operands: Types) -> TensorType:
        target = TensorType(self.shape, operands[0].dtype, operands[0].batched)
        found = _broadcast((operands[0], target), operands[0].dtype)
        _require(found == target, f"{operands[0]} cannot be expanded to {self.shape}")
        return target


@dataclass(frozen=True, eq=False)
class Convolution(RawOp):
    """:class:`Conv2d` with operands x, weight and, possibly, bias."""

    stride: Pair = (1, 1)
    padding: Padding = _NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    arity: ClassVar[tuple[int, ...]] = (2, 3)

    def _infer(self, operands: Types) -> TensorType:
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        return _conv_type(operands[0], operands[1].shape, geometry, "Convolution")


@dataclass(frozen=True, eq=False)
class Dense(RawOp):
    """:class:`Linear` with operands x, weight and, possibly, bias."""

    arity: ClassVar[tuple[int, ...]] = (2, 3)

    def _infer(self, operands: Types) -> TensorType:
        return _linear_type(operands[0], operands[1].shape)


@dataclass(frozen=True, eq=False)
class Normalization(RawOp):
    """:class:`BatchNorm` with operands x, gamma, beta, mean and var."""

    eps: float = 1e-5
    arity: ClassVar[tuple[int, ...]] = (5,)

    def _infer(self, operands: Types) -> TensorType:
        for operand in operands[1:]:
            _require(
                operand.shape == (operands[0].channels,),
                f"Normalization needs one value per channel of {operands[0]}, not {operand}",
            )
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class ParametricRelu(RawOp):
    """:class:`PRelu` with operands x and slope (of one value, or one per channel)."""

    arity: ClassVar[tuple[int, ...]] = (2,)

    def _infer(self, operands: Types) -> TensorType:
        _require(
            operands[1].shape in ((), (1,), (operands[0].channels,)),
            f"the slope must be one value, or one per channel of {operands[0]}, not {operands[1]}",
        )
        return operands[0].with_dtype(DType.FLOAT)


@dataclass(frozen=True, eq=False)
class AdaptiveAvgPool2d(RawOp):
    """Mean over H x W windows that share the image out over ``size`` results."""

    size: Pair

    def _infer(self, operands: Types) -> TensorType:
        channels, height, width = _feature_map(operands[0], "AdaptiveAvgPool2d")
        _require(
            height % self.size[0] == 0 and width % self.size[1] == 0,
            f"AdaptiveAvgPool2d of {height}x{width} to {self.size[0]}x{self.size[1]} is not even",
        )
        return TensorType((1, channels, *self.size))


CANONICAL_OPS: tuple[type[Op], ...] = (
    Input,
    Output,
    Conv2d,
    BinaryConv2d,
    Linear,
    BatchNorm,
    PRelu,
    Scale,
    Relu,
    Hardtanh,
    Sigmoid,
    Sign,
    Add,
    MaxPool2d,
    AvgPool2d,
    GlobalAvgPool,
    Gate,
    Flatten,
)
"""What the passes leave and the quantizer reads."""

RAW_OPS: tuple[type[RawOp], ...] = (
    Constant,
    Arithmetic,
    Compare,
    Where,
    Unary,
    Identity,
    ToFloat,
    Mean,
    Reshape,
    Expand,
    Convolution,
    Dense,
    Normalization,
    ParametricRelu,
    AdaptiveAvgPool2d,
)
"""What the frontend writes besides."""
