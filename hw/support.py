"""What of a Program the generator builds; everything it does not build is named at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from r2b.hw import chain
from r2b.hw.memo import remember
from r2b.hw.passes import FRAME, Pass, commutes, passes_of, runs_of, sources_of
from r2b.hw.stem import transfer_bytes
from r2b.ir.errors import PlanError
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    Identity,
    Multiply,
    Pool,
    Program,
    RealConv,
    Skip,
    Stage,
    Window,
)

BUILT = (BinaryConv, RealConv, Identity, Pool, Concat)
"""Contractions that have passes."""
MOST_STAGES = 255
"""A stage's number has eight bits, and the head has one, too."""


def check_supported(program: Program) -> None:
    """PlanError that lists everything the hardware generator does not build of a network."""
    _refuse([*_stages(program), *remember(program, "order", None, lambda: _order(program))])


def check_stages(program: Program) -> None:
    """The same for the stages alone, which need not make a network."""
    _refuse(_stages(program))


def _stages(program: Program) -> list[str]:
    return remember(program, "unsupported", None, lambda: _unsupported_stages(program))


def _unsupported_stages(program: Program) -> list[str]:
    return [text for stage in program.stages for text in _unsupported(program, stage)]


def _order(program: Program) -> list[str]:
    return list(_unsupported_order(program))


def _refuse(found: list[str]) -> None:
    if found:
        raise PlanError(
            "the fpga target does not build:\n  " + "\n  ".join(found) + "\n--target numpy does"
        )


def place_of(stage: Stage) -> str:
    """A stage in the user's words."""
    return f"{stage.name} at {stage.location}"


# --------------------------------------------------------------------------- between the stages


def _unsupported_order(program: Program) -> Iterator[str]:
    """What of the stages' order, and of what they give each other, the generator lacks."""
    if len(program.stages) > MOST_STAGES:
        yield f"{program.name}: {len(program.stages)} stages (supported: {MOST_STAGES})"
    readers = [s for s in program.stages if FRAME in sources_of(s.contraction)]
    if not readers:
        yield f"{program.name}: no convolution reads the frame"
    for stage in readers[1:]:
        yield f"{place_of(stage)}: the frame is read again (supported: by {readers[0].name} alone)"
    bits = {part.conv.weight_bits for s in program.stages for part in _real_passes(program, s)}
    if len(bits) > 1:
        yield f"{program.name}: weights of {sorted(bits)} bits (supported: one width)"
    yield from _unsupported_sums(program)


def _real_passes(program: Program, stage: Stage) -> list[Pass]:
    """Passes on the real engine, of a stage that has passes at all."""
    if not isinstance(stage.contraction, BUILT):
        return []
    return [part for part in passes_of(program, stage) if isinstance(part.conv, RealConv)]


def _unsupported_sums(program: Program) -> Iterator[str]:
    """Means of other channel sums than the last ones: there is one memory of them."""
    last: str | None = None
    written: set[str] = set()
    for stage in program.stages:
        if stage.gate is not None and stage.gate.mean.sums in written - {last}:
            found = stage.gate.mean.sums
            yield f"{place_of(stage)}: a gate on {found} (supported: {last}, the last)"
        if stage.sums is not None:
            last = stage.sums
            written.add(last)
    if program.head.mean.sums in written - {last}:
        head, found = program.head, program.head.mean.sums
        yield f"{head.name} at {head.location}: mean of {found} (supported: {last}, the last)"


# ------------------------------------------------------------------------------------- one stage


