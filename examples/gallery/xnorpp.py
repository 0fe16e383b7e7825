"""XNOR-Net++ scales on a residual network for 32 x 32 pictures.

Each convolution's result is multiplied by three learned factors, one per channel, one per row and
one per column; their product is a rank-one factor over the whole map. The sign is
``clamp``'s gradient around ``2 * (x >= 0) - 1``.

Binary layers, by hand: 16 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


def binary(x):
    """Signs of x, +1 at 0; the gradient is that of a clamp."""
    soft = x.clamp(-1, 1)
    signs = x.ge(0).to(x.dtype).mul(2).sub(1)
    return (signs - soft).detach() + soft


class ScaledBinaryConv(nn.Module):
    """``conv(sign x, sign w) * alpha_c * beta_h * gamma_w``."""

    def __init__(self, channels, out, stride, size):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3) * 0.05)
        self.alpha = nn.Parameter(torch.empty(out, 1, 1).uniform_(0.02, 0.08))
        self.beta = nn.Parameter(torch.empty(1, size, 1).uniform_(0.8, 1.2))
        self.gamma = nn.Parameter(torch.empty(1, 1, size).uniform_(0.8, 1.2))

    def forward(self, x):
        """Convolve, and scale the map."""
        y = F.conv2d(binary(x), binary(self.weight), stride=self.stride, padding=1)
        return y.mul(self.alpha).mul(self.beta).mul(self.gamma)


class Block(nn.Module):
    """Batch norm, scaled binary convolution, PReLU, skip; twice."""

    def __init__(self, channels, out, stride, size):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = ScaledBinaryConv(channels, out, stride, size)
        self.act1 = nn.PReLU(out)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = ScaledBinaryConv(out, out, 1, size)
        self.act2 = nn.PReLU(out)
        self.shortcut = None
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        """Two layers with two skips."""
        skip = x if self.shortcut is None else self.shortcut(x)
        x = self.act1(self.conv1(self.bn1(x))) + skip
        return self.act2(self.conv2(self.bn2(x))) + x


class XnorPlusPlus(nn.Module):
    """Stem of 3x3; four groups of two blocks; head."""

    def __init__(self, width, classes, image):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks, channels, size = [], width, image
        for group in range(4):
            for index in range(2):
                stride = 2 if group and not index else 1
                size //= stride
                blocks.append(Block(channels, width << group, stride, size))
                channels = width << group
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.avg_pool2d(x, x.shape[-1]).flatten(1))


def build(width=64, classes=10, image=32):
    """Build the network; the scales fix the size of the picture."""
    return XnorPlusPlus(width, classes, image)
