"""What a residual network of the zoo is made of: named options, and the rules they obey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from r2b.train.ste import GRADIENTS, Gradient

MAX_CHANNELS = 8192
MAX_BLOCKS = 256
MAX_GROUPS = 16
MAX_SIZE = 8192

Order = Literal["pre", "post"]
Skips = Literal["block", "conv"]
Activation = Literal["none", "relu", "prelu", "hardtanh"]
Scale = Literal["none", "alpha", "alpha-map", "channel", "rank-one", "gate"]
Operands = Literal["binary", "real"]
Shortcut = Literal["strided", "pooled"]


@dataclass(frozen=True)
class Stem:
    """First layers: convolution, batch norm, activation, and perhaps max pooling 3x3 by 2.

    Parameters
    ----------
    kernel : int
        Of the real convolution.
    stride : int
        Of the real convolution.
    pool : bool
        Whether the max pooling is there.
    """

    kernel: int
    stride: int
    pool: bool


STEMS: Mapping[str, Stem] = MappingProxyType(
    {
        "7x7": Stem(7, stride=2, pool=True),  # for 224 pixels
        "5x5": Stem(5, stride=1, pool=True),  # for 16 pixels
        "3x3": Stem(3, stride=1, pool=False),  # for 32 pixels
    }
)

_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "stem": tuple(STEMS),
        "order": get_args(Order),
        "skips": get_args(Skips),
        "activation": get_args(Activation),
        "scale": get_args(Scale),
        "convolution": get_args(Operands),
        "downsample": get_args(Operands),
        "shortcut": get_args(Shortcut),
        "gradient": GRADIENTS,
        "weight_gradient": GRADIENTS,
    }
)


@dataclass(frozen=True)
class Options:
    """Everything that makes one residual network of the zoo another.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width of a frame.
    num_classes : int
        Number of logits.
    stem : str
        A name in :data:`STEMS`.
    widths : tuple of int
        Channels of each group of blocks; the stem has those of the first. Every group after the
        first halves the image.
    width_multiplier : float
        Multiplies every entry of ``widths``; the products are whole numbers.
    blocks : tuple of int
        Blocks of each group, of two convolutions each: (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3)
        ResNet-34.
    order : "pre" or "post"
        Of a block: BN - conv - scale - activation, the skip added last, or conv - scale - BN -
        activation, the skip added before the last activation.
    skips : "block" or "conv"
        One skip around two convolutions, or one around each (double skip).
    activation : "none", "relu", "prelu" or "hardtanh"
        In the stem and behind each convolution of a block.
    scale : str
        Factor behind each 3x3 convolution: "none", "alpha" or "alpha-map" (XNOR-Net, without and
        with K), "channel" (learned), "rank-one" (learned, XNOR-Net++), "gate" (Real-to-Binary).
    convolution : "binary" or "real"
        The 3x3 convolutions of the blocks.
    downsample : "binary" or "real"
        The 1x1 convolutions of the shortcuts.
    shortcut : "strided" or "pooled"
        Where the image is halved: the 1x1 convolution has stride 2, or stands behind an average
        pooling 2x2. Batch norm follows.
    reduction : int
        Reduction ratio of the gates; it divides every width.
    gradient, weight_gradient : "clipped", "identity" or "polynomial"
        Straight-through estimators of activations and weights, see :data:`r2b.train.ste.Gradient`.

    Raises
    ------
    ValueError
        A value is out of range, or the values do not fit each other.
    """

    input_shape: tuple[int, int, int] = (3, 224, 224)
    num_classes: int = 1000
    stem: str = "7x7"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    width_multiplier: float = 1.0
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    order: Order = "pre"
    skips: Skips = "conv"
    activation: Activation = "prelu"
    scale: Scale = "gate"
    convolution: Operands = "binary"
    downsample: Operands = "real"
    shortcut: Shortcut = "pooled"
    reduction: int = 8
    gradient: Gradient = "clipped"
    weight_gradient: Gradient = "clipped"

    def __post_init__(self) -> None:
        _check_integer("num_classes", self.num_classes, MAX_CHANNELS)
        _check_integer("reduction", self.reduction, MAX_CHANNELS)
        _check_integers("widths", self.widths, MAX_CHANNELS)
        _check_integers("blocks", self.blocks, MAX_BLOCKS)
        _check_integers("input_shape", self.input_shape, MAX_SIZE, "for channels, height, width")
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        _check_multiplier(self.width_multiplier, self.widths)
        _check_groups(self)
        _check_signs(self)

    def with_config(self, config: Mapping[str, Any]) -> Options:
        """Return these options with the entries of ``config`` in place of their own.

        Parameters
        ----------
        config : mapping of str to object
            Options by name, lists for tuples: what JSON can hold.

        Raises
        ------
        ValueError
            There is no such option, or its value does not fit.
        """
        known = [field.name for field in fields(self)]
        unknown = [key for key in config if key not in known]
        if unknown:
            raise ValueError(
                f"it has no option {', '.join(map(repr, unknown))}; "
                f"its options are: {', '.join(known)}"
            )
        values = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        return replace(self, **values)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each group, with the multiplier."""
        return tuple(round(width * self.width_multiplier) for width in self.widths)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the maps of each group."""
        return tuple(
            (_halved(height, index), _halved(width, index))
            for index in range(len(self.widths))
            for height, width in [_stem_size(self)]
        )


def _halved(size: int, times: int) -> int:
    return -(-size // 2**times)


def _stem_size(options: Options) -> tuple[int, int]:
    stem = STEMS[options.stem]
    times = (stem.stride == 2) + stem.pool
    _, height, width = options.input_shape
    return _halved(height, times), _halved(width, times)


def _check_integer(name: str, value: object, maximum: int) -> None:
    # bool is an int in Python, and no width.
    if type(value) is not int or not 1 <= value <= maximum:
        raise ValueError(f"{name} must be an integer from 1 to {maximum}, not {_brief(value)}")


def _check_integers(name: str, values: object, maximum: int, which: str = "one per group") -> None:
    if not isinstance(values, tuple) or not values:
        raise ValueError(f"{name} must be a list of integers, {which}, not {_brief(values)}")
    for index, value in enumerate(values):
        _check_integer(f"{name}[{index}]", value, maximum)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {_brief(value)}")


def _brief(value: object) -> str:
    """Show a value of unknown kind on one line of bounded length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check_multiplier(multiplier: float, widths: tuple[int, ...]) -> None:
    # bool is an int in Python, and no multiplier.
    is_number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
    if not is_number or not 0 < multiplier <= MAX_CHANNELS:
        raise ValueError(
            f"width_multiplier must be a number above 0, at most {MAX_CHANNELS}, "
            f"not {_brief(multiplier)}"
        )
    for width in widths:
        product = width * multiplier
        if product != round(product) or not 1 <= product <= MAX_CHANNELS:
            raise ValueError(
                f"width_multiplier must make widths that are integers from 1 to {MAX_CHANNELS}, "
                f"but {multiplier:g} makes {width} to {product:g}"
            )


