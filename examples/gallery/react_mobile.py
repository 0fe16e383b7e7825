"""A ReActNet in the shape of MobileNet: binary 3x3 and 1x1 convolutions in turn.

A block that doubles its channels runs two 1x1 convolutions on the same signs, adds the skip to
each and concatenates the two. Strided skips are average pooling without a convolution. Weights are
stored flat, as one column, and viewed.

Binary layers, by hand: 31 convolutions: 13 blocks, of which 5 double (3 each) and 8 do not (2
each).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Shift(nn.Module):
    """A learned summand for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(0.1 * torch.randn(1, channels, 1, 1))

    def forward(self, x):
        """Shift."""
        return x + self.bias


class BinaryActivation(nn.Module):
    """Sign, with three masks of a polynomial behind it."""

    def forward(self, x):
        """Binarize."""
        hard = torch.sign(x)
        first, second, third = x < -1, x < 0, x < 1
        soft = -first.float() + (x.pow(2) + 2 * x) * (1 - first.float())
        soft = soft * second.float() + (2 * x - x.pow(2)) * (1 - second.float())
        soft = soft * third.float() + (1 - third.float())
        return (hard - soft).detach() + soft


class FlatBinaryConv(nn.Module):
    """Convolution whose weights are a column of numbers."""

    def __init__(self, channels, out, kernel_size, stride=1, padding=0):
        super().__init__()
        self.stride, self.padding = stride, padding
        self.shape = (out, channels, kernel_size, kernel_size)
        self.weights = nn.Parameter(0.001 * torch.randn(int(np.prod(self.shape)), 1))

    def forward(self, x):
        """View, binarize, convolve."""
        real = self.weights.view(self.shape)
        scale = real.abs().mean(dim=[3], keepdim=True).mean(dim=[2], keepdim=True)
        scale = scale.mean(dim=[1], keepdim=True).detach()
        hard = scale * torch.sign(real)
        soft = torch.clamp(real, -1.0, 1.0)
        weight = hard.detach() - soft.detach() + soft
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)


class Activation(nn.Module):
    """Shift, PReLU, shift."""

    def __init__(self, channels):
        super().__init__()
        self.steps = nn.ModuleList([Shift(channels), nn.PReLU(channels), Shift(channels)])

    def forward(self, x):
        """Activate."""
        for step in self.steps:
            x = step(x)
        return x


class Block(nn.Module):
    """A 3x3 and one or two 1x1 convolutions, a skip around each."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.move1, self.move2 = Shift(channels), Shift(channels)
        self.binary = BinaryActivation()
        self.conv3x3 = FlatBinaryConv(channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1, self.act2 = Activation(channels), Activation(out)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else None
        copies = out // channels
        self.pointwise = nn.ModuleList(
            [FlatBinaryConv(channels, channels, 1) for _ in range(copies)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(copies)])

    def forward(self, x):
        """One block."""
        y = self.bn1(self.conv3x3(self.binary(self.move1(x))))
        skip = x if self.pool is None else self.pool(x)
        y = self.act1(skip + y)
        signs = self.binary(self.move2(y))
        halves = [
            norm(conv(signs)) + y for conv, norm in zip(self.pointwise, self.norms, strict=True)
        ]
        y = halves[0] if len(halves) == 1 else torch.cat(halves, dim=1)
        return self.act2(y)


PLAN = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *[(16, 1)] * 5, (32, 2), (32, 1))
"""Channels over the stem's, and stride, of each block."""


class ReActMobile(nn.Module):
    """Strided stem, 13 blocks, head."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        blocks, channels = [], width
        for factor, stride in PLAN:
            blocks.append(Block(channels, factor * width, stride))
            channels = factor * width
        self.blocks = nn.ModuleList(blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.pool(x)
        return self.fc(x.view(x.size(0), -1))


def build(width=32, classes=1000):
    """Build the network; the stem has ``width`` channels, the last block 32 times as many."""
    return ReActMobile(width, classes)
