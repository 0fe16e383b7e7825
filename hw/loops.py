"""The words of the loops: taps, pixel tiles, steps, and bits in a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PIXEL_BITS = 9
"""A pixel less its zero point, signed."""


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``, for ``b > 0``."""
    return -(-a // b)


@dataclass(frozen=True)
class Tap:
    """A kernel row or column: address offset of its input, first and last valid output index, and
    the input row or column of output 0.
    """

    offset: int
    first: int
    last: int
    position: int


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
    """One weight word: how many pixels (or groups) of the tile it serves, and its place there.

    ``first_of_tile`` and ``last_of_tile`` delimit the tile; ``lookups`` counts the table look-ups
    (tap rows and columns, empty ones too) that precede it; ``new_tap`` marks a tap's first word.
    """

    pixels: int
    word: int
    lookups: int
    new_tap: bool
    first_of_tile: bool
    last_of_tile: bool


@dataclass(frozen=True)
class Run:
    """The steps of a tap in a tile: the pixels (or groups) of each, the tap's place in the
    kernel, and the table look-ups before the first of them.
    """

    pixels: int
    tap: int
    lookups: int


def overlap(tap: Tap, start: int, extent: int, px: int = 1) -> int:
    """Outputs of the range for which a tap row or column lies inside the image; if ``px`` > 1,
    groups of so many outputs with any such output.
    """
    first, last = max(tap.first, start), min(tap.last, start + extent - 1)
    return last // px - first // px + 1 if last >= first else 0


def unread_rows(rows: int, tiles: int, tile_rows: int, reach: int, stride: int) -> int:
    """Rows of the frame behind the last one that a stage reads, whose last row of tiles is full.

    ``reach``: rows that the first output row needs. Every tile waits for so many rows more than it
    reads, so that the frame is complete when the last one has been read.
    """
    return max(0, rows - ((tiles * tile_rows - 1) * stride + reach))


def last_positive(counts: Sequence[int]) -> int:
    """Index of the last positive entry."""
    return max(index for index, count in enumerate(counts) if count > 0)


def taps_inside(rows: Sequence[int], cols: Sequence[int], shared: bool) -> Iterator[Run]:
    """Taps with any valid output in a tile, from the valid rows of every tap row and the valid
    columns of every tap column; ``shared``: all of them have one weight word.
    """
    last_row, last_col = last_positive(rows), last_positive(cols)
    lookups = (len(rows) - last_row) + (len(cols) - last_col)
    for ky in range(last_row + 1):
        lookups += 1
        for kx in range(last_col + 1) if rows[ky] > 0 else ():
            lookups += 1
            if cols[kx] > 0:
                yield Run(rows[ky] * cols[kx], 0 if shared else ky * len(cols) + kx, lookups)
                lookups = 0


def pack(values: np.ndarray, bits: int, mask: int) -> int:
    """Integer whose field i of ``bits`` bits is ``values[i]``."""
    if bits == 1:
        return int.from_bytes(np.packbits(values.astype(np.uint8), bitorder="little"), "little")
    total = 0
    for index, value in enumerate(values.tolist()):
        total |= (value & mask) << (bits * index)
    return total


def pack_rows(rows: np.ndarray, bits: int, width: int) -> list[int]:
    """Every row as :func:`pack` makes it, cut into words of ``width`` bits, the lowest first."""
    count = rows.shape[1] * bits
    planes = rows.astype(np.int64)[..., None] >> np.arange(bits) & 1
    cut = np.zeros((len(rows), ceil_div(count, width) * width), np.uint8)
    cut[:, :count] = planes.reshape(len(rows), count)
    packed = np.packbits(cut.reshape(-1, width), axis=1, bitorder="little")
    size, content = packed.shape[1], packed.tobytes()
    return [
        int.from_bytes(content[at : at + size], "little") for at in range(0, len(content), size)
    ]


def pack_fields(fields: Sequence[tuple[Sequence[int], int]]) -> int:
    """An array of structures as one integer: (a field's values, its bits) for every field.

    Element i holds the i-th value of every field, the first field lowest.
    """
    size = sum(width for _, width in fields)
    total = start = 0
    for values, width in fields:
        mask = (1 << width) - 1
        for index, value in enumerate(values):
            total |= (int(value) & mask) << (index * size + start)
        start += width
    return total
