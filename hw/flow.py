"""Frames back to back without stalls: when each one begins and ends, and what it waits for.

What is said here of a frame holds for a batch where the Plan has one; then its frames' rows come
while the stage that reads them runs.

:mod:`r2b.hw.timing` counts active cycles, in which the core waits for no stream. Here the streams
deliver one pixel and one weight word per cycle from cycle 0 on, the result is always taken, and the
waiting that remains is exact too: a frame's rows arrive one after the other, and streamed weights
arrive segment after segment.

With a front two such recurrences depend on each other: the front begins a frame when its pixels
arrive, its memories are free and the frame before is out of it; the back begins it when the front
is done and the frame before is out of the back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from r2b.hw import timing, weights
from r2b.hw.engine import RowsMissing
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.halves import last_reader
from r2b.hw.params import core_params
from r2b.hw.stem import FrameParams
from r2b.hw.timing import StageCycles

ENGINES = (weights.REAL, weights.BINARY)
TABLES = weights.MEANS
ROOM = {weights.REAL: 2, weights.BINARY: 2, weights.VECTOR: 2, TABLES: 1}
"""Segments that each target of the weight stream holds; a job's tables are one."""
NEEDS = (timing.NEED_SEGMENT, timing.NEED_TABLES, timing.NEED_WORDS)
CLOSES = {
    timing.CLOSE_SEGMENT: None, timing.CLOSE_WORDS: weights.VECTOR, timing.CLOSE_TABLES: TABLES,
}  # fmt: skip
"""Event -> target; None for the running engine."""


@dataclass(frozen=True)
class FrameCycles:
    """One frame, or batch, without stalls, in cycles since reset.

    Parameters
    ----------
    first, last : int
        First and last cycle in which it is worked on.
    active, wait_input, wait_weights : int
        They add up to ``last - first + 1``.
    front : FrameCycles or None
        The same of the front, if there is one; all else is the back's then.
    reader, reading : int
        With a front: number of the last stage that reads its results, and cycles until it ends.
    """

    first: int
    last: int
    active: int
    wait_input: int
    wait_weights: int
    front: FrameCycles | None = None
    reader: int = 0
    reading: int = 0

    @property
    def work(self) -> int:
        """Cycles of all stages, without waiting."""
        return self.active + (0 if self.front is None else self.front.active)

    @property
    def latency(self) -> int:
        """Cycles from its first one, on either half, to its result."""
        return self.last - (self if self.front is None else self.front).first + 1

    @property
    def cycles(self) -> int:
        """Cycles it takes."""
        return self.last - self.first + 1


def predict_frames(geometry: ProgramGeometry, count: int) -> list[FrameCycles]:
    """The first ``count`` frames, or batches, after reset, offered without a gap."""
    stages = timing.predict(geometry)
    rows = _Rows(core_params(geometry).frame)
    segments = _Segments(geometry) if geometry.plan.weights == "stream" else None
    if geometry.plan.front_out:
        return _overlapped(stages, last_reader(geometry.back), rows, segments, count)
    frames: list[FrameCycles] = []
    idle = 0  # first cycle in which the sequencer may see the frame
    for _ in range(count):
        frame, _ = _run_frame(stages, max(idle, rows.begun) + 1, rows, segments)
        frames.append(frame)
        idle = frame.last + 1
    return frames


def _overlapped(
    stages: list[StageCycles], reader: int, rows: _Rows, segments: _Segments | None, count: int
) -> list[FrameCycles]:
    """Front and back; stage ``reader`` is the last one that reads the front's results."""
    frames: list[FrameCycles] = []
    front_idle = back_idle = free = 0
    for _ in range(count):
        front, _ = _run_frame(stages[:1], max(front_idle, rows.begun, free) + 1, rows, None)
        front_idle = front.last + 1
        first = max(back_idle, front_idle) + 1
        back, ends = _run_frame(stages[1:], first, rows, segments)
        back_idle, free = back.last + 1, ends[reader - 1] + 1
        frames.append(replace(back, front=front, reader=reader, reading=free - first))
    return frames


