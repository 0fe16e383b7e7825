"""Building blocks of Real-to-Binary networks: sign, binary convolution, gate, half block.

Names follow the paper (Martinez et al., "Training binary neural networks with real-to-binary
convolutions", ICLR 2020): a *half block* is one binary convolution with its own skip.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Sign(torch.autograd.Function):
    """``+1`` where ``x >= 0``, else ``-1``; the gradient passes where ``|x| <= 1``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Binarize ``x``; an exact zero becomes +1."""
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """Pass the gradient straight through inside the clip range."""
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * (x.abs() <= 1)


def sign(x: Tensor) -> Tensor:
    """Binarize ``x`` to {-1, +1} with the clipped straight-through gradient of :class:`Sign`."""
    return Sign.apply(x)  # pyright: ignore[reportReturnType]


class BinaryConv2d(nn.Module):
    """3x3 convolution of the signs of its input with the signs of its weights.

    Padding is with zeros, which are neither -1 nor +1: taps outside the image contribute nothing.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    stride : int
        Step in both directions.

    Attributes
    ----------
    binary_weights : bool
        True for the finished network. The first training phase sets it to False and so
        convolves with the real weights; it is no part of the state dict.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.binary_weights = True
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; every output is a sum of +-1 products when the weights are binary."""
        weight = sign(self.weight) if self.binary_weights else self.weight
        return functional.conv2d(sign(x), weight, stride=self.stride, padding=1)

    def extra_repr(self) -> str:
        """Show the shape in ``print(model)``."""
        out_channels, in_channels = self.weight.shape[:2]
        return f"{in_channels}, {out_channels}, stride={self.stride}"


class Gate(nn.Module):
    """Scale per output channel and frame: ``sigmoid(fc2(relu(fc1(mean of u over the image))))``.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the map that is read and of the map that is scaled.
    reduction : int
        ``fc1`` has ``in_channels // reduction`` outputs.
    """

    def __init__(self, in_channels: int, out_channels: int, reduction: int) -> None:
        super().__init__()
        hidden = in_channels // reduction
        self.fc1 = nn.Linear(in_channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, out_channels, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """Return the scales, shaped ``N x out_channels x 1 x 1``."""
        hidden = torch.relu(self.fc1(u.mean(dim=(2, 3))))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]


def real_shortcut(in_channels: int, out_channels: int) -> nn.Sequential:
    """Real-valued shortcut of a strided half block: average 2x2, convolve 1x1, normalize."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pool=nn.AvgPool2d(2, 2),
        conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
        norm=nn.BatchNorm2d(out_channels),
    )
    return nn.Sequential(layers)


class HalfBlock(nn.Module):
    """One gated binary convolution with its skip.

    ``u = norm(x)``, then ``activation(conv(u) * gate(u)) + shortcut(x)``.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; they differ only where ``stride`` is 2.
    stride : int
        1 with the identity as shortcut, or 2 with :func:`real_shortcut`.
    reduction : int
        Reduction ratio of the gate.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, reduction: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = BinaryConv2d(in_channels, out_channels, stride)
        self.gate = Gate(in_channels, out_channels, reduction)
        self.activation = nn.PReLU(out_channels)
        self.shortcut = nn.Identity() if stride == 1 else real_shortcut(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the half block's output."""
        u = self.norm(x)
        return self.activation(self.conv(u) * self.gate(u)) + self.shortcut(x)


def set_binary_weights(model: nn.Module, binary: bool) -> None:
    """Let every :class:`BinaryConv2d` in ``model`` use the signs of its weights, or the weights."""
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.binary_weights = binary
