"""What binds the rate of frames: what comes one after the other, without a gap, once per frame.

Without a front these are all stages, and what they wait for. With one it is one of two::

    the back alone                                        interval = back + 1
    the front, and the back up to the last reader         interval = front + reading + 2

and what is not in it could take longer without anybody waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from r2b.hw.flow import FrameCycles
from r2b.hw.halves import BACK, FRONT

WORK, INPUT, WEIGHTS = "work", "input", "weights"
HAND_OVERS = 2
"""Cycles between the halves, to the back and to the front again."""


class Bound(Protocol):
    """What is asked of a :class:`r2b.backends.cost.hardware.StageCost`."""

    @property
    def engine(self) -> str:
        """Which array."""
        ...

    @property
    def cycles(self) -> int:
        """In which the core does not wait for a stream."""
        ...

    @property
    def binds(self) -> str:
        """The largest bound."""
        ...


@dataclass(frozen=True)
class Critical:
    """What a frame's cycles go to.

    Parameters
    ----------
    half : str
        ``work``; with a front ``back``, or ``front`` where the back waits for it.
    stages : tuple of Bound
    wait_input, wait_weights : int
    """

    half: str
    stages: tuple[Bound, ...]
    wait_input: int
    wait_weights: int

    @property
    def active(self) -> int:
        """Cycles of the stages."""
        return sum(stage.cycles for stage in self.stages)

    @property
    def largest(self) -> str:
        """``half``, ``input`` or ``weights``, whichever takes most cycles."""
        causes = {self.half: self.active, INPUT: self.wait_input, WEIGHTS: self.wait_weights}
        return max(causes, key=lambda name: causes[name])

    @property
    def binds(self) -> str:
        """``input stream`` or ``weight stream`` where it takes most cycles. Else what most cycles
        of the stages are bound by, and on which engine, for example ``binary compute``, ``real
        weights``, ``front compute``.
        """
        if self.largest != self.half:
            return "input stream" if self.largest == INPUT else "weight stream"
        bound: Counter[str] = Counter()
        for stage in self.stages:
            bound[f"{stage.engine} {stage.binds}"] += stage.cycles
        return max(sorted(bound), key=lambda name: bound[name])


def critical(frame: FrameCycles, period: int, stages: Sequence[Bound]) -> Critical:
    """What binds, from a frame among others and the cycles between their ends."""
    if frame.front is None:
        return Critical(WORK, tuple(stages), frame.wait_input, frame.wait_weights)
    if period == frame.cycles + 1:
        return Critical(BACK, tuple(stages[1:]), 0, frame.wait_weights)
    readers = tuple(stages[1 : frame.reader + 1])
    weights = frame.reading - sum(stage.cycles for stage in readers)
    begins = period - HAND_OVERS - frame.reading - frame.front.active  # its first pixels, too
    return Critical(FRONT, (stages[0], *readers), begins, weights)
