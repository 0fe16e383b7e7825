"""The networks that r2b trains and ships, by name.

A checkpoint names its network here instead of carrying code: ``build(arch, config)`` makes the
module that its ``state_dict`` belongs to.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from r2b.ir.errors import CheckpointError
from r2b.train.blocks import HalfBlock

MAX_CHANNELS = 8192
MAX_BLOCKS = 256


class RealToBinary(nn.Module):
    """Residual network of gated binary convolutions behind a real-valued stem.

    Stem: convolution 5x5, batch norm, PReLU, max pooling 3x3 with stride 2. Then one group of
    half blocks per entry of ``widths``, every group after the first halving the image. Head:
    mean over the image and a linear layer.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width of a frame.
    num_classes : int
        Number of logits.
    widths : sequence of int
        Channels of each group; the stem has those of the first.
    blocks : sequence of int
        Blocks in each group, of two half blocks each.
    reduction : int
        Reduction ratio of the gates.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        reduction: int,
    ) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.stem = _stem(input_shape[0], widths[0])
        self.body = _body(widths, blocks, reduction)
        self.head = _head(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``N x num_classes``, of frames ``N x C x H x W`` in 0..1."""
        return self.head(self.body(self.stem(x)))


def _stem(in_channels: int, width: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(in_channels, width, 5, padding=2, bias=False),
        norm=nn.BatchNorm2d(width),
        activation=nn.PReLU(width),
        pool=nn.MaxPool2d(3, 2, padding=1),
    )
    return nn.Sequential(layers)


def _group(in_channels: int, width: int, stride: int, blocks: int, reduction: int) -> nn.Sequential:
    first = HalfBlock(in_channels, width, stride, reduction)
    rest = [HalfBlock(width, width, 1, reduction) for _ in range(2 * blocks - 1)]
    return nn.Sequential(first, *rest)


def _body(widths: Sequence[int], blocks: Sequence[int], reduction: int) -> nn.Sequential:
    groups: OrderedDict[str, nn.Module] = OrderedDict()
    previous = widths[0]
    for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        stride = 1 if index == 0 else 2
        groups[f"group{index + 1}"] = _group(previous, width, stride, count, reduction)
        previous = width
    return nn.Sequential(groups)


def _head(width: int, num_classes: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        linear=nn.Linear(width, num_classes),
    )
    return nn.Sequential(layers)


def real_to_binary_digits(
    *,
    num_classes: int = 10,
    widths: Sequence[int] = (32, 64),
    blocks: Sequence[int] = (1, 1),
    reduction: int = 8,
) -> RealToBinary:
    """Small Real-to-Binary network for 16x16 grey images of handwritten digits.

    Parameters
    ----------
    num_classes : int
        Number of logits.
    widths : sequence of int
        Channels of each group.
    blocks : sequence of int
        Blocks in each group, of two half blocks each.
    reduction : int
        Reduction ratio of the gates; it divides every width.

    Raises
    ------
    ValueError
        A value is out of range, or the values do not fit each other.
    """
    input_shape = (1, 16, 16)
    _check_integer("num_classes", num_classes, MAX_CHANNELS)
    _check_integer("reduction", reduction, MAX_CHANNELS)
    _check_integers("widths", widths, MAX_CHANNELS)
    _check_integers("blocks", blocks, MAX_BLOCKS)
    _check_groups(widths, blocks, reduction, input_shape[1] // 2)
    return RealToBinary(input_shape, num_classes, widths, blocks, reduction)


def _check_integer(name: str, value: object, maximum: int) -> None:
    # bool is an int in Python, and no width.
    if type(value) is not int or not 1 <= value <= maximum:
        raise ValueError(f"{name} must be an integer from 1 to {maximum}, not {_brief(value)}")


def _check_integers(name: str, values: object, maximum: int) -> None:
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name} must be a list of integers, one per group, not {_brief(values)}")
    for index, value in enumerate(values):
        _check_integer(f"{name}[{index}]", value, maximum)


def _brief(value: object) -> str:
    """Show a value of unknown kind on one line of bounded length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check_groups(
    widths: Sequence[int], blocks: Sequence[int], reduction: int, image_size: int
) -> None:
    if len(widths) != len(blocks):
        raise ValueError(
            f"widths and blocks must have one entry per group, not {len(widths)} and {len(blocks)}"
        )
    if image_size % 2 ** (len(widths) - 1):
        raise ValueError(
            f"every group after the first halves the image, so {len(widths)} groups do not fit "
            f"the {image_size}x{image_size} map behind the stem"
        )
    for width in widths:
        if width % reduction:
            raise ValueError(f"reduction must divide every width, but {reduction} not {width}")


ARCHITECTURES: dict[str, Callable[..., RealToBinary]] = {
    "real-to-binary-digits": real_to_binary_digits,
}


def build(arch: str, config: Mapping[str, Any]) -> RealToBinary:
    """Make the network ``arch`` with fresh parameters.

    Parameters
    ----------
    arch : str
        A name in :data:`ARCHITECTURES`.
    config : mapping of str to object
        Keywords of the builder; what is left out has its default.

    Raises
    ------
    CheckpointError
        The name is unknown, or the config does not fit the network.
    """
    builder = ARCHITECTURES.get(arch)
    if builder is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"there is no network {arch!r} in the zoo; known are: {known}")
    _check_keywords(arch, builder, config)
    try:
        return builder(**config)
    except ValueError as error:
        raise CheckpointError(f"the config does not fit {arch}: {error}") from error


def _check_keywords(
    arch: str, builder: Callable[..., RealToBinary], config: Mapping[str, Any]
) -> None:
    known = list(inspect.signature(builder).parameters)
    unknown = [key for key in config if key not in known]
    if unknown:
        found = ", ".join(map(repr, unknown))
        raise CheckpointError(
            f"the config does not fit {arch}: it has no option {found}; its options are: "
            + ", ".join(known)
        )
