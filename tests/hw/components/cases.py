"""Small Programs of unconnected stages, naive models of their loops, and bit packing of ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from r2b.hw.geometry import ConvGeometry, ProgramGeometry, Tile, ceil_div
from r2b.hw.params import CoreParams, core_params
from r2b.hw.plan import Plan
from r2b.ir.arith import bounds
from r2b.ir.errors import Location
from r2b.ir.program import (
    Affine,
    BinaryConv,
    Dense,
    FixedTensor,
    Gate,
    Head,
    MeanVector,
    Program,
    RealConv,
    Saturate,
    SignSink,
    Skip,
    Stage,
    Step,
    Window,
)

SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))
PLAN = {
    "device": "xc7z020", "clock_mhz": 100.0, "act_bits": 9, "p_in": 8, "p_out": 4, "lanes": 2,
    "mac_out": 4, "tile_pixels": 8, "weight_word": 8, "mac_weight_word": 32, "weights": "chip",
    "gate_macs": 4, "line_words": 256, "hop": 3,
}  # fmt: skip


# ------------------------------------------------------------------------------------- programs


@dataclass(frozen=True)
class Layer:
    """A stage that reads a tensor, sign map or frame of its own.

    Parameters
    ----------
    kind : str
        ``binary``, ``real`` or ``frame``; all layers of the last kind share one ``source``.
    source : tuple of int
        C, H, W of what it reads.
    channels : int
        Output channels.
    outer : bool
        Pixel tile > output-channel tile.
    low : int or None
        Lower bound of its values; None is the smallest one.
    chain : str
        Its steps, instead of affine, skip, saturate: ``A``, ``S``, ``L``; ``H`` saturates to half
        the range.
    """

    kind: str = "binary"
    source: tuple[int, int, int] = (10, 6, 7)
    channels: int = 6
    window: Window = SAME
    presum: Window | None = None
    pool: Window | None = None
    fill: int = 0
    outer: bool = False
    gated: bool = False
    skip: bool = False
    store: bool = True
    sign: bool = True
    sums: bool = True
    low: int | None = None
    chain: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the sums."""
        rows, cols = self.source[1:]
        if self.presum is not None:
            rows, cols = self.presum.output_size(rows, cols)
        return self.window.output_size(rows, cols)

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of what the sinks see."""
        size = self.size if self.pool is None else self.pool.output_size(*self.size)
        return (self.channels, *size)


def make_plan(**changes) -> Plan:
    """A small legal Plan."""
    return Plan(**(PLAN | changes))


def make_geometry(layers: list[Layer], seed: int = 0, **changes) -> ProgramGeometry:
    """A Program of these layers with random constants, and a Plan in which nothing overlaps."""
    plan = make_plan(**changes)
    rng = np.random.default_rng(seed)
    tensors: dict[str, FixedTensor] = {}
    signs: dict[str, tuple[int, int, int]] = {}
    stages = [make_stage(rng, i, layer, plan.act_bits) for i, layer in enumerate(layers)]
    for index, layer in enumerate(layers):
        if layer.kind == "real":
            tensors[f"in{index}"] = FixedTensor(layer.source, np.ones(layer.source[0]))
        if layer.kind == "binary":
            signs[f"in{index}"] = layer.source
        for name, wanted in (("t", layer.store), ("skip", layer.skip)):
            if wanted:
                tensors[f"{name}{index}"] = FixedTensor(layer.shape, np.ones(layer.channels))
        if layer.sign:
            signs[f"s{index}"] = layer.shape
    frames = [layer.source for layer in layers if layer.kind == "frame"]
    program = Program(
        "cases", frames[0] if frames else (1, 4, 4), plan.act_bits, tensors, signs, tuple(stages),
        make_head(rng, layers), 1.0,
    )  # fmt: skip
    plan = make_plan(
        **changes,
        tensors=_spread({n: t.shape for n, t in tensors.items()}, plan.lanes),
        signs=_spread(signs, plan.p_in),
        pixel_outer=tuple(f"stage{i}" for i, layer in enumerate(layers) if layer.outer),
    )
    return ProgramGeometry(program, plan)


def make_params(layers: list[Layer], seed: int = 0, **changes) -> CoreParams:
    """Parameters of every component for these layers."""
    return core_params(make_geometry(layers, seed, **changes))


def _spread(shapes: dict[str, tuple[int, int, int]], lanes: int) -> dict[str, int]:
    bases, at = {}, 3
    for name, (channels, rows, cols) in shapes.items():
        bases[name] = at
        at += ceil_div(channels, lanes) * rows * cols
    return bases


def make_stage(rng: np.random.Generator, index: int, layer: Layer, act_bits: int) -> Stage:
    """A stage with random weights, steps and thresholds."""
    low, high = bounds(act_bits)
    steps: list[Step] = []
    for letter in layer.chain or ("ASL" if layer.skip else "AL"):
        if letter == "A":
            later = any(isinstance(step, Affine) for step in steps)
            steps.append(_affine(rng, replace(layer, gated=layer.gated and not later)))
        elif letter == "S":
            steps.append(Skip(f"skip{index}"))
        elif letter == "H":
            steps.append(Saturate(low // 2, high // 2))
        else:
            steps.append(Saturate(low if layer.low is None else layer.low, high))
    theta = rng.integers(low, high + 1, layer.channels)
    sink = SignSink(f"s{index}", theta, rng.integers(0, 2, layer.channels).astype(bool))
    return Stage(
        name=f"stage{index}",
        location=Location(f"model.{index}"),
        contraction=_contraction(rng, index, layer),
        shape=layer.shape,
        gate=_gate(rng, layer) if layer.gated else None,
        epilogue=tuple(steps),
        pool=layer.pool,
        tensor=f"t{index}" if layer.store else None,
        signs=(sink,) if layer.sign else (),
        sums=f"c{index}" if layer.sums else None,
    )


def _contraction(rng: np.random.Generator, index: int, layer: Layer):
    shape = (layer.channels, layer.source[0], *layer.window.kernel)
    if layer.kind == "binary":
        weight = rng.integers(0, 2, shape).astype(np.uint8)
        return BinaryConv(f"in{index}", weight, layer.window, padding_value=layer.fill)
    frame = layer.kind == "frame"
    # all layers that read the frame have the same zero point
    zero = np.arange(layer.source[0]) * 40 + 90 if frame else np.zeros(layer.source[0], np.int64)
    source = "frame" if frame else f"in{index}"
    weight = rng.integers(-128, 128, shape)
    return RealConv(source, weight, layer.window, zero, presum=layer.presum)


def _affine(rng: np.random.Generator, layer: Layer) -> Affine:
    channels = layer.channels
    shift = int(rng.integers(1, 16))
    if layer.gated:
        zeros = np.zeros((2, channels), np.int64)
        return Affine(zeros[0], zeros, zeros, shift, gated=True)
    knot = rng.integers(-40, 41, channels)
    multiplier = rng.integers(-(1 << 15), 1 << 15, (2, channels))
    return Affine(knot, multiplier, rng.integers(-(1 << 20), 1 << 20, (2, channels)), shift)


def make_mean(rng: np.random.Generator, sums: str, channels: int) -> MeanVector:
    """A normalised mean that neither vanishes nor always saturates."""
    multiplier = rng.integers(-(1 << 15), 1 << 15, channels)
    return MeanVector(sums, 3, 4, multiplier, rng.integers(-99_999, 99_999, channels), 9)


def _gate(rng: np.random.Generator, layer: Layer) -> Gate:
    inputs, hidden = layer.source[0], 3
    return Gate(
        make_mean(rng, "c0", inputs),
        Dense(rng.integers(-128, 128, (hidden, inputs)).astype(np.int8),
              rng.integers(1, 200, hidden), rng.integers(-9999, 9999, hidden), 14),
        Dense(rng.integers(-128, 128, (layer.channels, hidden)).astype(np.int8),
              rng.integers(1, 200, layer.channels), rng.integers(-9999, 9999, layer.channels), 17),
        rng.integers(-(1 << 15), 1 << 15, layer.channels),
        rng.integers(-(1 << 15), 1 << 15, layer.channels),
        15,
    )  # fmt: skip


def make_head(rng: np.random.Generator, layers: list[Layer], classes: int = 3) -> Head:
    """Head on the first layer's sums."""
    channels = layers[0].channels
    weight = rng.integers(-128, 128, (classes, channels)).astype(np.int8)
    bias = rng.integers(-9999, 9999, classes)
    return Head("head", Location("head"), make_mean(rng, "c0", channels), weight, bias)


