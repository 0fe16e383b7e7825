"""Real-to-Binary ResNet-18 as in the paper's first figure, for large and for small pictures.

``u = BN(x); y = PReLU(gate(u) * conv(sign(u), sign(w))) + shortcut(x)``: the gate reads the real
values just before they are binarized, averages them, and scales each output channel through two
small layers. Every binary convolution has its own skip. ``gate`` chooses how the two layers are
written: ``linear`` on vectors, or ``conv`` with 1x1 kernels, biases and the mean by adaptive
pooling.

Binary layers, by hand: 16 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


def sign_plus(x):
    """Sign with +1 at zero, and a hardtanh's gradient."""
    hard = torch.where(x < 0, torch.full_like(x, -1.0), torch.full_like(x, 1.0))
    soft = F.hardtanh(x)
    return hard.detach() - soft.detach() + soft


class LinearGate(nn.Module):
    """Mean, linear, ReLU, linear, sigmoid."""

    def __init__(self, channels, out, reduction):
        super().__init__()
        self.down = nn.Linear(channels, max(1, channels // reduction), bias=False)
        self.up = nn.Linear(max(1, channels // reduction), out, bias=False)

    def forward(self, u):
        """Scales N x C x 1 x 1."""
        z = torch.mean(u, (-2, -1))
        z = torch.sigmoid(self.up(F.relu(self.down(z))))
        return z.view(z.shape[0], -1, 1, 1)


class ConvGate(nn.Sequential):
    """The same with 1x1 convolutions and biases."""

    def __init__(self, channels, out, reduction):
        hidden = max(1, channels // reduction)
        super().__init__(
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, out, 1),
            nn.Sigmoid(),
        )


GATES = {"linear": LinearGate, "conv": ConvGate}


class BinaryConv3x3(nn.Conv2d):
    """3x3, no bias, no scale."""

    def forward(self, u):
        """Convolve signs."""
        return self._conv_forward(sign_plus(u), sign_plus(self.weight), None)


class HalfBlock(nn.Module):
    """One gated binary convolution with its skip."""

    def __init__(self, channels, out, stride, gate, reduction):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = BinaryConv3x3(channels, out, 3, stride, 1, bias=False)
        self.gate = GATES[gate](channels, out, reduction)
        self.act = nn.PReLU(out)
        self.shortcut = nn.Sequential()
        if stride == 2:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, 2), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        """Half a block."""
        u = self.norm(x)
        return self.act(self.gate(u) * self.conv(u)) + self.shortcut(x)


def _stem(width, image):
    if image >= 128:
        conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        return [conv, nn.BatchNorm2d(width), nn.PReLU(width), nn.MaxPool2d(3, 2, padding=1)]
    conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.PReLU(width)]


class RealToBinary(nn.Module):
    """Stem, four groups of four half blocks, head."""

    def __init__(self, width, classes, image, gate, reduction):
        super().__init__()
        self.stem = nn.Sequential(*_stem(width, image))
        groups, channels = [], width
        for group in range(4):
            out = width << group
            halves = []
            for index in range(4):
                stride = 2 if group and index == 0 else 1
                halves.append(HalfBlock(channels, out, stride, gate, reduction))
                channels = out
            groups.append(nn.Sequential(*halves))
        self.groups = nn.ModuleList(groups)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.stem(x)
        for group in self.groups:
            x = group(x)
        return self.fc(self.pool(x).squeeze(-1).squeeze(-1))


def build(width=64, classes=1000, image=224, gate="linear", reduction=8):
    """Build the network; pictures of 128 pixels and more get the 7x7 stem with max pooling."""
    return RealToBinary(width, classes, image, gate, reduction)
