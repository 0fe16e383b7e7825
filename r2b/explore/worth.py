"""Which points of the space are worth evaluating: of the others some are no Plan, and some are no
faster than a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r2b.explore.space import Axes, Point
from r2b.hw import packing
from r2b.hw.halves import unsplittable
from r2b.hw.loops import ceil_div
from r2b.hw.memo import remember
from r2b.hw.passes import Pass, passes_of, runs_of
from r2b.ir.program import BinaryConv, Program, RealConv


@dataclass(frozen=True)
class Extent:
    """Most channels that the arrays of a network can be busy with.

    Parameters
    ----------
    binary_in, binary_out, real_out : int
    front_out : int
        Channels of the first stage, where a front may run it; else 0.
    back_out : int
        ``real_out`` of the other stages; 0 if none of them is on the MAC array.
    binary_cols : int
        Most columns of a binary stage's result.
    weight_bits : int
        Of a real weight.
    sums : tuple of (int, int)
        Of every convolution behind average pooling: its channels, and how many bits a sum over a
        window is wider than a value.
    """

    binary_in: int
    binary_out: int
    binary_cols: int
    real_out: int
    front_out: int
    back_out: int
    weight_bits: int
    sums: tuple[tuple[int, int], ...] = ()

    def presum_bits(self, point: Point) -> int:
        """Bits by which the MAC array's operands are wider for buffered sums."""
        kept = [bits for channels, bits in self.sums if channels > point.mac_out]
        buffered = point.vector == "stream" and point.mac_packing == 1
        return max(kept, default=0) if buffered else 0


def extent_of(program: Program) -> Extent:
    """Channels of a Program's passes."""
    return remember(program, "extent", None, lambda: _extent_of(program))


def _extent_of(program: Program) -> Extent:
    numbered = [
        (number, part)
        for number, stage in enumerate(program.stages)
        for run in runs_of(stage)
        for part in passes_of(program, run)
    ]
    parts = [part for _, part in numbered]
    binary = [part for part in parts if isinstance(part.conv, BinaryConv)]
    real = [part.conv for part in parts if not isinstance(part.conv, BinaryConv)]
    behind = [
        part.conv for number, part in numbered
        if number and not isinstance(part.conv, BinaryConv)
    ]  # fmt: skip
    return Extent(
        max((part.source_shape[0] for part in binary), default=1),
        max((len(part.conv.weight) for part in binary), default=1),
        max((_cols(part) for part in binary), default=1),
        max((len(conv.weight) for conv in real), default=1),
        0 if any(unsplittable(program)) else program.stages[0].shape[0],
        max((len(conv.weight) for conv in behind), default=0),
        max((conv.weight_bits for conv in real), default=8),
        tuple(
            (len(conv.weight), (prod(conv.presum.kernel) - 1).bit_length())
            for conv in real
            if conv.presum is not None and conv.groups == 1
        ),
    )


def unpackable(program: Program, point: Point, family: str) -> str | None:
    """Why a point's products do not fit two to a DSP block of a family, if they do not."""
    if point.front_packing == 2 and family == "ecp5":
        return "front_packing 2 needs DSP blocks of Xilinx"
    if point.mac_packing == 1:
        return None
    return remember(program, "unpackable", family, lambda: _unpackable(program, family))


def _unpackable(program: Program, family: str) -> str | None:
    parts = [
        (stage.name, part.conv)
        for stage in program.stages
        for run in runs_of(stage)
        for part in passes_of(program, run)
    ]
    reals = [(name, conv) for name, conv in parts if isinstance(conv, RealConv)]
    return next(packing.misfits(reals, program.act_bits, family), None)


def _cols(part: Pass) -> int:
    """Columns of a pass's sums."""
    return part.conv.window.output_size(*part.source_shape[1:])[1]


def indivisible(point: Point) -> str | None:
    """The side of the array that the lanes do not divide, if there is one."""
    sides = (name for name in ("p_in", "p_out") if getattr(point, name) % point.lanes)
    return next((f"lanes do not divide {name}" for name in sides), None)


def unfit(point: Point, extent: Extent, axes: Axes) -> str | None:
    """Why a point is left out before a Plan is made of it, if it is.

    The lanes must divide the array; and where a smaller value of an axis keeps every stage as busy,
    the point can only be larger, never faster.
    """
    if point.lut_tiles > point.mac_tiles:
        return "more lut_tiles than mac_tiles"
    if point.mac_packing > 1 and point.lut_tiles == point.mac_tiles:
        return "mac_packing where no product has a DSP block"
    load = max(point.p_in * point.p_out, point.lanes * point.mac_out * extent.weight_bits)
    real_out = (extent.back_out if point.front_tiles else 0) or extent.real_out
    cases = (
        ("p_in", extent.binary_in, "a smaller p_in holds the channels of every binary stage"),
        ("p_out", extent.binary_out, "a smaller p_out holds the channels of every binary stage"),
        ("p_px", extent.binary_cols, "a smaller p_px holds the columns of every binary stage"),
        ("mac_tiles", ceil_div(real_out, point.lanes),
         "fewer mac_tiles hold the channels of every real stage"),
        ("front_tiles", max(1, ceil_div(extent.front_out, point.lanes)),
         "fewer front_tiles hold the channels of the first stage"),
        ("bus", load, "a narrower bus loads every array in one cycle"),
    )  # fmt: skip
    return (
        indivisible(point)
        or superfluous(point, axes)
        or wrong_front(point, extent, axes)
        or next(
            (text for name, enough, text in cases if _less_will_do(point, name, enough, axes)), None
        )
    )


def superfluous(point: Point, axes: Axes) -> str | None:
    """Why a point's vector unit is no other than that of another point, or cannot be."""
    if point.vector == "chip":
        return None
    if point.weights == "chip":
        return "gates are streamed only where the arrays' weights are"
    first = point.gate_macs == axes["gate_macs"][0]
    return None if first else "a streamed vector unit has as many MACs as the bus feeds"


def wrong_front(point: Point, extent: Extent, axes: Axes) -> str | None:
    """Why a point's front is none, or leaves no difference between this point and another."""
    if not point.front_tiles:
        none = point.front_packing == 1 and not point.front_lut_tiles
        return None if none else "front_packing or front_lut_tiles without a front"
    if point.batch > 1:
        return "a front takes one frame at a time"
    if not extent.front_out:
        return "no front can run the network's first stage"
    if point.front_lut_tiles > point.front_tiles:
        return "more front_lut_tiles than front_tiles"
    if point.front_packing > 1 and point.front_lut_tiles == point.front_tiles:
        return "front_packing where no product has a DSP block"
    able = [value for value in axes["mac_tiles"] if int(value) >= point.lut_tiles]
    first = (point.mac_tiles, point.lut_tiles, point.mac_packing) == (
        min(able), axes["lut_tiles"][0], axes["mac_packing"][0],
    )  # fmt: skip
    return None if extent.back_out or first else "no MAC array behind the front"


def _less_will_do(point: Point, name: str, enough: int, axes: Axes) -> bool:
    """Whether the axis has a smaller value than the point's that is enough."""
    return any(enough <= int(value) < getattr(point, name) for value in axes[name])
