"""Binarisation: the sign, with the straight-through estimators that stand in for its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Gradient = Literal["clipped", "identity", "polynomial"]
"""What replaces the derivative of the sign.

- ``clipped``: 1 where ``|x| <= 1``, else 0 (Courbariaux et al., 2016);
- ``identity``: 1;
- ``polynomial``: ``max(0, 2 - 2|x|)``, of Bi-Real Net's ApproxSign (Liu et al., 2018).
"""

Binarization = Literal["off", "tanh", "sign"]
"""How an operand of a convolution is binarised: not at all, softly, or for good."""

GRADIENTS = get_args(Gradient)
BINARIZATIONS = get_args(Binarization)


def _clipped(x: Tensor, upstream: Tensor) -> Tensor:
    return upstream * (x.abs() <= 1)


def _identity(x: Tensor, upstream: Tensor) -> Tensor:
    return upstream


def _polynomial(x: Tensor, upstream: Tensor) -> Tensor:
    return upstream * (2 - 2 * x.abs()).clamp(min=0)


_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "clipped": _clipped,
    "identity": _identity,
    "polynomial": _polynomial,
}


class Sign(torch.autograd.Function):
    """``+1`` where ``x >= 0``, else ``-1``; the gradient is that of the named estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Gradient = "clipped") -> Tensor:
        """Binarize ``x``; an exact zero becomes +1."""
        ctx.save_for_backward(x)
        ctx.gradient = gradient
        signs = torch.where(x >= 0, 1.0, -1.0)
        # torch.where gives the default type: no conversion is recorded for float32 networks
        return signs if signs.dtype == x.dtype else signs.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient through as if the sign were something smooth."""
        (x,) = ctx.saved_tensors
        return _ESTIMATORS[ctx.gradient](x, grad_outputs[0]), None


def sign(x: Tensor, gradient: Gradient = "clipped") -> Tensor:
    """Binarize ``x`` to {-1, +1}: ``+1`` where ``x >= 0``.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    gradient : "clipped", "identity" or "polynomial"
        The straight-through estimator, see :data:`Gradient`.

    Raises
    ------
    ValueError
        There is no such estimator.
    """
    if gradient not in _ESTIMATORS:
        raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}, not {gradient!r}")
    return Sign.apply(x, gradient)  # pyright: ignore[reportReturnType]


def binarize(x: Tensor, how: Binarization, gradient: Gradient = "clipped") -> Tensor:
    """Apply ``sign`` to ``x``, or ``tanh`` (stage 0 of section 4.2), or nothing."""
    if how == "sign":
        return sign(x, gradient)
    return torch.tanh(x) if how == "tanh" else x
