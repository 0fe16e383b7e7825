"""Operations of the Graph.

Two vocabularies stand here. The **canonical** one is what the passes leave and the quantizer reads:
weights are attributes, binary convolutions and gates are single operations. The **raw** one
(:mod:`r2b.ir.ops.raw`) is what the frontend writes before: parameters are operands, arithmetic is
generic, as in ATen.

An operation is a frozen dataclass. It knows its number of operands (``arity``) and the type of its
result (:meth:`Op.result_type`); what it computes is a formula in its docstring and a function in
:mod:`r2b.ir.interpreter`. Arrays in fields are copied, converted and made read-only. Padding is
always ``(top, left, bottom, right)``; kernel, stride and dilation are ``(vertical, horizontal)``.
"""

from __future__ import annotations

from r2b.ir.ops.base import FloatArray, Int8Array, Op, Padding, Pair, Types, window_size
from r2b.ir.ops.contractions import BinaryConv2d, BinaryLinear, Conv2d, Linear
from r2b.ir.ops.elementwise import (
    Activation,
    Add,
    BatchNorm,
    Hardtanh,
    PRelu,
    Relu,
    Scale,
    Sigmoid,
    Sign,
    Softmax,
    SpatialScale,
)
from r2b.ir.ops.pooling import AvgPool2d, Gate, GlobalAvgPool, MaxPool2d
from r2b.ir.ops.raw import (
    AdaptiveAvgPool2d,
    Arithmetic,
    Compare,
    Constant,
    Convolution,
    Dense,
    Expand,
    Identity,
    Mean,
    Normalization,
    Opaque,
    ParametricRelu,
    RawOp,
    Reshape,
    ToFloat,
    Unary,
    Where,
)
from r2b.ir.ops.structure import Concat, Flatten, Input, Output, Pad, Select

__all__ = [
    "CANONICAL_OPS",
    "RAW_OPS",
    "Activation",
    "AdaptiveAvgPool2d",
    "Add",
    "Arithmetic",
    "AvgPool2d",
    "BatchNorm",
    "BinaryConv2d",
    "BinaryLinear",
    "Compare",
    "Concat",
    "Constant",
    "Conv2d",
    "Convolution",
    "Dense",
    "Expand",
    "Flatten",
    "FloatArray",
    "Gate",
    "GlobalAvgPool",
    "Hardtanh",
    "Identity",
    "Input",
    "Int8Array",
    "Linear",
    "MaxPool2d",
    "Mean",
    "Normalization",
    "Op",
    "Opaque",
    "Output",
    "PRelu",
    "Pad",
    "Padding",
    "Pair",
    "ParametricRelu",
    "RawOp",
    "Relu",
    "Reshape",
    "Scale",
    "Select",
    "Sigmoid",
    "Sign",
    "Softmax",
    "SpatialScale",
    "ToFloat",
    "Types",
    "Unary",
    "Where",
    "window_size",
]

CANONICAL_OPS: tuple[type[Op], ...] = (
    Input,
    Output,
    Conv2d,
    BinaryConv2d,
    Linear,
    BinaryLinear,
    BatchNorm,
    PRelu,
    Scale,
    SpatialScale,
    Relu,
    Hardtanh,
    Sigmoid,
    Activation,
    Sign,
    Add,
    MaxPool2d,
    AvgPool2d,
    GlobalAvgPool,
    Gate,
    Flatten,
    Pad,
    Concat,
    Select,
    Softmax,
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
    Opaque,
)
"""What the frontend writes besides."""
