"""What of a stage does not fit this generator or this Plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from r2b.hw.plan import Plan
from r2b.ir.program import Program

if TYPE_CHECKING:
    from r2b.hw.geometry import ConvGeometry

MIN_POOLED_WORDS = 2
"""Words of a row of a pooled stage: a column's running maximum must not come in two cycles in a
row. In every second one it may: see :class:`r2b.hw.pool.MaxPool`."""


def factor_kind(conv: ConvGeometry, program: Program) -> str | None:
    """How the tensor that a stage multiplies by varies: by ``channel``, by ``pixel``, or both."""
    size = (conv.rows, conv.cols)
    channels, *extent = program.tensors[conv.chain.multiply].shape
    if (channels, *extent) == (conv.stage.shape[0], *size):
        return "both"
    if extent == [1, 1] and channels == conv.stage.shape[0]:
        return "channel"
    return "pixel" if channels == 1 and tuple(extent) == size else None


def unbuildable(conv: ConvGeometry, program: Program, plan: Plan) -> Iterator[str]:
    """What of a stage does not fit this generator or this Plan."""
    name, pool = conv.stage.name, conv.pool
    if conv.part.first_channel % plan.lanes:
        yield (
            f"{name}: {conv.part.first_channel} channels come before those of {conv.conv.source}, "
            f"which lanes {plan.lanes} do not divide; choose other lanes"
        )
    if conv.part.signs and conv.sign_banks & (conv.sign_banks - 1):
        yield (
            f"{name}: a real convolution of bits needs p_in to be lanes times a power of two, "
            f"not {conv.sign_banks}"
        )
    for taps, outputs in ((conv.row_taps, conv.rows), (conv.col_taps, conv.cols)):
        if not all(any(t.first <= o <= t.last for t in taps) for o in range(outputs)):
            yield f"{name}: padding leaves outputs that see nothing of the input"
    if conv.from_frame and plan.line_words < conv.line_words_needed:
        yield (
            f"{name}: the line buffer must hold three rows of tiles and the kernel, "
            f"line_words {conv.line_words_needed} or more, not {plan.line_words}"
        )
    if conv.chain.multiply is not None and factor_kind(conv, program) is None:
        shape = program.tensors[conv.chain.multiply].shape
        yield f"{name}: multiplied by {conv.chain.multiply} of {shape}, which varies in other ways"
    if pool is None:
        return
    if conv.cols * conv.tile_groups(conv.tiles_out - 1) < MIN_POOLED_WORDS and conv.rows > 1:
        yield f"{name}: max pooling of a single column of at most {conv.plan.lanes} channels"
    pooled = pool.output_size(conv.rows, conv.cols)
    for axis, extent in enumerate((conv.rows, conv.cols)):
        before_last = (pooled[axis] - 2) * pool.stride[axis] - pool.padding[axis]
        if pooled[axis] > 1 and before_last + pool.kernel[axis] >= extent:
            yield f"{name}: max pooling windows that end at the same position"
