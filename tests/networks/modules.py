"""Descriptions as ``nn.Module``s."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks import description as d
from tests.networks.signs import SignOf, Weight

PAD_VALUES = {"plus": 1.0, "minus": -1.0, "explicit": 0.0}


class Shift(nn.Module):
    """A learned summand for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.expand_as(x)


def make_norm(norm: d.Norm | None, channels: int, flat: bool = False) -> nn.Module:
    """Batch norm, or nothing."""
    if norm is None:
        return nn.Identity()
    kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
    made = kind(channels, affine=norm.affine, momentum=None)
    if norm.affine:
        nn.init.uniform_(made.weight, 0.5, 1.5)
        nn.init.normal_(made.bias, 0.0, 0.4)
        with torch.no_grad():
            made.weight[::2] *= -1 if norm.flips else 1
            made.weight[1::3] *= 0 if norm.dead else 1
    return made


def make_activation(kind: str, channels: int) -> nn.Module:
    """Activation of a feature map or a vector."""
    slopes = torch.rand(channels) - 0.25
    simple = {
        "none": nn.Identity, "relu": nn.ReLU, "hardtanh": nn.Hardtanh, "tanh": nn.Tanh,
        "hardswish": nn.Hardswish, "silu": nn.SiLU, "elu": nn.ELU, "hardsigmoid": nn.Hardsigmoid,
    }  # fmt: skip
    if kind in simple:
        return simple[kind]()
    if kind == "leaky":
        return nn.LeakyReLU(0.125)
    prelu = nn.PReLU(channels)
    prelu.weight.data = slopes
    if kind == "prelu":
        return prelu
    return nn.Sequential(Shift(channels), prelu, Shift(channels))


class GateModule(nn.Module):
    """Squeeze, two layers, squash."""

    def __init__(self, gate: d.Gate, channels: int, out: int) -> None:
        super().__init__()
        self.gate = gate
        layer = nn.Linear if gate.form == "linear" else lambda *s, bias: nn.Conv2d(*s, 1, bias=bias)
        self.down = layer(channels, gate.hidden, bias=gate.bias)
        self.up = layer(gate.hidden, out, bias=gate.bias)
        self.squash = nn.Sigmoid() if gate.function == "sigmoid" else nn.Hardsigmoid()

    def forward(self, u: Tensor) -> Tensor:
        if self.gate.squeeze == "mean":
            z = u.mean((2, 3), keepdim=True)
        elif self.gate.squeeze == "adaptive":
            z = F.adaptive_avg_pool2d(u, 1)
        else:
            z = F.avg_pool2d(u, (u.shape[2], u.shape[3]))
        if self.gate.form == "linear":
            z = torch.flatten(z, 1)
        z = self.squash(self.up(F.relu(self.down(z))))
        return z.reshape(z.shape[0], -1, 1, 1)


