"""Runs a Program in NumPy, exactly: what it gives *is* the right answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir import kernels
from r2b.ir.kernels import Trace
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    Flatten,
    Identity,
    Pad,
    Pool,
    Program,
    RealConv,
)

Frames = npt.NDArray[np.uint8]

STAGES: dict[type[Contraction], Callable[[Trace, Any], None]] = {
    BinaryConv: kernels.binary_conv_stage,
    RealConv: kernels.real_conv_stage,
    Pool: kernels.pool_stage,
    Identity: kernels.identity_stage,
    Pad: kernels.pad_stage,
    Concat: kernels.concat_stage,
    Flatten: kernels.flatten_stage,
}
"""The function that runs a stage, by its contraction."""


MAX_FRAMES = 64
TRACE_VALUES = 1 << 21
"""Stored values that are fast to handle: the memory of one run serves the next."""


def frames_at_once(program: Program) -> int:
    """Frames to run together: many small ones, large ones one by one."""
    values = sum(math.prod(tensor.shape) for tensor in program.tensors.values())
    return max(1, min(MAX_FRAMES, TRACE_VALUES // max(1, values)))


def execute(program: Program, frames: Frames) -> Trace:
    """Run all stages on frames, uint8 N x C x H x W, and keep every value between stages."""
    _check_frames(program, frames)
    trace = Trace(frames)
    for stage in program.stages:
        STAGES[type(stage.contraction)](trace, stage)
    kernels.head_stage(trace, program.head)
    return trace


def logits(program: Program, frames: Frames, batch: int | None = None) -> npt.NDArray[np.int32]:
    """Run all stages on any number of frames; int32 N x classes.

    ``batch`` frames are taken at a time, by default :func:`frames_at_once`.
    """
    _check_frames(program, frames)
    step = batch or frames_at_once(program)
    starts = range(0, len(frames), step)
    parts = [execute(program, frames[start : start + step]).logits for start in starts]
    return np.concatenate([np.zeros((0, program.num_classes), np.int32), *parts])


def _check_frames(program: Program, frames: Frames) -> None:
    if frames.dtype != np.uint8:
        raise TypeError(f"frames must be uint8, not {frames.dtype}")
    if frames.ndim != 4 or frames.shape[1:] != tuple(program.input_shape):
        wanted = " x ".join(map(str, program.input_shape))
        found = " x ".join(map(str, frames.shape)) or "a scalar"
        raise ValueError(f"frames must be N x {wanted}, not {found}")