# --------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Pixel:
    """What one issued pixel must carry; ``px`` is its place in its column group ``index``."""

    load: int
    first: int
    bank: int
    index: int
    count: int
    src: int
    phase: int
    byte: int
    outside: int = 0
    px: int = 0


@dataclass(frozen=True)
class Request:
    """What one drain request must carry."""

    bank: int
    index: int
    group: int
    channel: int
    fm: int
    sm: int
    sm_bank: int
    row: int
    col: int
    first: int
    px: int = 0


def source_base(conv: ConvGeometry) -> int:
    """First word of the source."""
    if conv.from_frame:
        return 0
    return (conv.plan.signs if conv.binary else conv.plan.tensors)[conv.conv.source]


def tile_steps(conv: ConvGeometry, tile: Tile) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """Per weight word in order: its place in the tile, and (output row, output column, input row).

    Straight from the definition of a convolution; taps outside the image give nothing, or are
    there with the others where they meet -1 or 1.
    """
    window = conv.window
    tap_cols = 1 if conv.from_frame else window.kernel[1]
    for ky in range(window.kernel[0]):
        for kx in range(tap_cols):
            found = []
            for y in range(tile.row, tile.row + tile.rows):
                for x in range(tile.col, tile.col + tile.cols):
                    iy = y * window.stride[0] - window.padding[0] + ky * window.dilation[0]
                    ix = x * window.stride[1] - window.padding[1] + kx * window.dilation[1]
                    inside = conv.from_frame or 0 <= ix < conv.cols_in
                    if (0 <= iy < conv.rows_in and inside) or conv.fill:
                        found.append((y, x, iy, ix))
            if found:
                tap = 0 if conv.presum is not None else ky * tap_cols + kx
                for kc in range(conv.depth):
                    yield tap * conv.depth + kc, [(*at, kc) for at in found]


