"""The one residual network of the zoo: stem, groups of residual blocks, head."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain

from torch import Tensor, nn

from r2b.train.blocks import Place, Residual, head, stem
from r2b.train.options import Options


@dataclass(frozen=True)
class Features:
    """What a forward pass leaves for matching a student with its teacher (section 4.2).

    Parameters
    ----------
    logits : Tensor
        ``N x num_classes``.
    groups : tuple of tuple of Tensor
        The output of every block, ``N x C x H x W``, group by group.
    """

    logits: Tensor
    groups: tuple[tuple[Tensor, ...], ...]

    @property
    def blocks(self) -> tuple[Tensor, ...]:
        """The output of every block: the transfer points between networks of one depth."""
        return tuple(chain.from_iterable(self.groups))

    @property
    def ends(self) -> tuple[Tensor, ...]:
        """The output of every group: what networks of different depths have in common."""
        return tuple(group[-1] for group in self.groups)


class Network(nn.Module):
    """Residual network as its options say.

    Parameters
    ----------
    options : Options
        What it is made of.

    Attributes
    ----------
    input_shape : tuple of int
        Channels, height and width of a frame.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_shape = options.input_shape
        self.stem = stem(options)
        self.body = _body(options)
        self.head = head(options)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``N x num_classes``, of frames ``N x C x H x W``."""
        return self.head(self.body(self.stem(x)))

    def forward_features(self, x: Tensor) -> Features:
        """Return the logits of frames ``N x C x H x W``, and the output of every block.

        A block has two convolutions: with one skip per convolution it is two residuals.
        """
        per_block = 2 if self.options.skips == "conv" else 1
        y, groups = self.stem(x), list[tuple[Tensor, ...]]()
        for group in self.body.children():
            outputs: list[Tensor] = []
            for residual in group.children():
                y = residual(y)
                outputs.append(y)
            groups.append(tuple(outputs[per_block - 1 :: per_block]))
        return Features(self.head(y), tuple(groups))


def _body(options: Options) -> nn.Sequential:
    groups: OrderedDict[str, nn.Module] = OrderedDict()
    previous = options.channels[0]
    parts = zip(options.channels, options.blocks, options.sizes, strict=True)
    for index, (width, count, size) in enumerate(parts):
        first = Place(previous, width, 1 if index == 0 else 2, size)
        groups[f"group{index + 1}"] = _group(options, first, count)
        previous = width
    return nn.Sequential(groups)


def _group(options: Options, first: Place, blocks: int) -> nn.Sequential:
    residuals = 2 * blocks if options.skips == "conv" else blocks
    other = Place(first.out_channels, first.out_channels, 1, first.size)
    places = [first, *[other] * (residuals - 1)]
    return nn.Sequential(*(Residual(options, place) for place in places))
