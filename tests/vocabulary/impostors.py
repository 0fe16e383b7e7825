"""Networks with a layer that only looks binary: it must stay real, and the reason must be told."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.vocabulary.networks import Small, sgn

IMPOSTORS: dict[str, tuple[type[Small], str]] = {}
"""Networks without a binary layer, and a part of the reason."""


def impostor(name: str, reason: str):
    """Register the decorated network."""

    def register(network: type[Small]) -> type[Small]:
        IMPOSTORS[name] = (network, reason)
        return network

    return register


@impostor("activations behind a ReLU", "Relu")
class Rectified(Small):
    def sign(self, x):
        return F.relu(x)


@impostor("activations of 0 and 1", "BatchNorm")
class ZeroAndOne(Small):
    def sign(self, x):
        return (x > 0).float()


@impostor("a slope that is not steep", "Hardtanh")
class Gentle(Small):
    def sign(self, x):
        return torch.clamp(3 * x, -1, 1)


@impostor("three-valued weights", "0")
class Ternary(Small):
    def weight(self):
        return torch.where(self.real.abs() < 0.4, torch.zeros(()), sgn(self.real))


@impostor("two magnitudes in one channel", "magnitude")
class TwoMagnitudes(Small):
    def weight(self):
        factor = torch.ones_like(self.real)
        factor[:, 0] = 2
        return sgn(self.real) * factor


@impostor("a scale per input channel", "magnitude")
class PerInput(Small):
    def weight(self):
        return sgn(self.real) * self.real.abs().mean((0, 2, 3), keepdim=True)


@impostor("an estimator that does not cancel", "Add")
class Uncancelled(Small):
    def sign(self, x):
        return sgn(x).detach() + x


@impostor("a temperature that is not yet high", "magnitude")
class Warm(Small):
    def prepare(self):
        self.register_buffer("temperature", torch.tensor(2.0))

    def weight(self):
        if self.temperature >= 100:
            return sgn(self.real)
        return torch.tanh(self.temperature * self.real)


@impostor("real weights on binary activations", "--binarize-weights")
class RealWeights(Small):
    def weight(self):
        return self.real


@impostor("a steep slope with bounds as far away", "BatchNorm")
class FarBounds(Small):
    def sign(self, x):
        return torch.clamp(x * 1e4, -1e4, 1e4) / 1e4


@impostor("small weights on a steep slope", "magnitude")
class SteepWeights(Small):
    def first_weight(self):
        return torch.rand(6, 6, 3, 3) * 0.002 - 0.001

    def weight(self):
        return torch.tanh(1e4 * self.real)
