"""The Program: an ordered list of stages over integer tensors; it defines the right answer.

A stage is a contraction, an epilogue and sinks. All arrays are int64 unless a width is named, all
values are exact integers, and every rounding is one :func:`r2b.ir.arith.rs`.

Values that live between stages
-------------------------------
frame
    uint8, C x H x W, the network's input.
fixed tensor
    signed integers of ``Program.act_bits`` bits, C x H x W; real value ``q * scale[c]``.
sign map
    one bit per value, C x H x W; bit b stands for the value 2b - 1.
channel sums
    one signed integer per channel: the sum of a stored fixed tensor over height and width.
logits
    int32, one per class; real value ``q * Program.logit_scale``.

Every ``source`` names such a value: ``"frame"``, a fixed tensor, or a sign map, which then counts
as -1 and +1. A network of vectors has images of 1 x 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import ClassVar

import numpy as np

from r2b.ir.errors import Location, UserError

FORMAT_VERSION = 2
MULTIPLIER_BITS = 16
"""Width of every requantisation multiplier and of a gate's slopes, signed."""
VECTOR_BITS = 16
"""Width of the gate's and the head's input vector and of the gate's hidden units, signed."""
MEAN_FRACTION = 4
"""Fraction bits of a channel mean, in units of the tensor's last place."""


class ProgramError(UserError):
    """A Program cannot be built (a width would not hold its values) or cannot be read."""


@dataclass(frozen=True)
class Window:
    """A sliding window: ``kernel``, ``stride`` (rows, columns) and zero-extent padding.

    Positions outside the input contribute nothing (they are skipped, not zero-filled).

    Parameters
    ----------
    kernel, stride, dilation : tuple of int
        Rows, columns.
    padding : tuple of int
        Top, left, bottom, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output for an input of ``height`` x ``width``."""
        top, left, bottom, right = self.padding
        rows = height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1
        cols = width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1
        return rows // self.stride[0] + 1, cols // self.stride[1] + 1


@dataclass(frozen=True)
class FixedTensor:
    """A fixed tensor between stages.

    Parameters
    ----------
    shape : tuple of int
        C, H, W.
    scale : ndarray
        float64 [C]; real value = integer * scale[c]. Not used by any integer computation.
    """

    shape: tuple[int, int, int]
    scale: np.ndarray


@dataclass(frozen=True)
class BinaryConv:
    """``acc[o,y,x] = sum over valid taps and input channels of a * w``, a and w in {-1, +1}.

    That is ``2 * popcount(xnor) - valid``, where ``valid`` counts taps inside the image times input
    channels. Groups: input channels are split as in PyTorch. With a ``padding_value`` of -1 or +1
    a tap outside the image meets that value, and all taps are valid.

    Parameters
    ----------
    source : str
        Name of a sign map.
    weight : ndarray
        uint8 bits [C_out, C_in / groups, kh, kw], 1 for +1.
    padding_value : int
        -1, 0 or +1.
    """

    source: str
    weight: np.ndarray
    window: Window
    groups: int = 1
    padding_value: int = 0


@dataclass(frozen=True)
class RealConv:
    """``acc[o,y,x] = sum over valid taps and input channels of w * u``.

    ``u`` is ``x - zero_point[c]`` for the frame, the value itself for another source, or, with
    ``presum``, the sum over the presum window of the fixed tensor (average pooling without its
    division, which stands in the epilogue's multiplier).

    Parameters
    ----------
    source : str
        Name of a value.
    weight : ndarray
        Signed integers [C_out, C_in / groups, kh, kw] of ``weight_bits`` bits.
    zero_point : ndarray
        int [C_in]; zeros unless the source is the frame.
    presum : Window or None
        Window summed before the contraction; no padding.
    """

    source: str
    weight: np.ndarray
    window: Window
    zero_point: np.ndarray
    presum: Window | None = None
    groups: int = 1
    weight_bits: int = 8


@dataclass(frozen=True)
class Pool:
    """``acc = max`` or ``sum`` of a value over the valid positions of a window."""

    source: str
    window: Window
    kind: str  # "max" or "sum"