def _check_groups(options: Options) -> None:
    if len(options.input_shape) != 3:
        raise ValueError(
            "input_shape must have three entries, channels, height and width, "
            f"not {len(options.input_shape)}"
        )
    num_groups = len(options.widths)
    if num_groups != len(options.blocks):
        raise ValueError(
            "widths and blocks must have one entry per group, "
            f"not {num_groups} and {len(options.blocks)}"
        )
    if num_groups > MAX_GROUPS:
        raise ValueError(f"there must be at most {MAX_GROUPS} groups, not {num_groups}")
    height, width = _stem_size(options)
    # strided convolutions round up, in both branches; pooling would drop the odd row
    pooled = options.shortcut == "pooled"
    if pooled and (height % 2 ** (num_groups - 1) or width % 2 ** (num_groups - 1)):
        raise ValueError(
            f"every group after the first halves the image, so {num_groups} groups do not fit "
            f"the {height}x{width} map behind the stem"
        )
    for channels in options.channels if options.scale == "gate" else ():
        if channels % options.reduction:
            raise ValueError(
                f"reduction must divide every width, but {options.reduction} not {channels}"
            )


def _check_signs(options: Options) -> None:
    """Refuse scales without a meaning, and signs that could only be +1."""
    if options.convolution == "real":
        if options.scale in ("alpha", "alpha-map"):
            raise ValueError(
                f"scale {options.scale} is made from what binarisation leaves out, so it needs "
                'binary convolutions; with convolution "real" choose another scale'
            )
        if options.downsample == "binary":
            raise ValueError(
                'downsample "binary" needs binary convolutions in the blocks; with convolution '
                '"real" choose downsample "real"'
            )
    elif options.activation == "relu" and (
        options.order == "post" or options.downsample == "binary"
    ):
        where = "blocks" if options.order == "post" else "shortcuts"
        raise ValueError(
            f"activation relu leaves nothing below 0, so all signs in the {where} would be +1; "
            'choose prelu or hardtanh, or order "pre" with downsample "real"'
        )
