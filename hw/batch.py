"""Frames that share weights: each stage runs for all frames of a batch before the next one begins.

Feature memory and sign memory are there once per frame, one copy behind the other, each with the
Plan's memory map. So frame ``f`` of a batch finds everything ``f * words`` words further on, and
the two strides are constants of the accelerator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from amaranth.hdl import Array, Value

from r2b.hw.halves import FRONT, given

if TYPE_CHECKING:
    from r2b.hw.geometry import ConvGeometry, ProgramGeometry


@dataclass(frozen=True)
class Batch:
    """Frames of a batch, and words from one frame's memory to the next one's.

    Parameters
    ----------
    frames : int
    fm, sm : int
        Words of the feature memory and of the sign memory that one frame takes.
    """

    frames: int = 1
    fm: int = 0
    sm: int = 0

    @property
    def several(self) -> bool:
        """Whether there is anything to count."""
        return self.frames > 1

    def offset(self, frame: Value, words: int):
        """``frame * words``, as a choice among constants."""
        return Array([number * words for number in range(self.frames)])[frame]


ALONE = Batch()
"""One frame at a time."""


def batch_of(geometry: ProgramGeometry) -> Batch:
    """The batch of an accelerator."""
    return Batch(geometry.plan.batch, *memory_words(geometry))


def memory_words(geometry: ProgramGeometry) -> tuple[int, int]:
    """Words of the feature memory and of the sign memory that a frame's memory map reaches; of a
    front or back those of its own values.
    """
    plan, program, side = geometry.plan, geometry.program, geometry.side
    features, signs = [1], [1]
    apart = (*given(program).tensors, *given(program).signs)
    for name, base in plan.tensors.items():
        if side and (name in apart) != (side == FRONT):
            continue
        channels, rows, cols = program.tensors[name].shape
        features.append(base + -(-channels // plan.lanes) * rows * cols)
    for name, base in plan.signs.items():
        if side and (name in apart) != (side == FRONT):
            continue
        channels, rows, cols = program.sign_shapes[name]
        signs.append(base + -(-channels // plan.p_in) * rows * cols)
    return max(features), max(signs)


def tile_frames(conv: ConvGeometry) -> int:
    """Frames of a batch in a tile: as many whole ones as it has room for and divide the batch; of
    the frame that is just coming in there is only one.
    """
    batch = conv.plan.batch
    most = 1 if conv.from_frame else max(1, conv.plan.tile_pixels // _groups(conv))
    return max(n for n in range(1, min(most, batch) + 1) if batch % n == 0)


def frame_fields(conv: ConvGeometry, batch: Batch) -> dict[str, int]:
    """Of a pass's descriptor: frames of a tile, the first frame of the last tile, words from one
    frame to the next in the source, places in the tile, and words from one tile's to the next
    one's frames.
    """
    frames, source = conv.tile_frames, _source_words(conv, batch)
    return {
        "tile_frames": frames,
        "end_frame": batch.frames - frames,
        "frame_src": source,
        "frame_index": _groups(conv) if frames > 1 else 0,
        "tile_src": frames * source,
        "tile_fm": frames * batch.fm,
        "tile_sm": frames * batch.sm,
    }


def _groups(conv: ConvGeometry) -> int:
    """Column groups of a frame's outputs."""
    return conv.rows * -(-conv.cols // conv.px)


def _source_words(conv: ConvGeometry, batch: Batch) -> int:
    """Words of a pass's source that one frame takes; the line buffer begins anew."""
    if conv.from_frame:
        return 0
    if conv.part.signs:
        return batch.sm * conv.sign_banks
    return batch.sm if conv.binary else batch.fm
