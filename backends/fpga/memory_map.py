"""Places fixed tensors and sign maps in their memories, in place where that is proved safe."""

from __future__ import annotations

from dataclasses import dataclass

from r2b.hw.geometry import ConvGeometry, Tile, ceil_div
from r2b.hw.halves import given
from r2b.hw.passes import passes_of, signs_of, tensors_of
from r2b.hw.plan import Plan
from r2b.ir.program import Multiply, Program, Skip, Stage


@dataclass(frozen=True)
class Lifetime:
    """A value from the stage that writes it to the last stage that reads it, both included."""

    name: str
    words: int
    first: int
    last: int


def place(values: list[Lifetime], shared: dict[str, str]) -> dict[str, int]:
    """First word of every value: first fit, largest lifetime overlap avoided.

    ``shared[a] = b`` puts a where b is; b must come first in ``values``. Values that live at the
    same time never overlap otherwise.
    """
    bases: dict[str, int] = {}
    placed: list[tuple[Lifetime, int]] = []
    for value in values:
        home = shared.get(value.name)
        base = bases[home] if home else _first_fit(value, placed)
        bases[value.name] = base
        placed.append((value, base))
    return bases


def _first_fit(value: Lifetime, placed: list[tuple[Lifetime, int]]) -> int:
    busy = sorted(
        (base, base + other.words)
        for other, base in placed
        if other.last >= value.first and value.last >= other.first
    )
    base = 0
    for start, stop in busy:
        if base + value.words <= start:
            break
        base = max(base, stop)
    return base


def skips_of(stage: Stage) -> list[str]:
    """Fixed tensors that a stage's epilogue adds."""
    return [step.source for step in stage.epilogue if isinstance(step, Skip)]


def tensor_readers(program: Program, stage: Stage) -> list[str]:
    """Fixed tensors a stage reads."""
    factors = [step.source for step in stage.epilogue if isinstance(step, Multiply)]
    return [*skips_of(stage), *tensors_of(program, stage.contraction), *factors]


def map_tensors(program: Program, plan: Plan) -> tuple[dict[str, int], tuple[str, ...]]:
    """Feature-memory bases, and the stages that must run pixel tile > output-channel tile.

    A skip add overwrites its source where that is read for the last time: each address is read
    before it is written, once; pooled values go elsewhere. A real convolution overwrites its source
    where :func:`writes_follow_reads` proves it. With a front the first stage's tensor is in a
    memory of its own, and nothing overwrites it.
    """
    apart = given(program).tensors if plan.front_out else ()
    last = {
        name: index
        for index, stage in enumerate(program.stages)
        for name in tensor_readers(program, stage)
    }
    values, shared = [], {}
    outer: list[str] = []
    for index, stage in enumerate(program.stages):
        if stage.tensor is None or stage.tensor in apart:
            continue
        channels, rows, cols = stage.shape
        words = ceil_div(channels, plan.lanes) * rows * cols
        values.append(Lifetime(stage.tensor, words, index, last.get(stage.tensor, index)))
        sources, skips = tensors_of(program, stage.contraction), skips_of(stage)
        names = tensor_readers(program, stage)
        for name in names:
            if last[name] != index or shared.get(stage.tensor) or stage.pool is not None:
                continue
            if names.count(name) > 1 or name not in (*sources, *skips) or name in apart:
                continue
            if name in skips:
                shared[stage.tensor] = name
            elif words <= _words(program, name, plan) and _provable(program, stage, plan):
                shared[stage.tensor] = name
                outer.append(stage.name)
    return dict.fromkeys(apart, 0) | place(values, shared), tuple(outer)


def _words(program: Program, name: str, plan: Plan) -> int:
    channels, rows, cols = program.tensors[name].shape
    return ceil_div(channels, plan.lanes) * rows * cols


def _provable(program: Program, stage: Stage, plan: Plan) -> bool:
    parts = passes_of(program, stage)
    if len(parts) > 1 or parts[0].pool is not None:
        return False
    outer = Plan(**{**vars(plan), "pixel_outer": (stage.name,)})
    return writes_follow_reads(ConvGeometry(stage, parts[0], outer))


def writes_follow_reads(conv: ConvGeometry) -> bool:
    """Whether no tile's results overwrite an address that a later tile still reads.

    A tile is drained while the next one is read, and with several output-channel tiles the next one
    reads the same pixels, unless sums of them are buffered. So every address a tile writes must lie
    below all addresses that anything after it reads; source and result begin at the same address.
    """
    tiles = list(conv.pixel_tiles())
    lowest: int | None = None
    for index in reversed(range(len(tiles))):
        if conv.tiles_out > 1 and not conv.buffered:
            lowest = _lower(lowest, _first_read(conv, tiles[index]))
        if lowest is not None and _last_write(conv, tiles[index]) >= lowest:
            return False
        lowest = _lower(lowest, _first_read(conv, tiles[index]))
    return True


def _lower(known: int | None, address: int) -> int:
    return address if known is None else min(known, address)


def _last_write(conv: ConvGeometry, tile: Tile) -> int:
    """Largest result address a tile writes."""
    last = (tile.row + tile.rows - 1) * conv.cols + tile.col + tile.cols - 1
    return (last + 1) * conv.groups - 1


def _first_read(conv: ConvGeometry, tile: Tile) -> int:
    """Smallest source address a tile reads."""
    stride, pad = conv.window.stride, conv.window.padding
    row = max(0, tile.row * stride[0] - pad[0])
    col = max(0, tile.col * stride[1] - pad[1])
    return row * conv.row_words + col * conv.words


def map_signs(program: Program, plan: Plan) -> dict[str, int]:
    """Sign-memory bases by lifetime; a stage's source and result never share a word.

    With a front the first stage's map is in a memory of its own.
    """
    apart = given(program).signs if plan.front_out else ()
    last = {
        name: index
        for index, stage in enumerate(program.stages)
        for name in signs_of(program, stage.contraction)
    }
    values = []
    for index, stage in enumerate(program.stages):
        for sink in stage.signs if not apart or index else ():
            channels, rows, cols = program.sign_shapes[sink.name]
            words = ceil_div(channels, plan.p_in) * rows * cols
            values.append(Lifetime(sink.name, words, index, last.get(sink.name, index)))
    return dict.fromkeys(apart, 0) | place(values, {})
