"""A deployed network of grouped, depthwise, dilated and large binary convolutions.

Weights are stored as ``+-a`` already, in buffers. The border is padded by hand: with +1 before a
convolution of signs, with -1 elsewhere, or by the convolution itself with 0. The activation is a
clamp so steep that it gives nothing but -1 and +1.

Binary layers, by hand: 7 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


class StoredBinaryConv(nn.Module):
    """Convolution with weights that are binary in the file."""

    def __init__(self, channels, out, kernel_size, stride=1, dilation=1, groups=1, border=0.0):
        super().__init__()
        self.stride, self.dilation, self.groups, self.border = stride, dilation, groups, border
        self.reach = dilation * (kernel_size - 1) // 2
        signs = torch.randint(0, 2, (out, channels // groups, kernel_size, kernel_size)) * 2.0 - 1
        size = torch.empty(out, 1, 1, 1).uniform_(0.02, 0.2)
        self.register_buffer("weight", signs * size)

    def forward(self, x):
        """Pad, and convolve."""
        padding = self.reach
        if self.border and padding:
            x = F.pad(x, (padding, padding, padding, padding), value=self.border)
            padding = 0
        return F.conv2d(x, self.weight, None, self.stride, padding, self.dilation, self.groups)


class SteepSign(nn.Module):
    """``clamp(1e9 * x, -1, 1)``; an exact 0 would stay 0."""

    def forward(self, x):
        """Binarize."""
        return torch.clamp(x * 1e9, min=-1.0, max=1.0)


class Unit(nn.Module):
    """Batch norm, sign, binary convolution, hardtanh, skip where shapes allow."""

    def __init__(self, channels, out, kernel_size, **options):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.sign = SteepSign()
        self.conv = StoredBinaryConv(channels, out, kernel_size, **options)
        self.bend = nn.Hardtanh(-2.0, 2.0)
        self.adds = channels == out and options.get("stride", 1) == 1

    def forward(self, x):
        """One unit."""
        y = self.bend(self.conv(self.sign(self.norm(x))))
        return x + y if self.adds else y


class GroupedNet(nn.Module):
    """Stem, seven units, head."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.units = nn.Sequential(
            Unit(width, width, 3, groups=width, border=1.0),
            Unit(width, 2 * width, 1),
            Unit(2 * width, 2 * width, 3, dilation=2, border=-1.0),
            Unit(2 * width, 2 * width, 5, groups=2 * width),
            Unit(2 * width, 4 * width, 3, stride=2, groups=4, border=1.0),
            Unit(4 * width, 4 * width, 7, groups=4 * width),
            Unit(4 * width, 4 * width, 1, groups=2),
        )
        self.norm = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        """Logits."""
        x = self.norm(self.units(self.stem(x)))
        return self.fc(F.leaky_relu(x, 0.1).mean((2, 3)))


def build(width=64, classes=10):
    """Build the network; ``width`` is a multiple of 4."""
    return GroupedNet(width, classes)
