"""Carries a network over from real to binary weights: what the signs lose is kept in other factors.

A sign is some 1 / mean(|W|) times as large as the weight it stands for. Without a correction every
residual of a network whose weights turn binary becomes that much larger than the skip beside it,
and the next stage begins with a network that knows little. The nearest binary convolution to W is
``alpha * sign(W)`` with ``alpha[o] = mean(|W[o]|)`` (XNOR-Net), so alpha goes

- into the learned factor behind the convolution, where there is one: exact;
- else into the statistics of the batch norm behind it, where one comes before the skip is added:
  exact;
- else into what the skips add up: channel c of a group is scaled by ``s[c]``, 1 over the geometric
  mean of ``alpha[c]`` over the last convolution of each of its residuals. Batch norms read it, and
  divide by it; other layers are divided by it here. Exact where those have one alpha per channel.

XNOR-Net's own alpha needs nothing. A channel whose weights are all but 0 was silent and is not any
more where no learned factor can keep it so: a sign has no 0. The paper says no more than that each
stage is initialised from the one before (section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from r2b.train.blocks import Residual
from r2b.train.layers import BinaryConv2d, ChannelScale, RankOneScale
from r2b.train.network import Network

LEAST = 1e-6
"""A channel whose weights are smaller than this has no size that could be divided by."""


@torch.no_grad()
def keep_magnitudes(network: Network) -> None:
    """Change a network trained with real weights, in place, for the signs of its weights.

    Parameters
    ----------
    network : Network
        Its binary convolutions' weights stay as they are.
    """
    options = network.options
    if options.convolution == "real":
        return
    residuals = list(_residuals(network.body))
    for residual in residuals:
        _into_shortcut(residual)
    if options.scale in ("alpha", "alpha-map"):
        return
    if options.scale in ("channel", "rank-one"):
        for residual in residuals:
            _into_factors(residual)
    elif options.order == "post":
        for residual in residuals:
            _into_statistics(residual)
    elif options.activation != "hardtanh":  # that one would cut off what is scaled
        _into_skips(network)


def magnitudes(conv: nn.Module) -> Tensor:
    """Return alpha, the mean magnitude of each output channel's weights."""
    return conv.get_parameter("weight").abs().mean(dim=(1, 2, 3))


def _divisors(conv: nn.Module) -> Tensor:
    """Return alpha, and 1 where it is too small to divide by."""
    alpha = magnitudes(conv)
    return torch.where(alpha > LEAST, alpha, torch.ones_like(alpha))


def _residuals(module: nn.Module) -> Iterator[Residual]:
    return (part for part in module.modules() if isinstance(part, Residual))


def _into_factors(residual: Residual) -> None:
    for conv, factor in zip(residual.convolutions(), residual.scales(), strict=True):
        match factor:
            case ChannelScale():
                factor.weight.mul_(magnitudes(conv))
            case RankOneScale():
                factor.channel.mul_(magnitudes(conv))
            case _:
                raise TypeError(f"a {type(factor).__name__} holds no factor per channel")


def _into_statistics(residual: Residual) -> None:
    for conv, norm in zip(residual.convolutions(), residual.norms(), strict=True):
        _scale_statistics(norm, 1 / _divisors(conv))


def _into_shortcut(residual: Residual) -> None:
    """A binary shortcut has a batch norm behind it."""
    for conv in residual.shortcut.children():
        if isinstance(conv, BinaryConv2d):
            _scale_statistics(residual.shortcut.get_submodule("norm"), 1 / _divisors(conv))


def _into_skips(network: Network) -> None:
    """Scale what the skips add up, group by group; every other reader divides by the scale."""
    before, writer = None, network.stem.get_submodule("norm")
    for group in network.body.children():
        residuals = list(_residuals(group))
        scale = _scale_of(residuals)
        if before is not None:
            _divide_inputs(residuals[0].shortcut.get_submodule("conv"), before)
            writer = residuals[0].shortcut.get_submodule("norm")
        writer.get_parameter("weight").mul_(scale)
        writer.get_parameter("bias").mul_(scale)
        for index, residual in enumerate(residuals):
            read = before if index == 0 and before is not None else scale
            inner = [1 / _divisors(conv) for conv in residual.convolutions()[:-1]]
            for norm, factor in zip(residual.norms(), [read, *inner], strict=True):
                _scale_statistics(norm, factor)
        before = scale
    if before is not None:
        network.head.get_submodule("linear").get_parameter("weight").div_(before)


def _scale_of(residuals: list[Residual]) -> Tensor:
    """Return s, one per channel: the last convolution of each residual writes to the skips."""
    found = torch.stack([magnitudes(residual.convolutions()[-1]) for residual in residuals])
    alive = found > LEAST
    logs = torch.where(alive, found, torch.ones_like(found)).log()
    return torch.exp(-logs.sum(dim=0) / alive.sum(dim=0).clamp_min(1))


def _divide_inputs(conv: nn.Module, scale: Tensor) -> None:
    if isinstance(conv, nn.Conv2d):  # signs are the same for any scale above 0
        conv.weight /= scale[None, :, None, None]


def _scale_statistics(norm: nn.Module, factor: Tensor) -> None:
    norm.get_buffer("running_mean").mul_(factor)
    norm.get_buffer("running_var").mul_(factor.square())


__all__ = ["keep_magnitudes", "magnitudes"]