def expected_pixels(conv: ConvGeometry, bank: int = 0) -> list[Pixel]:
    """Every pixel of a stage in order; tiles alternate between the banks, from ``bank`` on."""
    pixels, base = [], source_base(conv)
    for number, (_, tile) in enumerate(conv.tiles()):
        touched = set()
        for _, at in tile_steps(conv, tile):
            for y, x, iy, ix, kc in at:
                index, px = group_of(conv, tile, y, x)
                src, phase, byte = base + iy * conv.row_words + ix * conv.depth + kc, 0, 0
                if conv.from_frame:
                    byte = ix * conv.channels_in + kc * conv.lanes_in
                    word, phase = divmod(byte, conv.lanes_in)
                    src = iy * conv.row_words + word
                last = kc == conv.depth - 1
                inside = conv.from_frame or (0 <= iy < conv.rows_in and 0 <= ix < conv.cols_in)
                pixels.append(
                    Pixel(index == group_of(conv, tile, *at[0][:2])[0], (index, px) not in touched,
                          (number + bank) % 2, index,
                          conv.last_lanes if last else conv.lanes_in, src, phase, byte,
                          outside=not inside, px=px)
                )  # fmt: skip
                touched.add((index, px))
    return pixels


def group_of(conv: ConvGeometry, tile: Tile, row: int, col: int) -> tuple[int, int]:
    """Where an output's sums are: the column group in the tile, and the pixel in the group."""
    group, px = divmod(col - tile.col, conv.px)
    return (row - tile.row) * ceil_div(tile.cols, conv.px) + group, px


def expected_words(conv: ConvGeometry, base: int) -> list[int]:
    """Every weight-memory address of a stage in order."""
    return [
        base + (ko * conv.steps_per_tile + word) * conv.load_words + k
        for ko, tile in conv.tiles()
        for word, _ in tile_steps(conv, tile)
        for k in range(conv.load_words)
    ]


def expected_requests(conv: ConvGeometry, bank: int = 0) -> list[Request]:
    """Every drain request of a stage in order."""
    requests = []
    per_tile, banks = conv.lanes_out // conv.plan.lanes, conv.plan.p_in // conv.plan.lanes
    sign_words = ceil_div(conv.channels_out, conv.plan.p_in)
    for number, (ko, tile) in enumerate(conv.tiles()):
        for index in range(tile.pixels):
            row, col = tile.row + index // tile.cols, tile.col + index % tile.cols
            group_index, px = group_of(conv, tile, row, col)
            pixel = row * conv.cols + col
            place = 0 if conv.stage.pool is not None else pixel
            skipped = pixel if any(isinstance(s, Skip) for s in conv.stage.epilogue) else place
            for group in range(conv.tile_groups(ko)):
                channel = ko * per_tile + group
                requests.append(
                    Request(
                        bank=(number + bank) % 2,
                        index=group_index,
                        px=px,
                        group=group,
                        channel=channel,
                        fm=skipped * conv.groups + channel,
                        sm=place * sign_words + channel // banks,
                        sm_bank=channel % banks,
                        row=row,
                        col=col,
                        first=(row, col) == (0, 0),
                    )
                )
    return requests


# ------------------------------------------------------------------------------------- packing


def pack(shape, value) -> int:
    """Bits of a value: a dict for a structure, a sequence for an array, else an integer."""
    if isinstance(shape, data.StructLayout):
        return sum(
            pack(field.shape, value[name]) << field.offset for name, field in shape if name in value
        )
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return sum(pack(shape.elem_shape, v) << (i * width) for i, v in enumerate(value))
    return int(value) & ((1 << Shape.cast(shape).width) - 1)


def unpack(shape, bits: int):
    """The value of such bits."""
    if isinstance(shape, data.StructLayout):
        return {name: unpack(field.shape, bits >> field.offset) for name, field in shape}
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return [unpack(shape.elem_shape, bits >> (i * width)) for i in range(shape.length)]
    cast = Shape.cast(shape)
    bits &= (1 << cast.width) - 1
    return bits - (bits >> (cast.width - 1) << cast.width) if cast.signed and bits else bits