@dataclass(frozen=True)
class Identity:
    """``acc = x`` of a value: a stage that only signs, sums, pools or rescales."""

    source: str


@dataclass(frozen=True)
class Pad:
    """``acc = x`` inside the image, ``value[c]`` in a border around it.

    Parameters
    ----------
    source : str
    padding : tuple of int
        Top, left, bottom, right.
    value : ndarray
        int [C].
    """

    source: str
    padding: tuple[int, int, int, int]
    value: np.ndarray


@dataclass(frozen=True)
class Concat:
    """``acc`` = the channels of the sources, one behind the other."""

    sources: tuple[str, ...]


@dataclass(frozen=True)
class Flatten:
    """``acc[(c*H + y)*W + x, 0, 0] = x[c, y, x]``: an image becomes one vector."""

    source: str


Contraction = BinaryConv | RealConv | Pool | Identity | Pad | Concat | Flatten


@dataclass(frozen=True)
class MeanVector:
    """Channel means, normalised: the input of a gate's or the head's fully connected layer.

    ``m[c] = rs(S[c] * reciprocal, shift)`` (the mean with MEAN_FRACTION fraction bits), then
    ``z[c] = sat(rs(m[c] * multiplier[c] + offset[c], z_shift))`` to VECTOR_BITS bits.

    Parameters
    ----------
    sums : str
        Name of the channel sums.
    reciprocal, shift : int
        ``reciprocal / 2**shift`` is 2**MEAN_FRACTION / (H * W); reciprocal has at most 16 bits.
    multiplier, offset : ndarray
        int [C]: multiplier of MULTIPLIER_BITS bits, offset of at most 40 bits; the batch norm (or
        1 and 0) and the tensor's scale.
    z_shift : int
    """

    sums: str
    reciprocal: int
    shift: int
    multiplier: np.ndarray
    offset: np.ndarray
    z_shift: int


@dataclass(frozen=True)
class Dense:
    """``v[o] = rs(multiplier[o] * sum_c(weight[o,c] * z[c]) + offset[o], shift)``.

    The sum is 32 bits wide, weight int8 [C_out, C_in], multiplier MULTIPLIER_BITS bits signed,
    offset at most 48 bits signed.
    """

    weight: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    shift: int


@dataclass(frozen=True)
class Gate:
    """The data-driven gate: two slopes per output channel, from the source tensor's channel sums.

    ``z`` from :class:`MeanVector`; ``h = sat(max(0, hidden(z)))`` to VECTOR_BITS bits;
    ``i = sat(out(h), -512, 511)``; ``g = gate_table(function)[i + 512]``;
    ``gp[o] = sat16(rs(g * slope_p[o], shift))``, ``gn[o] = sat16(rs(g * slope_n[o], shift))``.
    ``slope_p`` and ``slope_n`` (MULTIPLIER_BITS bits) hold scale, activation slope, 1 / output
    scale and their exchange for a negative scale: gp is used where ``acc >= 0``, gn elsewhere.
    ``function`` is "sigmoid" or "hardsigmoid". Source: Real-to-Binary, section 4.3 and figure 1.
    """

    mean: MeanVector
    hidden: Dense
    out: Dense
    slope_p: np.ndarray
    slope_n: np.ndarray
    shift: int
    function: str = "sigmoid"


@dataclass(frozen=True)
class Affine:
    """Epilogue step ``v = piecewise_affine(v, knot, multiplier, offset, shift)`` per channel.

    Parameters
    ----------
    knot : ndarray
        int [C].
    multiplier, offset : ndarray
        int [2, C]; row 0 below the knot, row 1 from it on. Multiplier MULTIPLIER_BITS bits.
    shift : int
        At least 1.
    gated : bool
        The multiplier is (gn, gp) of the stage's gate, knot and offset are zero, and
        ``multiplier`` holds zeros.
    """

    knot: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    shift: int
    gated: bool = False
    kind: ClassVar[str] = "affine"


@dataclass(frozen=True)
class Skip:
    """Epilogue step ``v = v + source`` for a fixed tensor of the output's shape."""

    source: str
    kind: ClassVar[str] = "skip"


