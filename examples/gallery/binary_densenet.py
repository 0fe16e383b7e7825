"""A binary DenseNet: each layer appends its channels to all those before it.

A layer is batch norm, sign and a binary 3x3 convolution without any skip; transitions are max
pooling, ReLU and a real 1x1 convolution. Weights are the signs of weight-normalised tensors (their
direction and length are learned apart), times the length.

Binary layers, by hand: 23 convolutions (6 + 6 + 6 + 5).
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class SteSign(torch.autograd.Function):
    """Sign: +1 from 0 on; the gradient passes inside the threshold."""

    @staticmethod
    def forward(ctx, x, threshold=1.0):
        """Binarize."""
        ctx.save_for_backward(x, torch.tensor(threshold))
        return torch.where(x.ge(0), 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad):
        """Cut."""
        x, threshold = ctx.saved_tensors
        return torch.where(x.abs() <= threshold, grad, 0.0), None


class BinaryConv2d(nn.Module):
    """Convolution of signs; the latent convolution is weight-normalised."""

    def __init__(self, channels, out):
        super().__init__()
        latent = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.latent = weight_norm(latent)

    def forward(self, x):
        """Convolve."""
        weight = self.latent.weight
        length = weight.pow(2).sum(dim=(1, 2, 3), keepdim=True).sqrt() / weight[0].numel() ** 0.5
        signs = SteSign.apply(weight) * length
        return F.conv2d(SteSign.apply(x), signs, padding=1)


class DenseLayer(nn.Module):
    """Appends ``growth`` channels."""

    def __init__(self, channels, growth):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = BinaryConv2d(channels, growth)

    def forward(self, x):
        """Concatenate."""
        return torch.cat([x, self.conv(self.norm(x))], 1)


class Transition(nn.Sequential):
    """Batch norm, max pooling, ReLU, fewer channels."""

    def __init__(self, channels, out):
        super().__init__()
        self.add_module("norm", nn.BatchNorm2d(channels))
        self.add_module("pool", nn.MaxPool2d(2, stride=2))
        self.add_module("relu", nn.ReLU())
        self.add_module("conv", nn.Conv2d(channels, out, kernel_size=1, bias=False))


class BinaryDenseNet(nn.Module):
    """Stem, four dense blocks, head."""

    def __init__(self, growth, layers, reductions, classes):
        super().__init__()
        channels = growth
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.features = nn.Sequential()
        for index, count in enumerate(layers):
            for layer in range(count):
                self.features.add_module(f"dense{index}_{layer}", DenseLayer(channels, growth))
                channels += growth
            if index + 1 < len(layers):
                out = int(channels / reductions[index]) // 8 * 8
                self.features.add_module(f"transition{index}", Transition(channels, out))
                channels = out
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = F.relu(self.norm(self.features(self.stem(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), start_dim=1))


def build(growth=64, classes=1000):
    """Build the network of 28 layers; each dense layer appends ``growth`` channels."""
    return BinaryDenseNet(growth, (6, 6, 6, 5), (2.7, 2.7, 2.2), classes)
