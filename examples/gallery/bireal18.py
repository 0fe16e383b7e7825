"""Bi-Real Net, 18 layers: a skip around every binary convolution, a polynomial behind the sign.

The sign of an activation passes the gradient of a piecewise polynomial, written with masks that are
converted to numbers; the weights pass that of a clamp. Both soft parts stand in the graph and
cancel: ``hard.detach() - soft.detach() + soft``.

Binary layers, by hand: 16 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


class BinaryActivation(nn.Module):
    """Sign whose gradient is that of a second-order approximation."""

    def forward(self, x):
        """Binarize."""
        out_forward = torch.sign(x)
        below = (x < -1).type(torch.float32)
        negative = (x < 0).type(torch.float32)
        inside = (x < 1).type(torch.float32)
        soft = (-1) * below + (x * x + 2 * x) * (1 - below)
        soft = soft * negative + (-x * x + 2 * x) * (1 - negative)
        soft = soft * inside + 1 * (1 - inside)
        return out_forward.detach() - soft.detach() + soft


class HardBinaryConv(nn.Module):
    """Convolution with ``mean|w| * sign(w)`` of each filter."""

    def __init__(self, channels, out, kernel_size=3, stride=1, padding=1):
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.randn(out, channels, kernel_size, kernel_size) * 0.001)

    def forward(self, x):
        """Convolve."""
        real = self.weight
        scale = torch.mean(abs(real), dim=3, keepdim=True)
        scale = torch.mean(torch.mean(scale, dim=2, keepdim=True), dim=1, keepdim=True).detach()
        binary = scale * torch.sign(real)
        clipped = torch.clamp(real, -1.0, 1.0)
        weight = binary.detach() - clipped.detach() + clipped
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)


class BasicBlock(nn.Module):
    """Sign, binary convolution, batch norm, plus the skip."""

    def __init__(self, channels, out, stride=1, downsample=None):
        super().__init__()
        self.binary_activation = BinaryActivation()
        self.binary_conv = HardBinaryConv(channels, out, stride=stride)
        self.bn1 = nn.BatchNorm2d(out)
        self.downsample = downsample

    def forward(self, x):
        """One layer with its own skip."""
        residual = x
        out = self.bn1(self.binary_conv(self.binary_activation(x)))
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return out


class BiRealNet(nn.Module):
    """Stem of 7x7 and max pooling; four groups; mean and linear layer."""

    def __init__(self, layers, width, classes):
        super().__init__()
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(width, layers[0])
        self.layer2 = self._make_layer(2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    def _make_layer(self, planes, blocks, stride=1):
        downsample = None
        if stride != 1:
            downsample = nn.Sequential(
                nn.AvgPool2d(kernel_size=2, stride=stride),
                nn.Conv2d(self.inplanes, planes, kernel_size=1, bias=False),
                nn.BatchNorm2d(planes),
            )
        layers = [BasicBlock(self.inplanes, planes, stride, downsample)]
        self.inplanes = planes
        layers += [BasicBlock(planes, planes) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x):
        """Logits."""
        x = self.maxpool(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.avgpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)


def build(width=64, classes=1000):
    """Build the network of 18 layers; ``width`` channels in the first group."""
    return BiRealNet([4, 4, 4, 4], width, classes)
