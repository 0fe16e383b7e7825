"""Bi-Real Net, 34 layers, written the other way round.

The polynomial gradient is the backward pass of an autograd function, so that nothing of it is seen
at inference. Weights are ``where``'s signs times a scale, and the straight-through sum is
``soft + (hard - soft).detach()``. The picture is normalised inside the network.

Binary layers, by hand: 32 convolutions (6 + 8 + 12 + 6).
"""

import torch
from torch import nn
from torch.nn.functional import conv2d


class ApproximateSign(torch.autograd.Function):
    """Sign with the derivative ``2 - 2|x|`` inside -1..1."""

    @staticmethod
    def forward(ctx, x):
        """Binarize: ``>= 0`` is +1."""
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype) * 2 - 1

    @staticmethod
    def backward(ctx, grad):
        """Triangle."""
        (x,) = ctx.saved_tensors
        return grad * (2 - 2 * x.abs()).clamp(min=0)


class Conv1Bit(nn.Conv2d):
    """3x3 convolution with signs and the mean magnitude of each filter."""

    def __init__(self, channels, out, stride):
        super().__init__(channels, out, 3, stride=stride, padding=1, bias=False)

    def one_bit_weight(self):
        """Straight-through weights."""
        w = self.weight
        hard = torch.where(w < 0, -1.0, 1.0) * w.abs().mean(dim=(1, 2, 3), keepdim=True)
        return w + (hard - w).detach()

    def forward(self, x):
        """Convolve."""
        return conv2d(ApproximateSign.apply(x), self.one_bit_weight(), None, self.stride, (1, 1))


class Layer(nn.Module):
    """One binary convolution inside its skip."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.body = nn.Sequential(Conv1Bit(channels, out, stride), nn.BatchNorm2d(out))
        self.skip = nn.Identity()
        if stride == 2 or channels != out:
            self.skip = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True),
                nn.Conv2d(channels, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x):
        """Add."""
        return torch.add(self.skip(x), self.body(x))


class BiReal34(nn.Module):
    """Normalisation, stem, 32 layers, head."""

    def __init__(self, width, classes):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.MaxPool2d(3, 2, 1)
        )
        layers, channels = [], width
        for group, count in enumerate((6, 8, 12, 6)):
            for index in range(count):
                stride = 2 if group and not index else 1
                layers.append(Layer(channels, width << group, stride))
                channels = width << group
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.stem((x - self.mean) / self.std)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean([2, 3]))


def build(width=64, classes=1000):
    """Build the network of 34 layers; ``width`` channels in the first group."""
    return BiReal34(width, classes)
