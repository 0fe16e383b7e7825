"""The strong baseline of the Real-to-Binary paper, with weights through ``parametrize``.

A ResNet-18 whose half blocks are ``PReLU(scale * conv(sign(BN(x)))) + shortcut(x)``. The layers are
plain ``nn.Conv2d``; a parametrization turns their weights into signs. The file's real weights
are called ``parametrizations.weight.original``.

Binary layers, by hand: 16 convolutions.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize


class _Ste(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        # a tenth lifts an exact 0 to +1
        return torch.sign(torch.sign(x) + 0.1)

    @staticmethod
    def backward(ctx, grad):
        return grad


class SignOf(nn.Module):
    """Parametrization: the signs of a tensor."""

    def forward(self, tensor):
        """Binarize."""
        return _Ste.apply(tensor)


class Binarize(nn.Module):
    """Signs of the activations."""

    def forward(self, x):
        """Binarize."""
        return _Ste.apply(x)


def binary_conv(channels, out, stride):
    """Give a plain convolution whose weights are signs."""
    conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    nn.init.xavier_normal_(conv.weight)
    parametrize.register_parametrization(conv, "weight", SignOf())
    return conv


class LearnedScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, channels, 1, 1) * 0.1 + 0.02)

    def forward(self, x):
        """Scale."""
        return self.scale * x


class HalfBlock(nn.Sequential):
    """The path beside the shortcut."""

    def __init__(self, channels, out, stride):
        super().__init__(
            nn.BatchNorm2d(channels),
            Binarize(),
            binary_conv(channels, out, stride),
            LearnedScale(out),
            nn.PReLU(out),
        )


class Residual(nn.Module):
    """Sum of a path and a shortcut."""

    def __init__(self, path, shortcut):
        super().__init__()
        self.path, self.shortcut = path, shortcut

    def forward(self, x):
        """Add."""
        return self.path(x) + self.shortcut(x)


def _shortcut(channels, out):
    return nn.Sequential(
        nn.AvgPool2d(2, 2), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
    )


def build(width=64, classes=1000):
    """Build the network: a 7x7 stem, sixteen half blocks, a head."""
    layers = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = width
    for group in range(4):
        for index in range(4):
            out = width << group
            strided = group > 0 and index == 0
            shortcut = _shortcut(channels, out) if strided else nn.Identity()
            layers.append(Residual(HalfBlock(channels, out, 2 if strided else 1), shortcut))
            channels = out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)
