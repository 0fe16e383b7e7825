"""XNOR-Net on a network in network: batch norm, sign, convolution, ReLU, and pooling.

Weights are centred over the input channels, clipped, and become ``alpha * sign`` with alpha the
mean magnitude of a filter. The activation goes through ``torch.sign``: 0 stays 0. There is no
linear layer; the last convolution's maps are averaged.

Binary layers, by hand: 7 convolutions.
"""

import torch
import torch.nn.functional as F
from torch import nn


class BinActive(torch.autograd.Function):
    """Sign forward; backward the gradient where the input is within -1..1."""

    @staticmethod
    def forward(ctx, input):
        """Binarize."""
        ctx.save_for_backward(input)
        return input.sign()

    @staticmethod
    def backward(ctx, grad_output):
        """Cut the gradient off outside."""
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input.ge(1)] = 0
        grad_input[input.le(-1)] = 0
        return grad_input


class BinWeight(torch.autograd.Function):
    """``mean|w| * sign(w)`` of each filter, from centred and clipped weights."""

    @staticmethod
    def forward(ctx, weight):
        """Binarize."""
        centred = weight - weight.mean(1, keepdim=True).expand_as(weight)
        clipped = centred.clamp(-1.0, 1.0)
        count = clipped[0].nelement()
        alpha = clipped.norm(1, 3, keepdim=True).sum(2, keepdim=True).sum(1, keepdim=True) / count
        return clipped.sign().mul(alpha.expand_as(clipped))

    @staticmethod
    def backward(ctx, grad_output):
        """Let the gradient pass."""
        return grad_output


class BinConv2d(nn.Module):
    """Batch norm, sign, perhaps dropout, convolution, ReLU."""

    def __init__(self, channels, out, kernel_size, padding=0, dropout=0.0):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=1e-4, momentum=0.1)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.conv = nn.Conv2d(channels, out, kernel_size, padding=padding)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """Binary convolution with its bias."""
        x = BinActive.apply(self.bn(x))
        if self.dropout is not None:
            x = self.dropout(x)
        weight = BinWeight.apply(self.conv.weight)
        x = F.conv2d(x, weight, self.conv.bias, padding=self.conv.padding)
        return self.relu(x)


class NIN(nn.Module):
    """Three groups of a wide convolution and two 1x1 convolutions; first and last are real."""

    def __init__(self, width, classes, image):
        super().__init__()
        wide, middle, narrow = 2 * width, 5 * width // 3, width
        self.xnor = nn.Sequential(
            nn.Conv2d(3, wide, kernel_size=5, stride=1, padding=2),
            nn.BatchNorm2d(wide, eps=1e-4),
            nn.ReLU(inplace=True),
            BinConv2d(wide, middle, 1),
            BinConv2d(middle, narrow, 1),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            BinConv2d(narrow, wide, 5, padding=2, dropout=0.5),
            BinConv2d(wide, wide, 1),
            BinConv2d(wide, wide, 1),
            nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
            BinConv2d(wide, wide, 3, padding=1, dropout=0.5),
            BinConv2d(wide, wide, 1),
            nn.BatchNorm2d(wide, eps=1e-4),
            nn.Conv2d(wide, classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(kernel_size=image // 4, stride=1, padding=0),
        )

    def forward(self, x):
        """Means of the last maps."""
        x = self.xnor(x)
        return x.view(x.size(0), -1)


def build(width=96, classes=10, image=32):
    """Build the network; the wide layers have twice ``width`` channels."""
    return NIN(width, classes, image)
