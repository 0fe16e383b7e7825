"""What a Plan implies for each stage of a Program: words, tiles, taps, addresses.

Pure integers, no hardware: the descriptor table, the weight images and the cycle formula all come
from here, so that there is one place where a stage's loops are defined::

    output-channel tile > pixel tile        (or pixel tile > output-channel tile)
      > tap row > tap column                (taps outside the image are not executed)
        > input-channel tile                (one weight word: a *step*)
          > pixel of the tile
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from r2b.hw.plan import Plan
from r2b.hw.support import FRAME, check_supported
from r2b.ir.errors import PlanError
from r2b.ir.program import BinaryConv, Program, RealConv, Stage

MIN_POOLED_COLS = 4
"""Columns between two visits of a pooled column's running maximum (its read and write latency)."""


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``, for ``b > 0``."""
    return -(-a // b)


@dataclass(frozen=True)
class Tap:
    """A kernel row or column: address offset of its input, first and last valid output index."""

    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Tile:
    """A pixel tile: ``rows`` x ``cols`` outputs from (``row``, ``col``) on."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        """Outputs in the tile."""
        return self.rows * self.cols


@dataclass(frozen=True)
class Step:
    """One weight word: how many output pixels of the tile it serves, and its place in the tile.

    ``first_of_tile`` and ``last_of_tile`` delimit the tile; ``lookups`` counts the table look-ups
    (tap rows and columns, empty ones too) that precede it; ``new_tap`` marks a tap's first word.
    """

    pixels: int
    word: int
    lookups: int
    new_tap: bool
    first_of_tile: bool
    last_of_tile: bool


class ConvGeometry:
    """Loops, words and addresses of one convolution stage on one engine.

    Parameters
    ----------
    stage : Stage
        A stage whose contraction is a BinaryConv or a RealConv.
    source_shape : tuple of int
        C, H, W of the source.
    plan : Plan
    """

    def __init__(self, stage: Stage, source_shape: tuple[int, int, int], plan: Plan) -> None:
        self.stage = stage
        self.plan = plan
        self.conv = stage.contraction
        self.channels_in, self.rows_in, self.cols_in = source_shape
        self.binary = isinstance(self.conv, BinaryConv)
        self.from_frame = isinstance(self.conv, RealConv) and self.conv.source == FRAME
        self.lanes_in = plan.p_in if self.binary else plan.lanes
        self.lanes_out = plan.p_out if self.binary else plan.mac_out
        self.channels_out = self.conv.weight.shape[0]
        window = self.conv.window
        rows_mid, cols_mid = self.rows_in, self.cols_in
        if self.presum is not None:
            rows_mid, cols_mid = self.presum.output_size(rows_mid, cols_mid)
        self.rows, self.cols = window.output_size(rows_mid, cols_mid)
        # rows of the frame pass once: all their results are made while they are there
        self.pixel_outer = self.from_frame or stage.name in plan.pixel_outer

    @property
    def presum(self):
        """The presum window, or None."""
        return self.conv.presum if isinstance(self.conv, RealConv) else None

    @property
    def window(self):
        """Kernel, stride and padding of the tap loops: the presum window where there is one."""
        return self.presum if self.presum is not None else self.conv.window

    # --- words -----------------------------------------------------------------------------

    @cached_property
    def values_per_tap(self) -> int:
        """Values a tap reads: input channels; for the frame the whole kernel row, interleaved."""
        return self.channels_in * (self.conv.window.kernel[1] if self.from_frame else 1)

    @cached_property
    def depth(self) -> int:
        """K: words of ``lanes_in`` values per tap (input-channel tiles)."""
        return ceil_div(self.values_per_tap, self.lanes_in)

    @cached_property
    def row_words(self) -> int:
        """Words from one input row to the next in the source memory."""
        if self.from_frame:
            return ceil_div(self.cols_in * self.channels_in, self.lanes_in)
        return self.cols_in * self.depth

    @cached_property
    def tiles_out(self) -> int:
        """K_o: output-channel tiles."""
        return ceil_div(self.channels_out, self.lanes_out)

    @cached_property
    def last_lanes(self) -> int:
        """Valid input lanes of a tap's last word."""
        return self.values_per_tap - (self.depth - 1) * self.lanes_in

    @cached_property
    def groups(self) -> int:
        """Words of ``plan.lanes`` values per output pixel."""
        return ceil_div(self.channels_out, self.plan.lanes)

    def tile_groups(self, ko: int) -> int:
        """Valid words per pixel in output-channel tile ``ko``."""
        per_tile = self.lanes_out // self.plan.lanes
        return min(per_tile, self.groups - ko * per_tile)

    @cached_property
    def weight_bits(self) -> int:
        """Bits of one weight."""
        return 1 if self.binary else self.conv.weight_bits

    @cached_property
    def load_words(self) -> int:
        """L_w: weight-memory words per step."""
        word = self.plan.weight_word if self.binary else self.plan.mac_weight_word
        return ceil_div(self.lanes_in * self.lanes_out * self.weight_bits, word)

    @cached_property
    def steps_per_tile(self) -> int:
        """Weight words (steps) stored per output-channel tile."""
        rows, cols = self.tap_counts
        return (1 if self.presum is not None else rows * cols) * self.depth

    # --- taps ------------------------------------------------------------------------------

    @cached_property
    def tap_counts(self) -> tuple[int, int]:
        """Tap rows and columns the loops visit; the frame's columns are part of the word."""
        rows, cols = self.window.kernel
        return rows, 1 if self.from_frame else cols

    def _taps(self, axis: int) -> tuple[Tap, ...]:
        extent, outputs = ((self.rows_in, self.rows), (self.cols_in, self.cols))[axis]
        step = (self.row_words, self.depth)[axis]
        window = self.window
        stride, pad = window.stride[axis], window.padding[axis]
        taps = []
        for k in range(self.tap_counts[axis]):
            shift = k * window.dilation[axis] - pad
            first = max(0, ceil_div(-shift, stride))
            last = min(outputs - 1, (extent - 1 - shift) // stride)
            taps.append(Tap(shift * step, first, last))
        return tuple(taps)

    @cached_property
    def row_taps(self) -> tuple[Tap, ...]:
        """One entry per tap row."""
        return self._taps(0)

    @cached_property
    def col_taps(self) -> tuple[Tap, ...]:
        """One entry per tap column; one that is always valid for the frame."""
        return (Tap(0, 0, self.cols - 1),) if self.from_frame else self._taps(1)

    # --- tiles -----------------------------------------------------------------------------

    @cached_property
    def tile_rows(self) -> int:
        """Rows of a full tile."""
        return max(1, min(self.rows, self.plan.tile_pixels // self.cols))

    @cached_property
    def tile_cols(self) -> int:
        """Columns of a full tile."""
        return min(self.cols, self.plan.tile_pixels)

    @cached_property
    def line_words_needed(self) -> int:
        """Fewest line-buffer words with which the first convolution cannot wait for itself.

        A tile's rows are asked for while the tile before it is loaded and the one before that is
        read, so none of their rows is free yet.
        """
        extent = self.window.dilation[0] * (self.window.kernel[0] - 1) + 1
        rows = extent + (3 * self.tile_rows - 1) * self.window.stride[0]
        return min(self.rows_in, rows) * self.row_words

    def pixel_tiles(self) -> Iterator[Tile]:
        """Pixel tiles in raster order."""
        for row in range(0, self.rows, self.tile_rows):
            for col in range(0, self.cols, self.tile_cols):
                rows = min(self.tile_rows, self.rows - row)
                yield Tile(row, col, rows, min(self.tile_cols, self.cols - col))

    def tiles(self) -> Iterator[tuple[int, Tile]]:
        """(output-channel tile, pixel tile) in the order in which they run."""
        if self.pixel_outer:
            yield from ((ko, tile) for tile in self.pixel_tiles() for ko in range(self.tiles_out))
        else:
            yield from ((ko, tile) for ko in range(self.tiles_out) for tile in self.pixel_tiles())

    def steps(self, tile: Tile) -> list[Step]:
        """Steps of a tile in order; empty taps only cost look-ups.

        The generator first looks for the tile's last tap row and column from the end of the
        tables, so that it knows the last step when it comes to it.
        """
        rows = [_overlap(tap, tile.row, tile.rows) for tap in self.row_taps]
        cols = [_overlap(tap, tile.col, tile.cols) for tap in self.col_taps]
        last_row, last_col = _last_positive(rows), _last_positive(cols)
        lookups = (len(rows) - last_row) + (len(cols) - last_col)
        found: list[Step] = []
        for ky in range(last_row + 1):
            lookups += 1
            for kx in range(last_col + 1) if rows[ky] > 0 else ():
                lookups += 1
                tap = 0 if self.presum is not None else ky * self.tap_counts[1] + kx
                for kc in range(self.depth) if cols[kx] > 0 else ():
                    last = (ky, kx, kc) == (last_row, last_col, self.depth - 1)
                    word = tap * self.depth + kc
                    found.append(Step(rows[ky] * cols[kx], word, lookups, kc == 0, not found, last))
                    lookups = 0
        return found

    # --- weights ---------------------------------------------------------------------------

    def weight_vectors(self) -> np.ndarray:
        """Weights as the array takes them: [tiles_out, steps_per_tile, lanes_out, lanes_in].

        Surplus lanes hold bit 1 (binary: an idle activation is 0, so the XNOR is 0) or 0 (real).
        """
        weight = self.conv.weight
        if self.from_frame:  # kernel row and channels are one run of bytes: [o, kh, kw * c]
            taps = weight.transpose(0, 2, 3, 1).reshape(self.channels_out, weight.shape[2], -1)
        else:
            taps = weight.transpose(0, 2, 3, 1).reshape(self.channels_out, -1, weight.shape[1])
        idle = 1 if self.binary else 0
        shape = (self.tiles_out * self.lanes_out, taps.shape[1], self.depth * self.lanes_in)
        padded = np.full(shape, idle, dtype=np.int64)
        padded[: self.channels_out, :, : self.values_per_tap] = taps
        split = padded.reshape(
            self.tiles_out, self.lanes_out, taps.shape[1], self.depth, self.lanes_in
        )
        return split.transpose(0, 2, 3, 1, 4).reshape(
            self.tiles_out, -1, self.lanes_out, self.lanes_in
        )

    def weight_words(self) -> list[int]:
        """Weight-memory words in order of output-channel tile, step, word of the step."""
        width = self.plan.weight_word if self.binary else self.plan.mac_weight_word
        mask = (1 << self.weight_bits) - 1
        words: list[int] = []
        for vector in self.weight_vectors().reshape(-1, self.lanes_out * self.lanes_in):
            value = pack(vector, self.weight_bits, mask)
            words += [(value >> (k * width)) & ((1 << width) - 1) for k in range(self.load_words)]
        return words

    # --- ranges ----------------------------------------------------------------------------

    @cached_property
    def acc_bounds(self) -> tuple[int, int]:
        """Smallest and largest sum, from the real weights and the operands' ranges."""
        if self.binary:
            most = self.channels_in * int(np.prod(self.window.kernel))
            return -most, most
        low, high = -(1 << (self.plan.act_bits - 1)), (1 << (self.plan.act_bits - 1)) - 1
        if self.from_frame:
            low, high = -255, 255
        if self.presum is not None:
            taps = int(np.prod(self.presum.kernel))
            low, high = low * taps, high * taps
        weight = self.conv.weight.astype(np.int64).reshape(self.channels_out, -1)
        up = np.maximum(weight * low, weight * high).sum(axis=1).max()
        down = np.minimum(weight * low, weight * high).sum(axis=1).min()
        return min(0, int(down)), max(0, int(up))


def _overlap(tap: Tap, start: int, extent: int) -> int:
    """Outputs of the range for which a tap row or column lies inside the image."""
    return max(0, min(tap.last, start + extent - 1) - max(tap.first, start) + 1)


def _last_positive(counts: list[int]) -> int:
    """Index of the last positive entry."""
    return max(index for index, count in enumerate(counts) if count > 0)


def pack(values: np.ndarray, bits: int, mask: int) -> int:
    """Integer whose field i of ``bits`` bits is ``values[i]``."""
    if bits == 1:
        return int.from_bytes(np.packbits(values.astype(np.uint8), bitorder="little"), "little")
    total = 0
    for index, value in enumerate(values.tolist()):
        total |= (value & mask) << (bits * index)
    return total


class ProgramGeometry:
    """Geometry of every stage, and totals over the network, for one (Program, Plan).

    Raises
    ------
    PlanError
        A stage this generator does not build, named with what is supported.
    """

    def __init__(self, program: Program, plan: Plan) -> None:
        if plan.act_bits != program.act_bits:
            raise PlanError(
                f"the Plan is for {plan.act_bits}-bit tensors, the Program has {program.act_bits}"
            )
        check_supported(program)
        self.program, self.plan = program, plan
        self.convs = [ConvGeometry(s, source_shape(program, s), plan) for s in program.stages]
        found = [text for conv in self.convs for text in _unbuildable(conv, plan)]
        if found:
            raise PlanError("this Plan cannot be built:\n  " + "\n  ".join(found))

    def engine(self, binary: bool) -> list[ConvGeometry]:
        """Stages of one engine in order."""
        return [conv for conv in self.convs if conv.binary is binary]


def _unbuildable(conv: ConvGeometry, plan: Plan) -> Iterator[str]:
    """What of a stage does not fit this generator or this Plan."""
    name, pool = conv.stage.name, conv.stage.pool
    for taps, outputs in ((conv.row_taps, conv.rows), (conv.col_taps, conv.cols)):
        if not all(any(t.first <= o <= t.last for t in taps) for o in range(outputs)):
            yield f"{name}: padding leaves outputs that see nothing of the input"
    if conv.from_frame and plan.line_words < conv.line_words_needed:
        yield (
            f"{name}: the line buffer must hold three rows of tiles and the kernel, "
            f"line_words {conv.line_words_needed} or more, not {plan.line_words}"
        )
    if pool is None:
        return
    if conv.tile_cols < MIN_POOLED_COLS:
        yield (
            f"{name}: max pooling needs tiles of {MIN_POOLED_COLS} columns or more, "
            f"not {conv.tile_cols}; raise tile_pixels"
        )
    pooled = pool.output_size(conv.rows, conv.cols)
    for axis, extent in enumerate((conv.rows, conv.cols)):
        before_last = (pooled[axis] - 2) * pool.stride[axis] - pool.padding[axis]
        if pooled[axis] > 1 and before_last + pool.kernel[axis] >= extent:
            yield f"{name}: max pooling windows that end at the same position"


def source_shape(program: Program, stage: Stage) -> tuple[int, int, int]:
    """C, H, W of what a stage contracts."""
    conv = stage.contraction
    if isinstance(conv, BinaryConv):
        return program.sign_shapes[conv.source]
    return program.input_shape if conv.source == FRAME else program.tensors[conv.source].shape
