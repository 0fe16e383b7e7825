"""A random network as plain data: what Hypothesis draws, shrinks and prints."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

SIGNS = (
    "where", "torch_sign", "greater", "greater_equal", "sign_of_sign", "where_below", "function",
    "steep", "ratio",
)  # fmt: skip
"""Ways to write a sign, the simplest first: Hypothesis shrinks towards it."""
ESTIMATORS = ("none", "hard_minus_soft", "soft_plus", "hard_detached")
SOFT = ("identity", "clamp", "hardtanh", "tanh", "masks", "polynomial")
WEIGHTS = (
    "sign", "mean", "learned", "constant", "centred", "clipped", "flat", "parametrized", "normed",
    "stored", "assigned", "function",
)  # fmt: skip
ACTIVATIONS = (
    "none", "relu", "prelu", "hardtanh", "leaky", "shifted_prelu", "tanh", "hardswish", "silu",
    "elu", "hardsigmoid",
)  # fmt: skip
PADDINGS = ("valid", "zero", "plus", "minus", "explicit")


class _Described:
    """Shows what is not the default: that is what a failing example is about."""

    def __repr__(self) -> str:
        default = type(self)()
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        told = [f"{key}={value!r}" for key, value in found.items() if value != vars(default)[key]]
        return f"{type(self).__name__}({', '.join(told)})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What Hypothesis asks for."""
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Sign(_Described):
    """How values become signs: the form, the estimator around it and its soft part."""

    form: str = "where"
    estimator: str = "none"
    soft: str = "identity"


@dataclass(frozen=True, repr=False)
class Norm(_Described):
    """A batch norm; ``flips`` gives some negative factors, ``dead`` some that are 0."""

    affine: bool = True
    flips: bool = False
    dead: bool = False


@dataclass(frozen=True, repr=False)
class Window(_Described):
    """Geometry of a convolution or a pooling."""

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: str = "valid"

    @property
    def reach(self) -> int:
        """Padding on each side."""
        return 0 if self.padding == "valid" else self.dilation * (self.kernel - 1) // 2

    def size(self, size: int) -> int:
        """Rows or columns of the result."""
        return (size + 2 * self.reach - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


@dataclass(frozen=True, repr=False)
class Gate(_Described):
    """Squeeze and excite: what it reads, how it is written."""

    reads: Literal["normed", "input", "output"] = "normed"
    form: Literal["linear", "conv"] = "linear"
    squeeze: Literal["mean", "adaptive", "window"] = "mean"
    function: Literal["sigmoid", "hardsigmoid"] = "sigmoid"
    hidden: int = 1
    bias: bool = False


@dataclass(frozen=True, repr=False)
class Scale(_Described):
    """Factors behind a convolution."""

    kind: Literal["none", "channel", "rank_one", "map_k", "gate"] = "none"
    gate: Gate = Gate()


@dataclass(frozen=True, repr=False)
class Block(_Described):
    """One binary convolution and all that stands around it.

    In order: ``norm``, ``shift``, ``sign``, ``sign_pool``, the convolution with ``bias``,
    ``scale``, ``after`` (a batch norm), ``activation``, the ``shortcut``, ``last``.
    """

    out: int = 1
    window: Window = Window()
    groups: int = 1
    weight: str = "sign"
    weight_sign: Sign = Sign()
    sign: Sign = Sign()
    norm: Norm | None = None
    shift: bool = False
    sign_pool: bool = False
    bias: bool = False
    scale: Scale = Scale()
    after: Norm | None = None
    activation: str = "none"
    shortcut: Literal["none", "identity", "pool", "project", "concat"] = "none"
    last: str = "none"


@dataclass(frozen=True, repr=False)
class Stem(_Described):
    """A real convolution of the picture."""

    out: int = 1
    window: Window = Window()
    bias: bool = False
    norm: Norm | None = None
    activation: str = "none"
    pool: Literal["none", "max2", "max3", "average"] = "none"
    normalise: bool = False


@dataclass(frozen=True, repr=False)
class Dense(_Described):
    """One binary linear layer: batch norm, sign, layer, batch norm, activation."""

    out: int = 1
    weight: str = "sign"
    weight_sign: Sign = Sign()
    sign: Sign = Sign()
    norm: Norm | None = None
    bias: bool = False
    activation: str = "none"


@dataclass(frozen=True, repr=False)
class Head(_Described):
    """What ends the network: pooling or flattening, binary linear layers, one real layer."""

    flatten: bool = False
    norm: Norm | None = None
    dense: tuple[Dense, ...] = ()
    classes: int = 2
    softmax: bool = False


@dataclass(frozen=True, repr=False)
class Network(_Described):
    """A whole network; ``stem`` None makes a multilayer perceptron of the picture."""

    shape: tuple[int, int, int] = (1, 4, 4)
    stem: Stem | None = Stem()
    hidden: int = 1
    blocks: tuple[Block, ...] = ()
    head: Head = field(default_factory=Head)
    seed: int = 0

    @property
    def binary(self) -> int:
        """Binary convolutions and linear layers."""
        return len(self.blocks) + len(self.head.dense)
