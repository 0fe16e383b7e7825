"""The one residual block of the zoo, its shortcut, and the stem and head around the blocks.

The paper (Martinez et al., "Training binary neural networks with real-to-binary convolutions",
ICLR 2020) compares networks that differ in a few choices; each choice is an option here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from r2b.train.layers import (
    Alpha,
    BinaryConv2d,
    ChannelScale,
    Gate,
    MagnitudeMap,
    RankOneScale,
)
from r2b.train.options import STEMS, Options


@dataclass(frozen=True)
class Place:
    """Where in the network a residual stands.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of its input and of its output; they differ only where ``stride`` is 2.
    stride : int
        Of its first convolution.
    size : tuple of int
        Height and width of its output.
    """

    in_channels: int
    out_channels: int
    stride: int
    size: tuple[int, int]


def activation(name: str, channels: int) -> nn.Module:
    """Make an activation function by its name in :data:`r2b.train.options.Activation`."""
    if name == "prelu":
        return nn.PReLU(channels)
    return {"none": nn.Identity, "relu": nn.ReLU, "hardtanh": nn.Hardtanh}[name]()


def convolution(
    options: Options, operands: str, in_channels: int, out_channels: int, stride: int, kernel: int
) -> nn.Module:
    """Make a binary or real convolution that pads with zeros and has no bias."""
    if operands == "real":
        return nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
    return BinaryConv2d(
        in_channels, out_channels, stride, kernel, options.gradient, options.weight_gradient
    )


_Factors = dict[str, Callable[[Options, Place], nn.Module]]

_ALPHA: _Factors = {"scale": lambda options, place: Alpha()}

_SCALES: dict[str, _Factors] = {
    "none": {},
    "alpha": _ALPHA,
    "alpha-map": {**_ALPHA, "map": lambda options, place: MagnitudeMap()},
    "channel": {"scale": lambda options, place: ChannelScale(place.out_channels)},
    "rank-one": {"scale": lambda options, place: RankOneScale(place.out_channels, place.size)},
    "gate": {
        "gate": lambda options, place: Gate(
            place.in_channels, place.out_channels, options.reduction
        )
    },
}
"""The factors of each scale, one multiplication each: name of the layer, and how it is made."""


def shortcut(options: Options, place: Place) -> nn.Module:
    """Make what a skip goes through: nothing, or a 1x1 convolution where the image is halved."""
    if place.stride == 1:
        return nn.Identity()
    pooled = options.shortcut == "pooled"
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pooled:
        layers["pool"] = nn.AvgPool2d(2, 2)
    stride = 1 if pooled else place.stride
    layers["conv"] = convolution(
        options, options.downsample, place.in_channels, place.out_channels, stride, kernel=1
    )
    layers["norm"] = nn.BatchNorm2d(place.out_channels)
    return nn.Sequential(layers)


class Residual(nn.Module):
    """As many convolutions as one skip spans, and that skip.

    With ``order`` "pre" each convolution is ``y = activation(conv(norm(y)) * scale)``, and the skip
    is added at the end. With "post" it is ``y = activation(norm(conv(y) * scale))``, and the skip
    is added before the last activation. Scales read the real operand of the convolution.

    Where a skip spans one convolution its layers are ``norm``, ``conv``, ``scale`` (``gate``;
    ``scale`` and ``map``) and ``activation``; where it spans two, they end in 1 and 2.

    Parameters
    ----------
    options : Options
        Of the network.
    place : Place
        Of this part in it.
    """

    def __init__(self, options: Options, place: Place) -> None:
        super().__init__()
        self.order = options.order
        self.suffixes = ("",) if options.skips == "conv" else ("1", "2")
        self.factors = tuple(_SCALES[options.scale])
        second = Place(place.out_channels, place.out_channels, 1, place.size)
        for suffix, part in zip(self.suffixes, (place, second), strict=False):
            self._add_layers(options, part, suffix)
        self.shortcut = shortcut(options, place)

    def _add_layers(self, options: Options, place: Place, suffix: str) -> None:
        normed = place.in_channels if self.order == "pre" else place.out_channels
        self.add_module(f"norm{suffix}", nn.BatchNorm2d(normed))
        conv = convolution(
            options, options.convolution, place.in_channels, place.out_channels, place.stride, 3
        )
        self.add_module(f"conv{suffix}", conv)
        for name, make in _SCALES[options.scale].items():
            self.add_module(f"{name}{suffix}", make(options, place))
        self.add_module(f"activation{suffix}", activation(options.activation, place.out_channels))

    def norms(self) -> list[nn.BatchNorm2d]:
        """Return the batch norm of each convolution."""
        return [cast(nn.BatchNorm2d, self._layer("norm", suffix)) for suffix in self.suffixes]

    def convolutions(self) -> list[nn.Module]:
        """Return the convolutions that the skip spans, first to last."""
        return [self._layer("conv", suffix) for suffix in self.suffixes]

    def scales(self) -> list[nn.Module]:
        """Return the first factor of each convolution; empty without factors."""
        return [self._layer(name, suffix) for suffix in self.suffixes for name in self.factors[:1]]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, ``N x out_channels x H x W``."""
        return self._pre(x) if self.order == "pre" else self._post(x)

    def _pre(self, x: Tensor) -> Tensor:
        y = x
        for suffix in self.suffixes:
            u = self._layer("norm", suffix)(y)
            y = self._layer("activation", suffix)(self._convolve(u, suffix))
        return y + self.shortcut(x)

    def _post(self, x: Tensor) -> Tensor:
        y = x
        for suffix in self.suffixes:
            y = self._layer("norm", suffix)(self._convolve(y, suffix))
            if suffix == self.suffixes[-1]:
                y = y + self.shortcut(x)
            y = self._layer("activation", suffix)(y)
        return y

    def _convolve(self, u: Tensor, suffix: str) -> Tensor:
        conv = self._layer("conv", suffix)
        y = conv(u)
        for name in self.factors:
            y = y * self._layer(name, suffix)(u, conv)
        return y

    def _layer(self, name: str, suffix: str) -> nn.Module:
        return self.get_submodule(f"{name}{suffix}")


def stem(options: Options) -> nn.Sequential:
    """Make the real layers before the blocks: conv, norm, activation, and pool if it has one."""
    kind, width = STEMS[options.stem], options.channels[0]
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(
            options.input_shape[0],
            width,
            kind.kernel,
            stride=kind.stride,
            padding=kind.kernel // 2,
            bias=False,
        ),
        norm=nn.BatchNorm2d(width),
        activation=activation(options.activation, width),
    )
    if kind.pool:
        layers["pool"] = nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(layers)


def head(options: Options) -> nn.Sequential:
    """Make the real layers behind the blocks: mean over the image and a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        linear=nn.Linear(options.channels[-1], options.num_classes),
    )
    return nn.Sequential(layers)
