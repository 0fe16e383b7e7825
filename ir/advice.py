"""What a user can write instead of an operation that is not supported."""

from __future__ import annotations

from r2b.ir.ops import (
    AdaptiveAvgPool2d,
    Arithmetic,
    Compare,
    Constant,
    Convolution,
    Dense,
    Expand,
    Mean,
    Normalization,
    Op,
    Opaque,
    ParametricRelu,
    Reshape,
    Softmax,
    ToFloat,
    Unary,
    Where,
)

_PARAMETERS = "its parameters must not depend on the frames; make them parameters or buffers"
_SIGN = (
    "comparisons are supported where they make a sign, two opposite values such as "
    "torch.where(x >= t, 1, -1), or steer gradients; 0 and 1 are no sign, write 2 * (x > t) - 1"
)

_ADVICE: dict[type[Op], str] = {
    Compare: _SIGN,
    Where: _SIGN,
    ToFloat: _SIGN,
    Convolution: _PARAMETERS,
    Dense: _PARAMETERS,
    Normalization: _PARAMETERS,
    ParametricRelu: _PARAMETERS,
    Reshape: "views are supported as flatten, and of vectors N x C as images N x C x 1 x 1",
    Expand: "leave it away where the other operand has the full shape, else it is not supported",
    Mean: "averages are supported over the image (2, 3), and over channels (1) of an image",
    AdaptiveAvgPool2d: "use an average pooling whose windows have one size",
    Constant: "a result that is the same for every frame needs no network; do not return it",
    Softmax: "softmax is supported as the last operation; move it to the end of the network",
}

_ARITHMETIC = {
    "add": "sums are supported of two values of one shape, and with one constant per channel",
    "sub": "differences are supported of two values of one shape, and with one constant per "
    "channel",
    "mul": "products are supported with a constant, and of images whose sizes are equal or 1",
    "div": "divide by constants, or multiply by a gate; a quotient of two values per frame is not "
    "supported, but for x / |x|",
    "pow": "powers are supported of parameters, and as the soft part of a straight-through "
    "estimator; write x * x for a square",
    "maximum": "the maximum of x and a number, or of x and s * x, is supported",
    "minimum": "the minimum of x and a number is supported",
}

_UNARY = "use relu, prelu, leaky_relu, hardtanh, clamp, sigmoid, tanh, hardswish, silu, gelu or elu"
_OTHER = "write it with supported operations, or leave it outside the compiled module"


def way_out(op: Op) -> str:
    """Nearest way out for an operation that is left after canonicalisation."""
    match op:
        case Arithmetic(kind):
            return _ARITHMETIC[kind]
        case Unary():
            return _UNARY
        case Opaque():
            return _OTHER
        case _:
            return _ADVICE.get(type(op), _OTHER)