def _run_frame(
    stages: list[StageCycles], first: int, rows: _Rows, segments: _Segments | None
) -> tuple[FrameCycles, list[int]]:
    """A frame's stages from a cycle on, and the last cycle of each of them."""
    now = first  # cycle in which the stage begins
    waits, ends = [0, 0], []
    for stage in stages:
        for event in stage.events:
            cycle = now + event.cycle
            if event.kind == timing.NEED_ROWS:
                late = max(0, rows.complete(event.rows) - cycle)
                waits[0] += late
                now += late
            elif event.kind in NEEDS and segments is not None:
                late = max(0, segments.available() - cycle)
                waits[1] += late
                now += late
            elif event.kind in CLOSES and segments is not None:
                segments.close(CLOSES[event.kind], cycle)
            elif event.kind == timing.RETURN_ROWS:
                rows.free(event.rows, cycle)
            elif event.kind == timing.RETURN_FRAME:
                rows.next_frame(cycle)
        now += stage.active
        ends.append(now - 1)
    active = sum(stage.active for stage in stages)
    return FrameCycles(first, now - 1, active, waits[0], waits[1]), ends


class _Rows:
    """The line buffer's filling: row r begins when it has room and the row before is in."""

    def __init__(self, params: FrameParams) -> None:
        self.params = params
        self.row_cycles = params.cols * params.beats
        self._start(0)

    def _start(self, cycle: int) -> None:
        self.ends = [cycle]  # cycle from which the first 0, 1, 2 ... rows are complete
        self.begun = cycle + self.params.beats
        self.room: list[int] = []  # of every row, the first cycle with room for it

    def complete(self, rows: int) -> int:
        """First cycle in which an engine sees that ``rows`` rows are complete."""
        while len(self.ends) <= rows:
            row = len(self.ends) - 1
            begin = self.ends[-1]
            if row >= self.params.capacity:
                begin = max(begin, self.room[row])
            self.ends.append(begin + self.row_cycles)
        return self.ends[rows] + RowsMissing.LATENCY

    def free(self, below: int, cycle: int) -> None:
        """Rows below ``below`` are given back in ``cycle``."""
        self.room += [cycle + 2] * (below + self.params.capacity - len(self.room))

    def next_frame(self, cycle: int) -> None:
        """The frame is given back: the next one's first pixel is taken in the cycle after."""
        self._start(cycle + 1)


@dataclass
class _Segments:
    """The weight stream's filling: a segment begins when its target has room for it.

    ``opened`` counts segments asked for; the order of filling is the order of use.
    """

    geometry: ProgramGeometry
    ends: list[int] = field(default_factory=list)
    opened: int = 0
    engine: int = weights.REAL

    def __post_init__(self) -> None:
        """Target, words and standstill before each segment of a batch; a job's tables are one."""
        self.order: list[tuple[int, int, int]] = []
        for part in weights.segments_of(self.geometry):
            if part.target in weights.TABLES and self.order and self.order[-1][0] == TABLES:
                words = self.order[-1][1] + weights.LEAD + part.words
                self.order[-1] = (TABLES, words, weights.LEAD)
            else:
                target = TABLES if part.target in weights.TABLES else part.target
                self.order += [(target, part.words, weights.LEAD)]
                self.order += [(target, part.words, 0)] * (part.count - 1)
        self.filled = dict.fromkeys(ROOM, 0)
        self.closed: dict[int, list[int]] = {target: [] for target in ROOM}

    def available(self) -> int:
        """First cycle in which the next segment is seen to be complete."""
        while len(self.ends) <= self.opened:
            target, words, lead = self.order[len(self.ends) % len(self.order)]
            begin = self.ends[-1] + lead if self.ends else 0  # a reset takes as long
            index = self.filled[target]
            if index >= ROOM[target]:
                begin = max(begin, self.closed[target][index - ROOM[target]] + 1)
            self.filled[target] += 1
            self.ends.append(begin + words)
        target, *_ = self.order[self.opened % len(self.order)]
        self.engine = target if target in ENGINES else self.engine
        self.opened += 1
        return self.ends[self.opened - 1] + (0 if target == TABLES else weights.SEEN)

    def close(self, target: int | None, cycle: int) -> None:
        """A target's segment, by default that of the running engine, is used up in ``cycle``."""
        self.closed[self.engine if target is None else target].append(cycle)
