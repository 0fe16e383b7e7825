"""The classic binarized network: a VGG for 32 x 32 pictures that assigns to ``.data`` as it runs.

Each layer keeps its real weights in ``weight.org`` and overwrites ``weight.data`` with their signs
in every forward pass; it overwrites its input in the same way. The first convolution has binary
weights, but sees the picture itself, so it is no binary convolution.

Binary layers, by hand: 5 convolutions, 3 linear layers.
"""

import torch.nn.functional as F
from torch import nn


def binarized(tensor):
    """Sign as PyTorch has it: 0 stays 0."""
    return tensor.sign()


class BinarizeConv2d(nn.Conv2d):
    """Convolution that binarizes what it is given and what it holds, both in place."""

    def forward(self, input):
        """Convolve; a picture of three channels is left as it is."""
        if input.size(1) != 3:
            input.data = binarized(input.data)
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = binarized(self.weight.org)
        out = F.conv2d(input, self.weight, None, self.stride, self.padding)
        if self.bias is not None:
            self.bias.org = self.bias.data.clone()
            out += self.bias.view(1, -1, 1, 1).expand_as(out)
        return out


class BinarizeLinear(nn.Linear):
    """Linear layer of the same kind; its input is always binarized."""

    def forward(self, input):
        """Multiply the signs."""
        input.data = binarized(input.data)
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = binarized(self.weight.org)
        out = F.linear(input, self.weight)
        if self.bias is not None:
            self.bias.org = self.bias.data.clone()
            out += self.bias.view(1, -1).expand_as(out)
        return out


class VGGBinary(nn.Module):
    """Conv, perhaps max pooling, batch norm, hardtanh; six times, and three linear layers."""

    def __init__(self, width, hidden, classes, image):
        super().__init__()
        self.flat = 4 * width * (image // 8) ** 2
        layers = []
        channels = 3
        for index, out in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width)):
            layers.append(BinarizeConv2d(channels, out, kernel_size=3, padding=1, bias=True))
            if index % 2:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            layers += [nn.BatchNorm2d(out), nn.Hardtanh(inplace=True)]
            channels = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            BinarizeLinear(self.flat, hidden, bias=True),
            nn.BatchNorm1d(hidden),
            nn.Hardtanh(inplace=True),
            BinarizeLinear(hidden, hidden, bias=True),
            nn.BatchNorm1d(hidden),
            nn.Hardtanh(inplace=True),
            BinarizeLinear(hidden, classes, bias=True),
            nn.BatchNorm1d(classes, affine=False),
            nn.LogSoftmax(dim=1),
        )

    def forward(self, x):
        """Log-probabilities of the classes."""
        x = self.features(x)
        x = x.view(-1, self.flat)
        return self.classifier(x)


def restore(model):
    """Put the real weights back, as the training loop does before each step of the optimizer."""
    for parameter in model.parameters():
        if hasattr(parameter, "org"):
            parameter.data.copy_(parameter.org)
            del parameter.org


def build(width=128, hidden=1024, classes=10, image=32):
    """Build the network for ``image`` x ``image`` pictures."""
    return VGGBinary(width, hidden, classes, image)
