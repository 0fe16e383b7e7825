"""A binary multilayer perceptron on 28 x 28 digits.

Sign and clipped gradient are one autograd function, used for values and for weights; the middle
layers carry a learned scale for each output. Dropout, which is nothing at inference, stands between
the layers. The first layer has real weights and sees the pixels, the last is real, too.

Binary layers, by hand: 3 linear layers.
"""

import torch
from torch import nn


class SignClipped(torch.autograd.Function):
    """Forward: +1 for x >= 0, else -1. Backward: the gradient inside -1..1."""

    @staticmethod
    def forward(ctx, x):
        """Binarize."""
        ctx.save_for_backward(x)
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))

    @staticmethod
    def backward(ctx, grad):
        """Clip."""
        (x,) = ctx.saved_tensors
        return grad * x.abs().le(1).to(grad.dtype)


class BinaryLinear(nn.Module):
    """``scale * (sign(W) @ sign(x))``."""

    def __init__(self, features, out):
        super().__init__()
        self.latent = nn.Parameter(torch.empty(out, features).uniform_(-1, 1))
        self.scale = nn.Parameter(torch.empty(out).uniform_(0.5, 1.5) / features**0.5)

    def forward(self, x):
        """Multiply signs, and scale."""
        signs = SignClipped.apply(x)
        return torch.matmul(signs, SignClipped.apply(self.latent).t()) * self.scale


class BinaryMLP(nn.Module):
    """Flatten; real layer; three binary layers with batch norm before them; real layer."""

    def __init__(self, width, classes, pixels, drop):
        super().__init__()
        self.pixels = pixels
        self.first = nn.Linear(pixels, width)
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(3)])
        self.hidden = nn.ModuleList([BinaryLinear(width, width) for _ in range(3)])
        self.drop = nn.Dropout(drop)
        self.last_norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, classes)

    def forward(self, x):
        """Logits."""
        x = self.first(x.flatten(1) * 2 - 1)
        for norm, layer in zip(self.norms, self.hidden, strict=True):
            x = layer(self.drop(norm(x)))
        return self.last(torch.relu(self.last_norm(x)))


def build(width=2048, classes=10, image=28, drop=0.3):
    """Build the network for one channel of ``image`` x ``image`` pixels."""
    return BinaryMLP(width, classes, image * image, drop)
