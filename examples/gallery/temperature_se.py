"""Binarisation that hardens as a temperature falls, and squeeze-and-excite with a hard sigmoid.

While the temperature, a buffer, is high, activations are clamped and divided; once it is below a
bound they are signs. Weights have a flag of the same kind. Which branch runs depends on the value
in the checkpoint. Each block scales its convolution's result by an excitation that reads the result
itself.

Binary layers, by hand: 12 convolutions (8 of 3x3, 4 of 1x1).
"""

import torch
import torch.nn.functional as F
from torch import nn

COLD = 0.05


class HardSign(nn.Module):
    """Sign when cold, clamp when warm."""

    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, x):
        """Binarize, more or less."""
        if self.training and self.temperature > COLD:
            self.temperature *= 0.5
        x = torch.clamp(x, -float(self.temperature), float(self.temperature))
        if self.temperature < COLD:
            hard = torch.where(x >= 0, 1.0, -1.0)
            return hard.detach() - x.detach() + x
        return x / self.temperature


class SoftToHardConv(nn.Module):
    """Convolution whose weights become signs when the flag is set."""

    def __init__(self, channels, out, kernel_size, stride=1):
        super().__init__()
        self.stride, self.padding = stride, kernel_size // 2
        self.weight = nn.Parameter(torch.randn(out, channels, kernel_size, kernel_size) * 0.1)
        self.register_buffer("hard", torch.tensor(False))
        self.activation = HardSign()

    def binary_weight(self):
        """Signs times the filter's magnitude when hard, tanh before."""
        centred = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        if not self.hard:
            return torch.tanh(centred)
        scale = centred.abs().mean(dim=(1, 2, 3), keepdim=True)
        soft = torch.tanh(centred)
        return (centred.gt(0).float() * 2 - 1).detach() * scale - soft.detach() + soft

    def forward(self, x):
        """Convolve."""
        signs = self.activation(x)
        return F.conv2d(signs, self.binary_weight(), None, self.stride, self.padding)


class SqueezeExcite(nn.Module):
    """Mean, 1x1, ReLU, 1x1, hard sigmoid."""

    def __init__(self, channels, reduction=4):
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(1, channels // reduction), 1)
        self.expand = nn.Conv2d(max(1, channels // reduction), channels, 1)

    def forward(self, x):
        """Scales."""
        z = x.mean((2, 3), keepdim=True)
        return F.hardsigmoid(self.expand(F.relu(self.reduce(z))))


class Stage(nn.Module):
    """Two 3x3 and one 1x1 convolution, each with a skip."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = SoftToHardConv(channels, out, 3, stride)
        self.conv2 = SoftToHardConv(out, out, 3)
        self.conv3 = SoftToHardConv(out, out, 1)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(out) for _ in range(3))
        self.se = SqueezeExcite(out)
        self.act = nn.PReLU(out)
        self.down = None
        if channels != out:
            self.down = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(channels, out, 1))

    def forward(self, x):
        """One stage."""
        skip = x if self.down is None else self.down(x)
        x = self.bn1(self.conv1(x)) + skip
        y = self.conv2(x)
        x = self.act(self.bn2(y * self.se(y)) + x)
        return self.bn3(self.conv3(x)) + x


class TemperatureNet(nn.Module):
    """Stem, four stages, head."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        stages, channels = [], width
        for out in (width, 2 * width, 4 * width, 8 * width):
            stages.append(Stage(channels, out, 1 if out == channels else 2))
            channels = out
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Logits."""
        x = self.stages(self.bn(self.stem(x)))
        return self.fc(x.mean(dim=(2, 3)))


def harden(model):
    """End the annealing: every temperature below the bound, every flag set."""
    for module in model.modules():
        if isinstance(module, HardSign):
            module.temperature.fill_(0.01)
        elif isinstance(module, SoftToHardConv):
            module.hard.fill_(True)


def build(width=64, classes=10):
    """Build the network, warm; the values in a checkpoint say how cold it is."""
    return TemperatureNet(width, classes)
