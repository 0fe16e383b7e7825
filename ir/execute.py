"""Runs a Program in NumPy, exactly: what it gives *is* the right answer."""

from __future__ import annotations

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


def execute(program: Program, frames: Frames) -> Trace:
    """Run all stages on frames, uint8 N x C x H x W, and keep every value between stages."""
    _check_frames(program, frames)
    trace = Trace(frames)
    for stage in program.stages:
        STAGES[type(stage.contraction)](trace, stage)
    kernels.head_stage(trace, program.head)
    return trace


def logits(program: Program, frames: Frames, batch: int = 64) -> npt.NDArray[np.int32]:
    """Run all stages on any number of frames, ``batch`` at a time; int32 N x classes."""
    _check_frames(program, frames)
    starts = range(0, len(frames), batch)
    parts = [execute(program, frames[start : start + batch]).logits for start in starts]
    return np.concatenate([np.zeros((0, program.num_classes), np.int32), *parts])


def _check_frames(program: Program, frames: Frames) -> None:
    if frames.dtype != np.uint8:
        raise TypeError(f"frames must be uint8, not {frames.dtype}")
    if frames.ndim != 4 or frames.shape[1:] != tuple(program.input_shape):
        wanted = " x ".join(map(str, program.input_shape))
        found = " x ".join(map(str, frames.shape)) or "a scalar"
        raise ValueError(f"frames must be N x {wanted}, not {found}")
