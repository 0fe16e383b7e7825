"""The front and the back of an accelerator: which values the one gives to the other.

With ``front_out`` in the Plan the first stage runs on hardware of its own, the *front*, and stores
its results in memories of its own, while all other stages of the frame before run on the *back*.
Nothing else is shared: the front is done, the back reads, and when its last reading stage has
ended, the front may write again.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r2b.hw.memo import remember
from r2b.hw.passes import FRAME, passes_of, runs_of, sources_of
from r2b.ir.program import Program, RealConv

if TYPE_CHECKING:
    from r2b.hw.geometry import ConvGeometry, ProgramGeometry

FRONT, BACK = "front", "back"


def half_of(geometry: ProgramGeometry, side: str) -> ProgramGeometry:
    """The first stage alone with the front's Plan, or all others with the accelerator's."""
    other = copy(geometry)
    other.side = side
    other.numbers = [n for n in geometry.numbers if (n == 0) == (side == FRONT)]
    first = geometry.numbers.index(other.numbers[0])
    other.convs = geometry.convs[first : first + len(other.numbers)]
    other.plan = geometry.plan.front if side == FRONT else geometry.plan
    return other


@dataclass(frozen=True)
class Given:
    """Names of what the first stage gives to the others.

    Parameters
    ----------
    tensors, signs : tuple of str
    sums : str or None
    """

    tensors: tuple[str, ...]
    signs: tuple[str, ...]
    sums: str | None


def given(program: Program) -> Given:
    """What the front's stage writes."""
    first = program.stages[0]
    tensors = () if first.tensor is None else (first.tensor,)
    return Given(tensors, tuple(sink.name for sink in first.signs), first.sums)


@dataclass(frozen=True)
class Reads:
    """What a pass of the back reads of the front's results.

    Parameters
    ----------
    feature, skip, multiply : bool
        A tensor, over the feature memory's read port of that name: of an array or of the epilogue's
        summand; of the summand where some stage of the MAC array has one; of the factor.
    signs : bool
        A sign map, by either array.
    sums : bool
        Channel sums, by the gate.
    """

    feature: bool
    skip: bool
    multiply: bool
    signs: bool
    sums: bool

    def __bool__(self) -> bool:
        return any((self.feature, self.skip, self.multiply, self.signs, self.sums))


def reads_of(conv: ConvGeometry, back: ProgramGeometry) -> Reads:
    """What a pass reads of the first stage's results."""
    found, source, gate = given(back.program), conv.conv.source, conv.stage.gate
    bits, skip = conv.binary or conv.part.signs, conv.chain.skip in found.tensors
    apart = any(other.chain.skip and not other.binary for other in back.convs)
    return Reads(
        feature=(not bits and source in found.tensors) or (skip and not apart),
        skip=skip and apart,
        multiply=conv.chain.multiply in found.tensors,
        signs=bits and source in found.signs,
        sums=gate is not None and gate.mean.sums == found.sums,
    )


@dataclass(frozen=True)
class Ports:
    """Reads of the front's memories that the back needs, each one per cycle.

    Parameters
    ----------
    feature, skip, multiply : bool
        Of the feature memory, see :class:`Reads`.
    signs : int
        Copies of the sign memory, one for each pixel of a group.
    sums, head : bool
        Of the channel sums: by gates, by the head.
    """

    feature: bool
    skip: bool
    multiply: bool
    signs: int
    sums: bool
    head: bool

    @property
    def features(self) -> list[str]:
        """Read ports of the feature memory."""
        return [name for name in ("feature", "skip", "multiply") if getattr(self, name)]


def ports_of(back: ProgramGeometry) -> Ports:
    """What the back reads of the front's memories."""
    return remember(back, "ports", None, lambda: _ports_of(back))


def _ports_of(back: ProgramGeometry) -> Ports:
    reads = [reads_of(conv, back) for conv in back.convs]
    names = ("feature", "skip", "multiply", "sums")
    used = {name: any(getattr(read, name) for read in reads) for name in names}
    copies = [conv.px for conv, read in zip(back.convs, reads, strict=True) if read.signs]
    return Ports(**used, signs=max(copies, default=0), head=_head_reads(back.program))


def _head_reads(program: Program) -> bool:
    return program.head.mean.sums == given(program).sums


def last_reader(back: ProgramGeometry) -> int:
    """Number of the last stage that reads the front's results, the head's behind all others."""
    if _head_reads(back.program):
        return len(back.program.stages)
    pairs = zip(back.numbers, back.convs, strict=True)
    return max(number for number, conv in pairs if reads_of(conv, back))


def unsplittable(program: Program) -> Iterator[str]:
    """Why a front cannot run a network's first stage, and only that one reads the frame."""
    way = "choose front_out 0"
    first = program.stages[0]
    if not isinstance(first.contraction, RealConv) or first.contraction.source != FRAME:
        yield f"front_out: {first.name}, the first stage, does not convolve the frame; {way}"
        return
    if len(program.stages) == 1:
        yield f"front_out: there is no stage behind {first.name}; {way}"
        return
    others = (s for s in program.stages[1:] if FRAME in sources_of(s.contraction))
    yield from (f"front_out: {stage.name} reads the frame, too; {way}" for stage in others)
    if sum(len(passes_of(program, run)) for run in runs_of(first)) > 1:
        maps = ", ".join(sink.name for sink in first.signs)
        yield f"front_out: {first.name} runs several times, for {maps} (supported: once); {way}"
    steps = [type(step).__name__ for step in first.epilogue]
    odd = sorted({"Skip", "Multiply"} & set(steps)) + ["a gate"] * (first.gate is not None)
    if odd:
        yield f"front_out: {first.name} has {' and '.join(odd)} (supported: constants); {way}"
    found = given(program)
    if not _is_read(program, {*found.tensors, *found.signs}) and not _sums_read(program):
        yield f"front_out: no stage reads what {first.name} gives; {way}"


def _is_read(program: Program, names: set[str]) -> bool:
    read = (name for s in program.stages[1:] for name in sources_of(s.contraction))
    added = (getattr(step, "source", None) for s in program.stages[1:] for step in s.epilogue)
    return bool(names & {*read, *added})


def _sums_read(program: Program) -> bool:
    """Whether a gate or the head reads the channel sums."""
    gates = (stage.gate for stage in program.stages if stage.gate is not None)
    means = [*(gate.mean for gate in gates), program.head.mean]
    return any(mean.sums == program.stages[0].sums for mean in means)


__all__ = ["BACK", "FRONT", "Given", "Ports", "Reads", "given", "half_of", "last_reader",
           "ports_of", "reads_of", "unsplittable"]  # fmt: skip