@dataclass(frozen=True)
class Saturate:
    """Epilogue step ``v = min(max(v, low), high)``; ends every chain that is stored."""

    low: int
    high: int
    kind: ClassVar[str] = "saturate"


@dataclass(frozen=True)
class Multiply:
    """Epilogue step ``v = rs(v * x, shift)`` by a stored tensor, broadcast where its size is 1.

    The product has at most 48 bits (proved).
    """

    source: str
    shift: int
    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True)
class SpatialScale:
    """Epilogue step ``v = rs(v * multiplier[c, y, x], shift)``.

    Parameters
    ----------
    multiplier : ndarray
        int [C, H, W] of MULTIPLIER_BITS bits.
    shift : int
        At least 1.
    """

    multiplier: np.ndarray
    shift: int
    kind: ClassVar[str] = "spatial_scale"


@dataclass(frozen=True)
class Table:
    """Epilogue step ``v = entries[sat(v, low, low + len(entries) - 1) - low]``.

    Parameters
    ----------
    entries : ndarray
        int [K]: a function of one number on an even grid.
    low : int
        Argument of the first entry.
    """

    entries: np.ndarray
    low: int
    kind: ClassVar[str] = "table"


Step = Affine | Skip | Saturate | Multiply | SpatialScale | Table


@dataclass(frozen=True)
class SignSink:
    """Writes a sign map: ``bit = (v >= theta[c]) ^ flip[c]``.

    ``theta`` lies in the value's range; a constant is its smallest value, flipped or not.
    """

    name: str
    theta: np.ndarray
    flip: np.ndarray


@dataclass(frozen=True)
class Stage:
    """Contraction, epilogue, optional maximum over a window, sinks.

    Order: ``acc`` from the contraction; the epilogue's steps in order; ``pool`` (maximum over the
    valid positions of a window); then the sinks all read the same value.

    Parameters
    ----------
    name : str
        Unique, taken from the user's module path.
    shape : tuple of int
        C, H, W of the value the sinks see.
    tensor : str or None
        Fixed tensor that is stored.
    signs : tuple of SignSink
    sums : str or None
        Channel sums that are accumulated.
    """

    name: str
    location: Location
    contraction: Contraction
    shape: tuple[int, int, int]
    gate: Gate | None = None
    epilogue: tuple[Step, ...] = ()
    pool: Window | None = None
    tensor: str | None = None
    signs: tuple[SignSink, ...] = ()
    sums: str | None = None


@dataclass(frozen=True)
class Head:
    """Last stage: ``logits[o] = bias[o] + sum_c(weight[o,c] * z[c])``, int32.

    ``weight`` int8 [classes, C] with one scale for the whole tensor, so that integer logits
    compare; ``z`` from :class:`MeanVector`.
    """

    name: str
    location: Location
    mean: MeanVector
    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Program:
    """The integer network. ``stages`` run in order; ``head`` runs last.

    Parameters
    ----------
    name : str
        The architecture's or the file's name, for messages and file names.
    input_shape : tuple of int
        C, H, W of a uint8 frame.
    act_bits : int
        Width R of every fixed tensor.
    tensors : dict
        Name -> FixedTensor.
    sign_shapes : dict
        Name of a sign map -> (C, H, W).
    logit_scale : float
    """

    name: str
    input_shape: tuple[int, int, int]
    act_bits: int
    tensors: dict[str, FixedTensor]
    sign_shapes: dict[str, tuple[int, int, int]]
    stages: tuple[Stage, ...]
    head: Head
    logit_scale: float
    preprocessing: dict[str, float | bool | list[float]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.head.bias)


def identical(left: object, right: object) -> bool:
    """Tell whether two Programs, or parts of them, are equal in every bit, types included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, (tuple, list)) and isinstance(right, (tuple, list)):
        return len(left) == len(right) and all(map(identical, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(identical(left[k], right[k]) for k in left)
    if is_dataclass(left) and is_dataclass(right):
        names = [item.name for item in fields(left)]
        return all(identical(getattr(left, name), getattr(right, name)) for name in names)
    return left == right