class ScaleModule(nn.Module):
    """Factors behind a convolution; ``forward`` is given all that a gate may read."""

    def __init__(self, block: d.Block, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.kind, self.window, self.reads = block.scale.kind, block.window, block.scale.gate.reads
        if self.kind == "channel":
            self.factor = nn.Parameter(torch.randn(1, block.out, 1, 1))
        elif self.kind == "rank_one":
            sides = ((block.out, 1, 1), (1, size[0], 1), (1, 1, size[1]))
            self.factors = nn.ParameterList([torch.rand(side) + 0.5 for side in sides])
        elif self.kind == "map_k":
            kernel = self.window.kernel
            self.register_buffer("box", torch.full((1, 1, kernel, kernel), 1 / kernel**2))
        elif self.kind == "gate":
            read = block.out if self.reads == "output" else channels
            self.gate = GateModule(block.scale.gate, read, block.out)

    def forward(self, y: Tensor, normed: Tensor, x: Tensor) -> Tensor:
        if self.kind == "channel":
            return self.factor * y
        if self.kind == "rank_one":
            for factor in self.factors:
                y = y * factor
        elif self.kind == "map_k":
            mean = normed.abs().mean(1, keepdim=True)
            return y * F.conv2d(mean, self.box, None, self.window.stride, self.window.reach)
        elif self.kind == "gate":
            return y * self.gate({"normed": normed, "input": x, "output": y}[self.reads])
        return y


class BlockModule(nn.Module):
    """One binary convolution and all around it."""

    def __init__(self, block: d.Block, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *extent = shape
        self.block = block
        self.norm = make_norm(block.norm, channels)
        self.shift = Shift(channels) if block.shift else nn.Identity()
        self.sign = SignOf(block.sign)
        kernel = (block.window.kernel, block.window.kernel)
        taps = (block.out, channels // block.groups, *kernel)
        self.weight = Weight(taps, block.weight, block.weight_sign)
        self.bias = nn.Parameter(torch.randn(block.out)) if block.bias else None
        size = (block.window.size(extent[0]), block.window.size(extent[1]))
        self.scale = ScaleModule(block, channels, size)
        self.after = make_norm(block.after, block.out)
        self.activation = make_activation(block.activation, block.out)
        self.shortcut = make_shortcut(block, channels)
        self.last = make_activation(block.last, out_channels(block, channels))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.shift(self.norm(x))
        y = self.scale(self.convolve(self.sign(normed)), normed, x)
        y = self.activation(self.after(y))
        if self.block.shortcut == "concat":
            y = torch.cat([x, y], 1)
        elif self.block.shortcut != "none":
            y = y + self.shortcut(x)
        return self.last(y)

    def convolve(self, signs: Tensor) -> Tensor:
        window, reach = self.block.window, self.block.window.reach
        if self.block.sign_pool:
            signs = F.max_pool2d(signs, 3, 1, padding=1)
        if window.padding in PAD_VALUES and reach:
            signs = F.pad(signs, [reach] * 4, value=PAD_VALUES[window.padding])
            reach = 0
        geometry = (window.stride, reach, window.dilation, self.block.groups)
        return F.conv2d(signs, self.weight(), self.bias, *geometry)


def out_channels(block: d.Block, channels: int) -> int:
    """Channels of a block's result."""
    return block.out + channels * (block.shortcut == "concat")


def make_shortcut(block: d.Block, channels: int) -> nn.Module:
    """Path beside the convolution."""
    pool = nn.AvgPool2d(2, 2) if block.window.stride == 2 else nn.Identity()
    if block.shortcut == "pool":
        return pool
    if block.shortcut == "project":
        conv = nn.Conv2d(channels, block.out, 1, bias=False)
        return nn.Sequential(pool, conv, nn.BatchNorm2d(block.out, momentum=None))
    return nn.Identity()


class StemModule(nn.Module):
    """Real convolution of the picture."""

    def __init__(self, stem: d.Stem, channels: int) -> None:
        super().__init__()
        self.normalise = stem.normalise
        window = stem.window
        geometry = (window.kernel, window.stride, window.reach, window.dilation)
        self.conv = nn.Conv2d(channels, stem.out, *geometry, bias=stem.bias)
        self.norm = make_norm(stem.norm, stem.out)
        self.activation = make_activation(stem.activation, stem.out)
        pools = {
            "max2": nn.MaxPool2d(2), "max3": nn.MaxPool2d(3, 2, 1), "average": nn.AvgPool2d(2),
        }  # fmt: skip
        self.pool = pools.get(stem.pool, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        if self.normalise:
            x = (x - 0.45) / 0.25
        return self.pool(self.activation(self.norm(self.conv(x))))


class DenseModule(nn.Module):
    """Binary linear layer."""

    def __init__(self, dense: d.Dense, features: int) -> None:
        super().__init__()
        self.norm = make_norm(dense.norm, features, flat=True)
        self.sign = SignOf(dense.sign)
        self.weight = Weight((dense.out, features), dense.weight, dense.weight_sign)
        self.bias = nn.Parameter(torch.randn(dense.out)) if dense.bias else None
        self.activation = make_activation(dense.activation, dense.out)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(F.linear(self.sign(self.norm(x)), self.weight(), self.bias))


class HeadModule(nn.Module):
    """End of a network; takes a feature map, or a vector of an MLP."""

    def __init__(self, head: d.Head, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = head
        features = int(np.prod(shape)) if head.flatten or len(shape) == 1 else shape[0]
        self.norm = make_norm(head.norm, shape[0], flat=len(shape) == 1)
        layers = []
        for dense in head.dense:
            layers.append(DenseModule(dense, features))
            features = dense.out
        self.dense = nn.Sequential(*layers)
        self.last = nn.Linear(features, head.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if x.ndim == 4:
            x = x.flatten(1) if self.head.flatten else x.mean((2, 3))
        x = self.last(F.dropout(self.dense(x), 0.5, self.training))
        return F.log_softmax(x, dim=1) if self.head.softmax else x


class NetworkModule(nn.Module):
    """A whole network."""

    def __init__(self, network: d.Network) -> None:
        super().__init__()
        shape: tuple[int, ...] = network.shape
        if network.stem is None:
            self.stem = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), network.hidden))
            shape = (network.hidden,)
        else:
            self.stem = StemModule(network.stem, shape[0])
            shape = stem_shape(network.stem, network.shape)
        blocks = []
        for block in network.blocks:
            blocks.append(BlockModule(block, shape))
            shape = block_shape(block, shape)
        self.blocks = nn.Sequential(*blocks)
        self.head = HeadModule(network.head, shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def stem_shape(stem: d.Stem, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """C, H, W behind a stem."""
    sizes = [stem.window.size(size) for size in shape[1:]]
    if stem.pool != "none":
        sizes = [(size + 1) // 2 if stem.pool == "max3" else size // 2 for size in sizes]
    return (stem.out, *sizes)


def block_shape(block: d.Block, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """C, H, W behind a block."""
    sizes = [block.window.size(size) for size in shape[1:]]
    return (out_channels(block, shape[0]), *sizes)


def frames_of(network: d.Network, count: int = 8) -> np.ndarray:
    """Frames drawn from the network's seed: uint8, smooth with noise."""
    rng = np.random.default_rng(network.seed)
    noise = rng.integers(0, 256, (count, *network.shape)).astype(np.float64)
    level = rng.uniform(40, 210, (count, network.shape[0], 1, 1))
    return np.clip((noise - 128) * rng.uniform(0.2, 1, (count, 1, 1, 1)) + level, 0, 255).astype(
        np.uint8
    )


def make(network: d.Network) -> nn.Module:
    """Build the module; batch norms have measured frames."""
    torch.manual_seed(network.seed)
    module = NetworkModule(network)
    with torch.no_grad():
        module.train()(torch.from_numpy(frames_of(network)).float() / 255)
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                # a constant less its own mean is nothing but rounding, and its sign is noise
                part.running_var.clamp_(min=0.01)
                part.running_mean += 0.05 * torch.randn(part.num_features)
    return module.eval()
