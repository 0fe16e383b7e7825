"""A ReActNet in the shape of ResNet-18: thresholds and activations that are shifted, by learning.

Before each sign stands a learned bias per channel, and the activation is bias, PReLU, bias, behind
the sum with the skip. Weights are signs as ``w / |w|``, times the mean magnitude of the filter.

Binary layers, by hand: 16 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


class LearnableBias(nn.Module):
    """A summand for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.1, requires_grad=True)

    def forward(self, x):
        """Shift."""
        return x + self.bias.expand_as(x)


class RSign(nn.Module):
    """Shifted sign; the gradient is a triangle's, written with ``where``."""

    def __init__(self, channels):
        super().__init__()
        self.move = LearnableBias(channels)

    def forward(self, x):
        """Binarize."""
        x = self.move(x)
        inner = torch.where(x < 0, x * x + 2 * x, 2 * x - x * x)
        soft = torch.where(x.abs() < 1, inner, torch.sign(x))
        return torch.sign(x).detach() - soft.detach() + soft


class RPReLU(nn.Module):
    """Shift, PReLU, shift."""

    def __init__(self, channels):
        super().__init__()
        self.before = LearnableBias(channels)
        self.prelu = nn.PReLU(channels)
        self.after = LearnableBias(channels)

    def forward(self, x):
        """Activate."""
        return self.after(self.prelu(self.before(x)))


class BinaryConv(nn.Module):
    """3x3 with ``mean|w| * w/|w|``."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3) * 0.01)

    def forward(self, x):
        """Convolve."""
        magnitude = self.weight.abs()
        alpha = magnitude.mean((1, 2, 3), keepdim=True)
        hard = alpha * (self.weight / magnitude)
        soft = self.weight.clamp(-1.5, 1.5)
        weight = soft + (hard - soft).detach()
        return F.conv2d(x, weight, None, self.stride, 1)


class ReActLayer(nn.Module):
    """Sign, convolution, batch norm, skip, activation."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.sign = RSign(channels)
        self.conv = BinaryConv(channels, out, stride)
        self.bn = nn.BatchNorm2d(out)
        self.act = RPReLU(out)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2, stride), nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        """One layer."""
        residual = x if self.downsample is None else self.downsample(x)
        return self.act(self.bn(self.conv(self.sign(x))) + residual)


class ReActResNet(nn.Module):
    """7x7 stem, sixteen layers, head."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.features = nn.Sequential()
        channels = width
        for index in range(16):
            out = width << (index // 4)
            stride = 2 if out != channels else 1
            self.features.add_module(f"layer{index}", ReActLayer(channels, out, stride))
            channels = out
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.features(self.maxpool(self.bn1(self.conv1(x))))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.reshape(x.shape[0], -1))


def build(width=64, classes=1000):
    """Build the network; ``width`` channels in the first group."""
    return ReActResNet(width, classes)
