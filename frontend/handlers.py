"""All handlers: from ATen operations to operations of the Graph, and what to say of others."""

from __future__ import annotations

from typing import Any

from r2b.frontend import (
    handlers_contractions,
    handlers_elementwise,
    handlers_pooling,
    handlers_shape,
)
from r2b.frontend.arguments import (
    ELEMENTWISE,
    HANDLERS,
    Arguments,
    NotSupportedError,
    aten,
    handles,
    overloads,
    shape_of,
)

__all__ = [
    "ELEMENTWISE",
    "HANDLERS",
    "HANDLER_MODULES",
    "IGNORED",
    "REASONS",
    "Arguments",
    "NotSupportedError",
    "handles",
    "shape_of",
]

HANDLER_MODULES = (
    handlers_contractions,
    handlers_elementwise,
    handlers_pooling,
    handlers_shape,
)
"""The modules that fill the registry, by being imported."""

IGNORED = frozenset(
    {
        aten._assert_tensor_metadata.default,
        aten._assert_scalar.default,
        aten._assert_async.msg,
        aten.sym_constrain_range.default,
        aten.sym_constrain_range_for_size.default,
    }
)
"""Operations without a value, and without an effect on a network that ran once."""

_PART = "a part of a tensor: give the convolution that made it fewer channels, or keep all"
_ORDER = "elements are put in another order; channels must keep theirs"
_OWN = "normalisation by a frame's own statistics: use batch norm, which is fixed after training"
_PADDING = (
    "the border must be a constant: use zero padding, or torch.nn.functional.pad with a value"
)
_MORE = "only one result of an operation can be used"

_TEXTS: dict[str, tuple[str, ...]] = {
    _PART: (
        "select.int",
        "unbind.int",
        "index.Tensor",
        "select_scatter.default",
        "slice_scatter.default",
    ),
    _ORDER: (
        "flip.default",
        "roll.default",
        "pixel_shuffle.default",
        "pixel_unshuffle.default",
    ),
    _OWN: (
        "layer_norm.default",
        "native_layer_norm.default",
        "group_norm.default",
        "native_group_norm.default",
        "instance_norm.default",
    ),
    _PADDING: ("reflection_pad2d.default", "replication_pad2d.default"),
    _MORE: ("topk.default", "sort.default", "max.dim", "min.dim"),
    "a convolution by unfolding: write torch.nn.functional.conv2d": ("im2col.default",),
    "-0 and 0 would have different signs: write torch.where(x >= 0, 1.0, -1.0)": (
        "copysign.Tensor",
        "copysign.Scalar",
        "signbit.default",
    ),
    "the result differs from run to run": (
        "rand.default",
        "randn.default",
        "rand_like.default",
        "randn_like.default",
        "bernoulli.default",
        "bernoulli.p",
    ),
    "a product of two tensors that depend on the frames: one side must be a weight": (
        "bmm.default",
        "baddbmm.default",
        "scaled_dot_product_attention.default",
    ),
}

REASONS: dict[Any, str] = {
    target: text for text, names in _TEXTS.items() for target in overloads(*names)
}
"""What there is to say about ATen operations that have no handler."""
