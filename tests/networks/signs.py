"""Ways to write a sign, a straight-through estimator and binary weights in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from tests.networks import description as d


class SignFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() < 1)


class WeightFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight):
        scale = weight.abs().flatten(1).mean(1)
        return torch.where(weight > 0, 1.0, -1.0) * scale.view(-1, *[1] * (weight.ndim - 1))

    @staticmethod
    def backward(ctx, grad):
        return grad


HARD = {
    "where": lambda x: torch.where(x >= 0, 1.0, -1.0),
    "torch_sign": torch.sign,
    "greater": lambda x: 2 * (x > 0).float() - 1,
    "greater_equal": lambda x: x.ge(0).to(x.dtype).mul(2).sub(1),
    "sign_of_sign": lambda x: torch.sign(torch.sign(x) + 0.1),
    "where_below": lambda x: torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x)),
    "function": SignFunction.apply,
    "steep": lambda x: torch.clamp(x * 1e9, -1, 1),
    "ratio": lambda x: x / x.abs(),
}


def masks(x: Tensor) -> Tensor:
    """Polynomial with masks turned into numbers."""
    low, mid, high = (x < -1).float(), (x < 0).float(), (x < 1).float()
    soft = (-1) * low + (x * x + 2 * x) * (1 - low)
    soft = soft * mid + (-x * x + 2 * x) * (1 - mid)
    return soft * high + 1 * (1 - high)


def polynomial(x: Tensor) -> Tensor:
    """The same with ``where``."""
    inner = torch.where(x < 0, x.pow(2) + 2 * x, 2 * x - x.pow(2))
    return torch.where(x.abs() < 1, inner, x.sign())


SOFT = {
    "identity": lambda x: x,
    "clamp": lambda x: torch.clamp(x, -1.0, 1.0),
    "hardtanh": F.hardtanh,
    "tanh": lambda x: torch.tanh(2 * x),
    "masks": masks,
    "polynomial": polynomial,
}

ESTIMATED = {
    "none": lambda hard, _soft: hard,
    "hard_minus_soft": lambda hard, soft: hard.detach() - soft.detach() + soft,
    "soft_plus": lambda hard, soft: soft + (hard - soft).detach(),
    "hard_detached": lambda hard, soft: (hard - soft).detach() + soft,
}


def apply_sign(sign: d.Sign, x: Tensor, factor: Tensor | float | None) -> Tensor:
    """Signs of x, times a factor, inside an estimator."""
    hard = HARD[sign.form](x)
    hard = hard if factor is None else hard * factor
    if sign.estimator == "none":
        return hard
    return ESTIMATED[sign.estimator](hard, SOFT[sign.soft](x))


class SignOf(nn.Module):
    """A sign as a module, for activations and as a parametrization."""

    def __init__(self, sign: d.Sign) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return apply_sign(self.sign, x, None)


class Weight(nn.Module):
    """Binary weights of a shape: ``forward`` gives them.

    Parameters
    ----------
    shape : tuple of int
    form : str
        One of :data:`description.WEIGHTS`.
    sign : Sign
    """

    def __init__(self, shape: tuple[int, ...], form: str, sign: d.Sign) -> None:
        super().__init__()
        self.shape, self.form, self.sign = shape, form, sign
        real = torch.randn(shape) * 0.5
        self.ones = (shape[0], *[1] * (len(shape) - 1))
        if form == "stored":
            size = torch.empty(self.ones).uniform_(0.05, 0.5)
            self.register_buffer("binary", torch.where(real > 0, 1.0, -1.0) * size)
            return
        self.latent = nn.Parameter(real.view(-1, 1) if form == "flat" else real)
        if form == "assigned":
            self.register_buffer("original", real)
        elif form == "learned":
            self.scale = nn.Parameter(torch.randn(self.ones))
        elif form == "parametrized":
            parametrize.register_parametrization(self, "latent", SignOf(sign))
        elif form == "normed":
            weight_norm(self, "latent")

    def forward(self) -> Tensor:
        if self.form == "stored":
            return self.binary
        if self.form == "parametrized":
            return self.latent
        if self.form == "assigned":
            self.latent.data = HARD[self.sign.form](self.original)
            return self.latent
        if self.form == "function":
            return WeightFunction.apply(self.latent)
        return self._signed(self.latent.view(self.shape))

    def _signed(self, real: Tensor) -> Tensor:
        axes = tuple(range(1, len(self.shape)))
        if self.form == "centred":
            real = real - real.mean(1, keepdim=True)
        if self.form in ("clipped", "centred"):
            real = real.clamp(-1, 1)
        scales = {
            "sign": None,
            "learned": getattr(self, "scale", None),
            "constant": 0.125,
            "normed": real.pow(2).sum(axes, keepdim=True).sqrt(),
            "clipped": real.abs().mean(),
        }
        mean = real.abs().mean(axes, keepdim=True).detach()
        return apply_sign(self.sign, real, scales.get(self.form, mean))
