"""XNOR-Net with its map K: each output position is scaled by the mean magnitude of what it saw.

``y = conv(sign(x), sign(w)) * K * alpha``, where K is the mean of |x| over the channels, averaged
by a box filter of the kernel's size, and alpha the mean magnitude of each filter. K depends on the
input. Signs are ``2 * (x > 0) - 1``, with the identity as soft part.

Binary layers, by hand: 4 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


def hard(x):
    """-1 for x <= 0, +1 above."""
    return 2.0 * (x > 0).float() - 1.0


def straight_through(x):
    """Value of the sign, gradient of the identity."""
    return x + (hard(x) - x).detach()


class XnorConv2d(nn.Conv2d):
    """Binary convolution scaled by K and alpha."""

    def __init__(self, channels, out, kernel_size, stride=1, padding=0):
        super().__init__(channels, out, kernel_size, stride, padding, bias=False)
        box = torch.full((1, 1, kernel_size, kernel_size), 1.0 / kernel_size**2)
        self.register_buffer("box", box)

    def forward(self, x):
        """Convolve signs; scale per position and per filter."""
        magnitude = x.abs().mean(dim=1, keepdim=True)
        k = F.conv2d(magnitude, self.box, stride=self.stride, padding=self.padding)
        alpha = self.weight.abs().flatten(1).mean(1)
        y = F.conv2d(
            straight_through(x), straight_through(self.weight), None, self.stride, self.padding
        )
        return y * k * alpha[None, :, None, None]


class XnorNet(nn.Module):
    """A small AlexNet: real first and last layer, batch norm before each binary convolution."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 5, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        plan = [(width, 2 * width, 5), (2 * width, 4 * width, 3)]
        plan += [(4 * width, 4 * width, 3), (4 * width, 2 * width, 3)]
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for channels, _, _ in plan])
        self.convs = nn.ModuleList([XnorConv2d(i, o, k, padding=k // 2) for i, o, k in plan])
        self.acts = nn.ModuleList([nn.LeakyReLU(0.125) for _ in plan])
        self.last_norm = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x):
        """Logits."""
        x = F.relu(self.stem_norm(self.stem(x)))
        for index, (norm, conv, act) in enumerate(
            zip(self.norms, self.convs, self.acts, strict=True)
        ):
            if index < 2:
                x = F.max_pool2d(x, 3, 2, padding=1)
            x = act(conv(norm(x)))
        x = F.adaptive_avg_pool2d(self.last_norm(x), (1, 1))
        return self.fc(torch.flatten(x, 1))


def build(width=96, classes=10):
    """Build the network; the binary convolutions have two and four times ``width`` channels."""
    return XnorNet(width, classes)
