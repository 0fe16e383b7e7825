"""What of a Program the generator builds; everything it does not build is named at once."""

from __future__ import annotations

from collections.abc import Iterator

from r2b.ir.errors import PlanError
from r2b.ir.program import (
    Affine,
    BinaryConv,
    Program,
    RealConv,
    Saturate,
    Skip,
    Stage,
    Step,
    Window,
)

FRAME = "frame"


def check_supported(program: Program) -> None:
    """PlanError that lists every stage the hardware generator does not build."""
    found = [text for stage in program.stages for text in _unsupported(stage)]
    if found:
        raise PlanError(
            "the fpga target does not build:\n  " + "\n  ".join(found) + "\n--target numpy does"
        )


def _unsupported(stage: Stage) -> Iterator[str]:
    """What of a stage the generator lacks, each as one line."""
    conv, place = stage.contraction, f"{stage.name} at {stage.location}"
    if not isinstance(conv, BinaryConv | RealConv):
        yield f"{place}: contraction {type(conv).__name__} (supported: BinaryConv, RealConv)"
        return
    if conv.groups != 1:
        yield f"{place}: {conv.groups} groups (supported: 1)"
    top, left, bottom, right = conv.window.padding
    if max(top, bottom) >= _extent(conv.window, 0) or max(left, right) >= _extent(conv.window, 1):
        yield f"{place}: padding {conv.window.padding} leaves outputs without a valid tap"
    kinds = tuple(type(step) for step in stage.epilogue)
    if kinds not in ((Affine, Saturate), (Affine, Skip, Saturate)):
        names = ", ".join(kind.__name__ for kind in kinds) or "none"
        yield f"{place}: epilogue {names} (supported: Affine, Saturate or Affine, Skip, Saturate)"
    if len(stage.signs) > 1:
        yield f"{place}: {len(stage.signs)} sign maps of one tensor (supported: 1)"
    if stage.tensor is None and not stage.signs and stage.sums is None:
        yield f"{place}: nothing is stored"
    if isinstance(conv, RealConv):
        yield from _unsupported_real(stage, conv, kinds, place)
    elif stage.pool is not None:
        yield f"{place}: maximum over a window after a binary convolution"


def _unsupported_real(
    stage: Stage, conv: RealConv, kinds: tuple[type[Step], ...], place: str
) -> Iterator[str]:
    if Skip in kinds and conv.source != FRAME:
        yield f"{place}: skip add in a real convolution of a tensor"
    if conv.presum is not None:
        plain = conv.window.kernel == (1, 1) and conv.window.stride == (1, 1)
        if not plain or any(conv.presum.padding) or any(conv.window.padding):
            yield f"{place}: average pooling before other than an unpadded 1x1 convolution"
    if conv.source == FRAME and not all(0 <= zero <= 255 for zero in conv.zero_point.tolist()):
        yield f"{place}: zero points {conv.zero_point.tolist()} (supported: 0 to 255)"
    if conv.source == FRAME and conv.window.dilation[1] != 1:
        yield f"{place}: dilation {conv.window.dilation[1]} in the first convolution (supported: 1)"
    if stage.pool is not None:
        yield from _unsupported_pool(stage, place)


def _unsupported_pool(stage: Stage, place: str) -> Iterator[str]:
    pool = stage.pool
    assert pool is not None
    if pool.dilation != (1, 1) or any(
        not s <= k <= s + 1 for k, s in zip(pool.kernel, pool.stride, strict=True)
    ):
        found = f"max pooling {pool.kernel}/{pool.stride}"
        yield f"{place}: {found} (supported: stride <= kernel <= stride + 1)"
    if any(type(step) is Skip for step in stage.epilogue):
        yield f"{place}: skip add before max pooling"


def _extent(window: Window, axis: int) -> int:
    return window.dilation[axis] * (window.kernel[axis] - 1) + 1