def _unsupported(program: Program, stage: Stage) -> Iterator[str]:
    """What of a stage the generator lacks, each as one line."""
    conv, place = stage.contraction, place_of(stage)
    yield from (f"{place}: {text}" for text in _unsupported_epilogue(program, stage))
    if len(stage.signs) > 1 and stage.gate is not None and stage.tensor is None:
        yield f"{place}: {len(stage.signs)} sign maps of gated values that are not stored"
    if stage.tensor is None and not stage.signs and stage.sums is None:
        yield f"{place}: nothing is stored"
    if not isinstance(conv, BUILT):
        names = ", ".join(kind.__name__ for kind in BUILT)
        yield f"{place}: contraction {type(conv).__name__} (supported: {names})"
        return
    yield from (f"{place}: {text}" for text in _unsupported_contraction(program, stage))
    pool = stage.pool
    if isinstance(conv, Pool) and conv.kind == "max":
        pool = conv.window
        if not commutes(stage):
            yield f"{place}: maximum over windows before other steps than Saturate"
    if pool is not None:
        yield from (f"{place}: {text}" for text in _unsupported_pool(pool))


def _unsupported_contraction(program: Program, stage: Stage) -> Iterator[str]:
    conv = stage.contraction
    yield from _unsupported_source(program, conv)
    if isinstance(conv, BinaryConv | RealConv):
        filled = isinstance(conv, BinaryConv) and conv.padding_value != 0
        yield from () if filled else _unsupported_padding(conv.window)
    if isinstance(conv, Pool) and conv.kind == "sum":
        yield from _unsupported_padding(conv.window)
    if isinstance(conv, Concat) and stage.gate is not None:
        yield "a gate on a concatenation"
    if isinstance(conv, RealConv):
        yield from _unsupported_real(conv)


def _unsupported_padding(window: Window) -> Iterator[str]:
    top, left, bottom, right = window.padding
    rows, cols = (_extent(window, axis) for axis in range(2))
    if max(top, bottom) >= rows or max(left, right) >= cols:
        yield f"padding {window.padding} leaves outputs without a valid tap"


def _unsupported_source(program: Program, conv: Contraction) -> Iterator[str]:
    """A source in a memory that the engine does not read."""
    for source in sources_of(conv):
        if isinstance(conv, BinaryConv):
            if source not in program.sign_shapes:
                yield f"binary convolution of {source} (supported: of a sign map)"
        elif source == FRAME and not isinstance(conv, RealConv | Identity):
            yield f"contraction {type(conv).__name__} of the frame (supported: RealConv, Identity)"


def _unsupported_epilogue(program: Program, stage: Stage) -> Iterator[str]:
    found = (chain.problem(run, program.act_bits) for run in runs_of(stage))
    yield from list(filter(None, found))[:1]
    for step in stage.epilogue:
        if isinstance(step, Skip) and step.source not in program.tensors:
            yield f"skip add of {step.source} (supported: a fixed tensor)"
        if isinstance(step, Multiply) and step.source not in program.tensors:
            yield f"multiplied by {step.source} (supported: a fixed tensor)"


def _unsupported_real(conv: RealConv) -> Iterator[str]:
    if conv.presum is not None:
        plain = conv.window.kernel == (1, 1) and conv.window.stride == (1, 1)
        if not plain or any(conv.presum.padding) or any(conv.window.padding):
            yield "average pooling before other than an unpadded 1x1 convolution"
    if conv.source == FRAME and not all(0 <= zero <= 255 for zero in conv.zero_point.tolist()):
        yield f"zero points {conv.zero_point.tolist()} (supported: 0 to 255)"
    channels = len(conv.zero_point)
    part = conv.zero_point[: transfer_bytes(channels)]
    if conv.source == FRAME and (conv.zero_point != np.resize(part, channels)).any():
        yield f"zero points that differ between {channels} channels (supported: one)"
    if conv.source == FRAME and conv.window.dilation[1] != 1:
        yield f"dilation {conv.window.dilation[1]} in the first convolution (supported: 1)"


def _unsupported_pool(pool: Window) -> Iterator[str]:
    if pool.dilation != (1, 1) or any(
        not s <= k <= s + 1 for k, s in zip(pool.kernel, pool.stride, strict=True)
    ):
        found = f"max pooling {pool.kernel}/{pool.stride}"
        yield f"{found} (supported: stride <= kernel <= stride + 1)"


def _extent(window: Window, axis: int) -> int:
    return window.dilation[axis] * (window.kernel[axis] - 1) + 1
