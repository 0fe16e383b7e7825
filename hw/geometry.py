"""What a Plan implies for each stage of a Program: words, tiles, taps, addresses.

Pure integers, no hardware: the descriptor table, the weight images and the cycle formula all come
from here, so that there is one place where a stage's loops are defined::

    output-channel tile > pixel tile        (or pixel tile > output-channel tile)
      > tap row > tap column                (taps outside the image are not executed)
        > input-channel tile                (one weight word: a *step*)
          > pixel of the tile           (column group: ``px`` pixels side by side)

Column group ``g`` of a stage has columns ``g * px`` to ``(g + 1) * px - 1``. A group takes a cycle
if any of its pixels is valid for the tap; the last one of a row may be incomplete. Tiles begin with
a group.

With several frames to a batch the pixel tiles of all of them take the place of those of one, frame
by frame; a tile with room for several whole frames holds ``tile_frames`` of them. Everything here
is per frame, except for the weight stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np

from r2b.hw.batch import tile_frames
from r2b.hw.buildable import unbuildable
from r2b.hw.chain import Chain, chain_of
from r2b.hw.halves import BACK, FRONT, half_of, unsplittable
from r2b.hw.loops import (
    Run,
    Step,
    Tap,
    Tile,
    ceil_div,
    overlap,
    pack_rows,
    taps_inside,
    unread_rows,
)
from r2b.hw.memo import remember
from r2b.hw.packing import operand_width, pairs_of, stored, unpackable
from r2b.hw.passes import FRAME, Pass, passes_of, runs_of
from r2b.hw.plan import Plan
from r2b.hw.support import check_stages
from r2b.ir.errors import PlanError
from r2b.ir.program import BinaryConv, Program, RealConv, Stage

SUMS_LOOKUPS = 4
"""Look-ups before the only tap of a tile that reads buffered sums: it is found twice."""


class ConvGeometry:
    """Loops, words and addresses of one pass of a stage on one engine.

    Parameters
    ----------
    stage : Stage
    part : Pass
    plan : Plan
    """

    def __init__(self, stage: Stage, part: Pass, plan: Plan) -> None:
        self.stage = stage
        self.part, self.pool, self.fill = part, part.pool, part.fill
        self.plan = plan
        self.conv = part.conv
        self.channels_in, self.rows_in, self.cols_in = part.source_shape
        self.binary = isinstance(self.conv, BinaryConv)
        self.from_frame = isinstance(self.conv, RealConv) and self.conv.source == FRAME
        self.lanes_in = plan.p_in if self.binary else plan.lanes
        self.lanes_out = plan.p_out if self.binary else plan.mac_out
        self.px = plan.p_px if self.binary else 1
        self.channels_out = self.conv.weight.shape[0]
        window = self.conv.window
        rows_mid, cols_mid = self.rows_in, self.cols_in
        if self.presum is not None:
            rows_mid, cols_mid = self.presum.output_size(rows_mid, cols_mid)
        self.rows, self.cols = window.output_size(rows_mid, cols_mid)
        self._runs: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Run, ...]] = {}
        # rows of the frame pass once: all their results are made while they are there
        self.pixel_outer = self.from_frame or stage.name in plan.pixel_outer or self.buffered

    @cached_property
    def chain(self) -> Chain:
        """The epilogue as the lanes run it."""
        bits, bounds = self.plan.act_bits, self.acc_bounds
        return remember(
            self.stage, "chain", (bits, bounds), lambda: chain_of(self.stage, bits, bounds)
        )

    @property
    def presum(self):
        """The presum window, or None."""
        return self.conv.presum if isinstance(self.conv, RealConv) else None

    @cached_property
    def buffered(self) -> bool:
        """Whether the windows are summed once per pixel tile, for all output-channel tiles."""
        wanted = self.plan.presum_buffer and self.presum is not None and not self.diagonal
        return wanted and self.tiles_out > 1

    @property
    def presum_bits(self) -> int:
        """Bits by which a sum over a window is wider than a value."""
        taps = 1 if self.presum is None else int(np.prod(self.presum.kernel))
        return (taps - 1).bit_length()

    @property
    def diagonal(self) -> bool:
        """Each output channel has one input channel, its own."""
        return self.conv.groups > 1

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
    def words(self) -> int:
        """Words of ``lanes_in`` values per pixel of the source memory, or per tap of the frame."""
        if self.part.signs:
            return ceil_div(self.channels_in, self.plan.p_in) * self.sign_banks
        return ceil_div(self.values_per_tap, self.lanes_in)

    @property
    def sign_banks(self) -> int:
        """Words of ``plan.lanes`` bits per word of the sign memory."""
        return self.plan.p_in // self.plan.lanes

    @cached_property
    def depth(self) -> int:
        """K: words of ``lanes_in`` values that a tap reads (input-channel tiles)."""
        most = ceil_div(self.values_per_tap, self.lanes_in)
        return min(most, self.tile_words_in) if self.diagonal else most

    @property
    def tile_words_in(self) -> int:
        """Words of input channels from one output-channel tile's to the next one's, if diagonal."""
        return self.lanes_out // self.lanes_in if self.diagonal else 0

    @cached_property
    def row_words(self) -> int:
        """Words from one input row to the next in the source memory."""
        if self.from_frame:
            return ceil_div(self.cols_in * self.channels_in, self.lanes_in)
        return self.cols_in * self.words

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
        """Words of ``plan.lanes`` values per output pixel that this pass makes."""
        return ceil_div(self.channels_out, self.plan.lanes)

    @cached_property
    def all_groups(self) -> int:
        """Words of ``plan.lanes`` values per output pixel that all passes of the stage make."""
        return ceil_div(self.stage.shape[0], self.plan.lanes)

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

    @property
    def segment_words(self) -> int:
        """Words of the weight stream that are available at a time: see :mod:`r2b.hw.weights`."""
        tiles = self.tiles_out if self.pixel_outer and not self.buffered else 1
        return tiles * self.steps_per_tile * self.load_words

    @property
    def segments(self) -> int:
        """Segments of a batch."""
        if self.buffered:
            return self.batch_tiles * self.num_tiles
        return 1 if self.pixel_outer else self.tiles_out

    # --- taps ------------------------------------------------------------------------------

    @cached_property
    def tap_counts(self) -> tuple[int, int]:
        """Tap rows and columns the loops visit; the frame's columns are part of the word."""
        rows, cols = self.window.kernel
        return rows, 1 if self.from_frame else cols

    def _taps(self, axis: int) -> tuple[Tap, ...]:
        extent, outputs = ((self.rows_in, self.rows), (self.cols_in, self.cols))[axis]
        step = (self.row_words, self.words)[axis]
        window = self.window
        stride, pad = window.stride[axis], window.padding[axis]
        taps = []
        for k in range(self.tap_counts[axis]):
            shift = k * window.dilation[axis] - pad
            first = max(0, ceil_div(-shift, stride))
            last = min(outputs - 1, (extent - 1 - shift) // stride)
            if self.fill:  # such a tap is executed everywhere
                first, last = 0, outputs - 1
            taps.append(Tap(shift * step, first, last, shift))
        return tuple(taps)

    @cached_property
    def row_taps(self) -> tuple[Tap, ...]:
        """One entry per tap row."""
        return self._taps(0)

    @cached_property
    def col_taps(self) -> tuple[Tap, ...]:
        """One entry per tap column; one that is always valid for the frame."""
        return (Tap(0, 0, self.cols - 1, 0),) if self.from_frame else self._taps(1)

    # --- tiles -----------------------------------------------------------------------------

    @cached_property
    def tile_rows(self) -> int:
        """Rows of a full tile."""
        return max(1, min(self.rows, self.plan.tile_pixels // ceil_div(self.cols, self.px)))

    @cached_property
    def tile_cols(self) -> int:
        """Columns of a full tile."""
        return min(self.cols, self.plan.tile_pixels * self.px)

    @cached_property
    def tile_frames(self) -> int:
        """Frames of a batch in a tile."""
        return tile_frames(self)

    @property
    def batch_tiles(self) -> int:
        """Tiles of a batch for each one of a frame."""
        return self.plan.batch // self.tile_frames

    @cached_property
    def line_words_needed(self) -> int:
        """Fewest line-buffer words with which the first convolution cannot wait for itself.

        A tile's rows are asked for while the tile before it is loaded and the one before that is
        read, so none of their rows is free yet.
        """
        rows = self.reach + self.window.padding[0] + self.unread_rows
        rows += (3 * self.tile_rows - 1) * self.window.stride[0]
        return min(self.rows_in, rows) * self.row_words

    @property
    def reach(self) -> int:
        """Input rows that the first output row needs, those in the padding left away."""
        return self.window.dilation[0] * (self.window.kernel[0] - 1) + 1 - self.window.padding[0]

    @cached_property
    def unread_rows(self) -> int:
        """Rows of the frame that no tile reads."""
        args = ceil_div(self.rows, self.tile_rows), self.tile_rows, self.reach
        return unread_rows(self.rows_in, *args, self.window.stride[0]) if self.from_frame else 0

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

    def steps(self, tile: Tile, ko: int = 0) -> list[Step]:
        """Steps of a tile in order; empty taps only cost look-ups.

        The generator first looks for the tile's last tap row and column from the end of the
        tables, so that it knows the last step when it comes to it.
        """
        found: list[Step] = []
        runs = self.runs(tile, ko)
        for run in runs:
            for kc in range(self.depth):
                last = run is runs[-1] and kc == self.depth - 1
                word = run.tap * self.depth + kc
                lookups = run.lookups if kc == 0 else 0
                found.append(Step(run.pixels, word, lookups, kc == 0, not found, last))
        return found

    def runs(self, tile: Tile, ko: int = 0) -> tuple[Run, ...]:
        """Taps of a tile in order, each with ``depth`` steps of as many pixels.

        Where sums are buffered, all output-channel tiles but the first have one tap: the sums.
        """
        if self.buffered and ko:
            return (Run(tile.pixels, 0, SUMS_LOOKUPS),)
        rows = tuple(overlap(tap, tile.row, tile.rows) for tap in self.row_taps)
        cols = tuple(overlap(tap, tile.col, tile.cols, self.px) for tap in self.col_taps)
        found = self._runs.get((rows, cols))
        if found is None:
            shared = self.presum is not None
            found = self._runs[rows, cols] = tuple(taps_inside(rows, cols, shared))
        return found

    @property
    def num_tiles(self) -> int:
        """Pixel tiles times output-channel tiles."""
        tiles = ceil_div(self.rows, self.tile_rows) * ceil_div(self.cols, self.tile_cols)
        return tiles * self.tiles_out

    @cached_property
    def num_steps(self) -> int:
        """Steps of the pass."""
        key = (self.lanes_in, self.lanes_out, self.plan.tile_pixels, self.buffered, self.px)
        return remember(self.part, "steps", key, self._num_steps)

    def _num_steps(self) -> int:
        others = self.tiles_out - 1
        runs = (len(self.runs(t)) + others * len(self.runs(t, others)) for t in self.pixel_tiles())
        return self.depth * sum(runs)

    # --- weights ---------------------------------------------------------------------------

    def weight_vectors(self) -> np.ndarray:
        """Weights as the array takes them: [tiles_out, steps_per_tile, lanes_out, lanes_in].

        Surplus lanes hold bit 1 (binary: an idle activation is 0, so the XNOR is 0) or 0 (real).
        """
        weight = self.conv.weight
        if self.diagonal:
            return self._diagonal_vectors()
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

    def _diagonal_vectors(self) -> np.ndarray:
        """The same where output channel c has a weight for input channel c alone."""
        taps = self.conv.weight.reshape(self.channels_out, -1)
        shape = (self.tiles_out, taps.shape[1], self.depth, self.lanes_out, self.lanes_in)
        vectors = np.zeros(shape, np.int64)
        for channel in range(self.channels_out):
            ko, out = divmod(channel, self.lanes_out)
            kc, lane = divmod(out, self.lanes_in)
            vectors[ko, :, kc, out, lane] = taps[channel]
        return vectors.reshape(self.tiles_out, -1, self.lanes_out, self.lanes_in)

    def weight_words(self) -> list[int]:
        """Weight-memory words in order of output-channel tile, step, word of the step."""
        width = self.plan.weight_word if self.binary else self.plan.mac_weight_word
        vectors = self.weight_vectors()
        if not self.binary:
            vectors = stored(vectors, pairs_of(self.plan))
        vectors = vectors.reshape(-1, self.lanes_out * self.lanes_in)
        return pack_rows(vectors, self.weight_bits, width)

    def stream_words(self) -> list[int]:
        """Words of the weight stream, segment after segment."""
        times = self.segments // self.tiles_out if self.buffered else 1
        return self.weight_words() * times

    # --- ranges ----------------------------------------------------------------------------

    @cached_property
    def acc_bounds(self) -> tuple[int, int]:
        """Smallest and largest sum, from the real weights and the operands' ranges."""
        return remember(self.part, "bounds", self.plan.act_bits, self._acc_bounds)

    def _acc_bounds(self) -> tuple[int, int]:
        if self.binary:
            most = self.channels_in * int(np.prod(self.window.kernel))
            return -most, most
        low, high = -(1 << (self.plan.act_bits - 1)), (1 << (self.plan.act_bits - 1)) - 1
        if self.from_frame:
            low, high = -255, 255
        if self.part.signs:
            low, high = -1, 1
        if self.presum is not None:
            taps = int(np.prod(self.presum.kernel))
            low, high = low * taps, high * taps
        weight = self.conv.weight.astype(np.int64).reshape(self.channels_out, -1)
        up = np.maximum(weight * low, weight * high).sum(axis=1).max()
        down = np.minimum(weight * low, weight * high).sum(axis=1).min()
        return min(0, int(down)), max(0, int(up))


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
        check_stages(program)
        _refuse(unsplittable(program) if plan.front_out else ())
        self.program, self.plan, self.side, self.whole = program, plan, "", self
        self.convs, self.numbers = [], []
        for number, stage in enumerate(program.stages):
            own = plan.front if plan.front_out and number == 0 else plan
            for run in runs_of(stage):
                for part in passes_of(program, run):
                    self.convs.append(ConvGeometry(run, part, own))
                    self.numbers.append(number)
        found = [text for conv in self.convs for text in unbuildable(conv, program, plan)]
        for half in (self.front, self.back) if plan.front_out else (self,):
            pairs = ((conv.stage.name, conv.conv) for conv in half.convs)
            reals = [(name, conv) for name, conv in pairs if isinstance(conv, RealConv)]
            found += unpackable(reals, half.plan, half.side, half.value_bits, half.sum_bits)
        _refuse(found)

    @property
    def front(self) -> ProgramGeometry:
        """The first stage alone, for the front's Plan."""
        return remember(self, FRONT, None, lambda: half_of(self, FRONT))

    @property
    def back(self) -> ProgramGeometry:
        """All other stages; the geometry itself where there is no front."""
        if not self.plan.front_out or self.side:
            return self
        return remember(self, BACK, None, lambda: half_of(self, BACK))

    def with_gate_macs(self, gate_macs: int) -> ProgramGeometry:
        """The same for a Plan with another vector unit, of which no loop or address depends."""
        other = copy(self)
        other.whole, other.plan = other, replace(self.plan, gate_macs=gate_macs)
        return other

    @property
    def stages(self) -> list[ConvGeometry]:
        """The first pass of every stage, and of every repetition of one."""
        return [conv for conv in self.convs if conv.part.first_channel == 0]

    @property
    def split(self) -> bool:
        """Whether passes are not numbered as stages are: a stage has several, or it is a back."""
        return self.numbers != list(range(len(self.program.stages)))

    @property
    def buffered(self) -> bool:
        """Whether some stage keeps the sums of its windows."""
        return any(conv.buffered for conv in self.convs)

    @property
    def operand_bits(self) -> int:
        """Bits of what the MAC array takes: pixels less zero points, values, or sums of them."""
        return operand_width(self.value_bits, self.sum_bits)

    @property
    def value_bits(self) -> int:
        """Bits of a value that a MAC array takes: the front's takes pixels alone."""
        return 0 if self.side == FRONT else self.plan.act_bits

    @property
    def sum_bits(self) -> int:
        """Bits by which buffered sums are wider than values."""
        return max((conv.presum_bits for conv in self.convs if conv.buffered), default=0)

    @property
    def filled(self) -> bool:
        """Whether some taps outside the image meet -1 or 1."""
        return any(conv.fill for conv in self.convs)

    @property
    def rounds(self) -> int:
        """Rounds of the epilogue."""
        return max(len(conv.chain.rounds) for conv in self.convs)

    def engine(self, binary: bool) -> list[ConvGeometry]:
        """Stages of one engine in order."""
        return [conv for conv in self.convs if conv.binary is binary]


def _refuse(found: Iterable[str]) -> None:
    problems = list(found)
    if problems:
        raise PlanError("this Plan cannot be built:\n  " + "\n  ".join(problems))
