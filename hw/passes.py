"""A stage as runs of an engine: every contraction is one convolution, or several.

======================  ====================================================================
Identity, sum over      a real convolution whose every channel has a weight of 1 for itself; a
windows                 tile of output channels reads those input channels alone
maximum over windows    Identity, and the maximum behind the epilogue, with which it commutes
Concat                  one pass per source, each making its own channels of the result
groups, real            the same with weights of 0 between the groups
groups, binary          on the real engine, which reads bits as -1 and 1
several sign maps       the stage with the first one, then Identity for each of the others
======================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r2b.hw.memo import remember
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    Identity,
    Pool,
    Program,
    RealConv,
    Saturate,
    Stage,
    Window,
)

FRAME = "frame"
POINT = Window((1, 1))
MANY = 1024


@dataclass(frozen=True)
class Pass:
    """One run of an engine.

    Parameters
    ----------
    conv : BinaryConv or RealConv
        Of one source; a real one may have as many groups as channels.
    source_shape : tuple of int
        C, H, W.
    signs : bool
        A real convolution of a sign map.
    fill : int
        What taps outside the image meet: -1, 1, or 0, which means they are left out.
    pool : Window or None
        Maximum behind the epilogue.
    first_channel : int
        Output channels before this pass's.
    last : bool
        The stage's last pass.
    """

    conv: BinaryConv | RealConv
    source_shape: tuple[int, int, int]
    signs: bool = False
    fill: int = 0
    pool: Window | None = None
    first_channel: int = 0
    last: bool = True


def signs_of(program: Program, contraction: Contraction) -> tuple[str, ...]:
    """Sign maps a contraction reads: a tensor of the same name goes first, but for a BinaryConv."""
    binary = isinstance(contraction, BinaryConv)
    names = sources_of(contraction)
    return tuple(
        name
        for name in names
        if name in program.sign_shapes and (binary or name not in program.tensors)
    )


def tensors_of(program: Program, contraction: Contraction) -> tuple[str, ...]:
    """Fixed tensors a contraction reads."""
    signs = signs_of(program, contraction)
    return tuple(n for n in sources_of(contraction) if n in program.tensors and n not in signs)


def shape_of(program: Program, contraction: Contraction, name: str) -> tuple[int, int, int]:
    """C, H, W of a contraction's source."""
    if name == FRAME:
        return program.input_shape
    if name in signs_of(program, contraction):
        return program.sign_shapes[name]
    return program.tensors[name].shape


def sources_of(contraction: Contraction) -> tuple[str, ...]:
    """Names of the values a contraction reads."""
    return contraction.sources if isinstance(contraction, Concat) else (contraction.source,)


def commutes(stage: Stage) -> bool:
    """Whether a maximum over windows may as well be taken behind the stage's epilogue."""
    return stage.pool is None and all(isinstance(step, Saturate) for step in stage.epilogue)


def runs_of(stage: Stage) -> list[Stage]:
    """The stage, and one more for every sign map but its first: there is one write at a time.

    It reads the stored tensor again; where none is stored, the stage runs again.
    """
    return remember(stage, "runs", None, lambda: _runs_of(stage))


def _runs_of(stage: Stage) -> list[Stage]:
    first = replace(stage, signs=stage.signs[:1])
    again = replace(stage, tensor=None, sums=None)
    if stage.tensor is not None:
        again = replace(
            again, contraction=Identity(stage.tensor), epilogue=(), pool=None, gate=None
        )
    return [first, *(replace(again, signs=(sink,)) for sink in stage.signs[1:])]


def passes_of(program: Program, stage: Stage) -> list[Pass]:
    """The passes of a stage that :mod:`r2b.hw.support` lets through."""
    # the stage is kept with its passes, so that no other one gets its id
    return remember(
        program, "passes", id(stage), lambda: (stage, _passes_of(program, stage)), MANY
    )[1]


def _passes_of(program: Program, stage: Stage) -> list[Pass]:
    found: list[Pass] = []
    channel = 0
    for source in sources_of(stage.contraction):
        shape = shape_of(program, stage.contraction, source)
        part = _pass(program, stage, source, shape)
        found.append(replace(part, first_channel=channel, last=False))
        channel += shape[0]
    found[-1] = replace(found[-1], last=True)
    return found


def _pass(program: Program, stage: Stage, source: str, shape: tuple[int, int, int]) -> Pass:
    part = stage.contraction
    signs = source in signs_of(program, part)
    if isinstance(part, BinaryConv):
        fill = part.padding_value if any(part.window.padding) else 0
        if part.groups == 1:
            return Pass(part, shape, fill=fill, pool=stage.pool)
        weight = 2 * part.weight.astype(np.int64) - 1
        conv = RealConv(source, weight, part.window, _zeros(shape), groups=part.groups)
        return Pass(_expanded(conv, shape[0]), shape, True, fill, stage.pool)
    if isinstance(part, RealConv):
        return Pass(_expanded(part, shape[0]), shape, signs, pool=stage.pool)
    pool = stage.pool
    conv = RealConv(source, np.ones((shape[0], 1, 1, 1), np.int64), POINT, _zeros(shape),
                    groups=shape[0])  # fmt: skip
    if isinstance(part, Pool) and part.kind == "max":
        pool = part.window
    elif isinstance(part, Pool):
        conv = replace(conv, presum=part.window)
    return Pass(_expanded(conv, shape[0]), shape, signs, pool=pool)


def _zeros(shape: tuple[int, int, int]) -> np.ndarray:
    return np.zeros(shape[0], np.int64)


def _expanded(conv: RealConv, channels: int) -> RealConv:
    """Without groups, unless each output channel has one input channel and no frame is read."""
    if conv.groups == 1 or (conv.groups == channels == len(conv.weight) and conv.source != FRAME):
        return conv
    weight = np.zeros((len(conv.weight), channels, *conv.weight.shape[2:]), np.int64)
    size, outputs = channels // conv.groups, len(conv.weight) // conv.groups
    for group in range(conv.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        weight[rows, group * size : (group + 1) * size] = conv.weight[rows]
    return replace(conv, weight=weight, groups=1)
