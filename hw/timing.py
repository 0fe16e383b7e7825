"""The cycle formula: what each stage of a frame takes, from a Plan and declared latencies.

Nothing here is fitted. Each constant is the latency a component declares, and the recurrence is the
one the hardware runs; simulated cycles must equal it.

For step i of a stage, in cycles from the stage's first (``pixels(i)``: cycles in which the step
issues, one per pixel, or per group of ``p_px`` columns with a valid one; ``pixels(t)``: pixels of
a tile)::

    offered(i) = taken(i-1) + LOOKUP * look-ups + ADDRESS (+TILE at a new tile),
                 or taken(i-1) + 1 within a tap
    taken(i)   = max(offered(i), handed(i-1) + turnaround + 1)
    handed(i)  = max(taken(i) + load_words + WORD_LATENCY,     its weights are there
                     handed(i-1) + pixels(i-1),                the one before has been issued
                     freed(t-2))                               its bank is free, at tile t's first
    full(t)    = handed(last) + pixels(last) + settle
    drain(t)   = max(full(t), drained(t-1) + 1 + SETUP, gate)
    drained(t) = drain(t) + pixels(t) * groups(t);  freed(t) = drained(t) + 2
    stage      = drained(last) + flush + 2

A stage's tiles are those of all frames of a batch, frame by frame, and a tile's pixels those of all
frames in it (``tile_frames`` of :class:`r2b.hw.geometry.ConvGeometry`). Where a stage reads the
frame, the next one's first step is offered as if the one before it had been taken when the last
pixel was issued. A gate, and the head, is ready after a run for each frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from r2b.hw.drain import Drain
from r2b.hw.engine import EngineParams
from r2b.hw.geometry import ConvGeometry, ProgramGeometry, Tile
from r2b.hw.issue import Issuer
from r2b.hw.loops import Run
from r2b.hw.memo import remember
from r2b.hw.params import CoreParams, core_params
from r2b.hw.steps import StepGenerator
from r2b.hw.vector import MEAN_FLUSH, VectorParams
from r2b.hw.vector_tables import JobSize
from r2b.hw.weights import VECTOR_SEGMENT
from r2b.ir.program import Gate, Head

NEED_ROWS, NEED_SEGMENT, RETURN_ROWS, RETURN_FRAME, CLOSE_SEGMENT = range(5)
NEED_TABLES, NEED_WORDS, CLOSE_WORDS, CLOSE_TABLES = range(5, 9)

START = 1
"""Cycle of a stage in which its engine and gate are started: its descriptor was read in cycle 0."""


@dataclass(frozen=True, order=True)
class Event:
    """A stage's dealing with a stream, in the stage's active cycle ``cycle``.

    ``kind``: 0 needs ``rows`` complete input rows; 1 needs the next weight segment; 2 gives input
    rows below ``rows`` back; 3 has read the whole frame; 4 has read a weight segment. Of a streamed
    vector unit: 5 needs the tables of its next job; 6 needs a segment of weights; 7 has read it; 8
    has done the job, and takes the next one's tables.
    """

    cycle: int
    kind: int
    rows: int = 0


@dataclass(frozen=True)
class StageCycles:
    """Predicted cycles of one stage, for all frames of a batch.

    Parameters
    ----------
    name : str
    active : int
        Cycles in which the core does not wait for a stream.
    issued : int
        Cycles in which the array takes a pixel.
    gate : int
        Cycles from the stage's start until its gate is ready; 0 without one.
    drained : int
        Words the epilogue takes.
    events : list of Event
        What the stage asks of the streams and gives back to them, in order of ``cycle``.
    """

    name: str
    active: int
    issued: int
    gate: int
    drained: int
    events: list[Event] = field(default_factory=list, repr=False)


def predict(geometry: ProgramGeometry) -> list[StageCycles]:
    """Active cycles of every stage of a batch and of the head, which comes last."""
    return remember(geometry, "cycles", None, lambda: _predict(geometry))


def _predict(geometry: ProgramGeometry) -> list[StageCycles]:
    params = core_params(geometry)
    front = params.front
    stages: list[StageCycles] = []
    jobs = iter(params.vector.tables.sizes)
    for number, conv in zip(geometry.numbers, geometry.convs, strict=True):
        found = conv_cycles(conv, front if front is not None and number == 0 else params)
        if conv.stage.gate is not None and params.vector.bus:
            events = _vector_events(conv.stage.gate, next(jobs), params.vector, START)
            found = replace(found, events=sorted(found.events + events))
        stages.append(found if number == len(stages) else _then(stages.pop(), found))
    head = head_cycles(geometry.program.head, params.vector)
    if params.vector.bus:
        events = _vector_events(geometry.program.head, next(jobs), params.vector, 0)
        head = replace(head, events=events)
    return [*stages, head]


def _then(first: StageCycles, second: StageCycles) -> StageCycles:
    """Two passes of a stage, one after the other."""
    later = [replace(event, cycle=event.cycle + first.active) for event in second.events]
    return replace(
        first, active=first.active + second.active, issued=first.issued + second.issued,
        drained=first.drained + second.drained, events=first.events + later,
    )  # fmt: skip


def conv_cycles(conv: ConvGeometry, params: CoreParams) -> StageCycles:
    """Active cycles of a pass of a stage."""
    engine, plan = params.engines[conv.binary], conv.plan
    gate = gate_ready(conv.stage.gate, params.vector) if conv.stage.gate else 0
    read = weights_read(conv.stage.gate, params.vector) if conv.stage.gate else 0
    key = (
        conv.stage.name, conv.lanes_in, conv.lanes_out, conv.px, plan.lanes, plan.tile_pixels,
        engine.array.load_words, engine.turnaround, engine.settle, engine.flush, conv.pixel_outer,
        conv.buffered, plan.batch,
    )  # fmt: skip

    def run(ready: int, read: int) -> _Run:
        return remember(
            conv.part, "run", (key, ready, read), lambda: _Run(conv, engine, ready, read)
        )

    found = run(0, 0)  # nothing waits for a gate that is ready before the first tile is full
    if gate > found.first_full or (read and conv.segments > 1):
        found = run(gate, read)
    return StageCycles(
        conv.stage.name, found.last + engine.flush + 2, found.issued, gate, found.words,
        found.events,
    )  # fmt: skip


class _Run:
    """The recurrence over the steps of a pass.

    Parameters
    ----------
    conv : ConvGeometry
    engine : EngineParams
    gate : int
        First cycle in which the drain may begin.
    read : int
        First cycle in which the vector unit has read what it is sent, so that the segment behind it
        may be asked for.
    """

    def __init__(self, conv: ConvGeometry, engine: EngineParams, gate: int, read: int) -> None:
        self.conv, self.read = conv, read
        self.load_words, self.settle = engine.array.load_words, engine.settle
        self.loading, self.turn = self.load_words + Issuer.WORD_LATENCY, engine.turnaround + 1
        self.taken = START + 1 - StepGenerator.TILE  # no step was taken before
        self.handed, self.pixels = -engine.turnaround, 0  # the issuer is idle from the start
        self.waiting = max(
            START + 1 + Drain.SETUP, gate
        )  # the drain looks for a full bank from here on
        self.freed = (0, 0)
        self.issued = self.words = self.last = 0
        self.first_full: int | None = None
        self.events: list[Event] = []
        if conv.pixel_outer:
            self._pixel_outer(list(conv.pixel_tiles()))
        else:
            tiles = [(tile, conv.runs(tile)) for tile in conv.pixel_tiles()]
            self._channel_outer(conv.batch_tiles * tiles)
        self.events.sort()

    def _pixel_outer(self, tiles: list[Tile]) -> None:
        conv, frames = self.conv, self.conv.batch_tiles
        last = frames * len(tiles) * conv.tiles_out - 1
        for index, tile in enumerate(frames * tiles):
            for ko in range(conv.tiles_out):
                number = index * conv.tiles_out + ko
                if conv.from_frame:
                    begin = self.taken + StepGenerator.TILE + 1
                    self.events.append(Event(begin, NEED_ROWS, _rows_needed(conv, tile)))
                opens, closes = number == 0 or conv.buffered, number == last or conv.buffered
                end = self._tile(ko, tile, conv.runs(tile, ko), opens, closes)
                if conv.from_frame:
                    self.events += _rows_returned(conv, ko, tile, end)
                    if tile is tiles[-1] and ko == conv.tiles_out - 1:
                        # the next frame's tiles begin behind its last pixel
                        self.taken = end + 1 - StepGenerator.TILE

    def _channel_outer(self, tiles: list[tuple[Tile, tuple[Run, ...]]]) -> None:
        ko, states = 0, [self._state()]
        while ko < self.conv.tiles_out:
            begin = self.handed, self.issued, self.words, len(self.events)
            for index, (tile, runs) in enumerate(tiles):
                self._tile(ko, tile, runs, index == 0, index == len(tiles) - 1)
            ko += 1
            states.append(self._state())
            settled = states[-1] == states[-2] and self.taken >= self.read
            if settled and ko < self.conv.tiles_out - 1:
                # the same again up to the last one, which may have fewer channels
                self._repeat(self.conv.tiles_out - 1 - ko, begin)
                ko = self.conv.tiles_out - 1

    def _tile(self, ko: int, tile: Tile, runs: tuple[Run, ...], opens: bool, closes: bool) -> int:
        """Advance by a tile; the cycle in which its last pixel is issued."""
        depth, turn, loading = self.conv.depth, self.turn, self.loading
        frames = self.conv.tile_frames
        taken, handed, pixels, earliest = self.taken, self.handed, self.pixels, self.freed[0]
        new_tile = StepGenerator.TILE
        for run in runs:
            opening = self.read if opens and new_tile and self.words else 0
            lookups = StepGenerator.LOOKUP * run.lookups + StepGenerator.ADDRESS
            taken = max(taken + lookups + new_tile, handed + turn, opening)
            handed = max(taken + loading, handed + pixels, earliest)
            if opens and new_tile:
                self.events.append(Event(taken + 1, NEED_SEGMENT))
            earliest, new_tile, pixels = 0, 0, frames * run.pixels
            self.issued += depth * pixels
            if depth > 1:  # a tap's other steps follow each other at one pace
                pace = max(turn + loading, pixels)
                handed += (depth - 2) * pace
                taken = handed + turn
                handed += pace
        if closes:
            self.events.append(Event(taken + self.load_words, CLOSE_SEGMENT))
        self.taken, self.handed, self.pixels = taken, handed, pixels
        full = handed + pixels + self.settle
        if self.first_full is None:
            self.first_full = full
        drain = frames * tile.pixels * self.conv.tile_groups(ko)
        self.last = max(full, self.waiting) + drain
        self.waiting = self.last + 1 + Drain.SETUP
        self.freed = (self.freed[1], self.last + 2)
        self.words += drain
        return handed + pixels

    def _state(self) -> tuple[int, ...]:
        """All that the next tile depends on, counted from the last hand-over."""
        now = self.handed
        later = (max(0, cycle - now) for cycle in (self.waiting, *self.freed))
        return (self.taken - now, self.pixels, *later)

    def _repeat(self, times: int, begin: tuple[int, int, int, int]) -> None:
        """Do again what was done since ``begin``."""
        period, events = self.handed - begin[0], self.events[begin[3] :]
        for time in range(1, times + 1):
            self.events += [replace(e, cycle=e.cycle + time * period) for e in events]
        self.issued += times * (self.issued - begin[1])
        self.words += times * (self.words - begin[2])
        ahead = times * period
        self.taken, self.handed, self.last = (
            self.taken + ahead, self.handed + ahead, self.last + ahead,
        )  # fmt: skip
        self.waiting += ahead
        self.freed = (self.freed[0] + ahead, self.freed[1] + ahead)


def _rows_needed(conv: ConvGeometry, tile: Tile) -> int:
    """Input rows a tile waits for: those of a full tile at its place."""
    reach = (tile.row + conv.tile_rows - 1) * conv.window.stride[0] + conv.reach
    return min(conv.rows_in, reach + conv.unread_rows)


def _rows_returned(conv: ConvGeometry, ko: int, tile: Tile, cycle: int) -> list[Event]:
    """What is given back with a tile's last pixel."""
    if ko < conv.tiles_out - 1 or tile.col + tile.cols < conv.cols:
        return []
    below = (tile.row + conv.tile_rows) * conv.window.stride[0] - conv.window.padding[0]
    last = tile.row + tile.rows == conv.rows
    return [Event(cycle, RETURN_FRAME if last else RETURN_ROWS, below)]


def gate_ready(gate: Gate, params: VectorParams) -> int:
    """Cycle of the stage in which the drain sees the gate's slopes."""
    return START + _runs_length(gate, params)


def weights_read(gate: Gate, params: VectorParams) -> int:
    """Cycle of the stage from which the vector unit is seen to have read all weights it is sent."""
    last = START + (params.frames - 1) * (_job_length(gate, params) - 1)
    return _reads(gate, params, last)[1] if params.bus else 0


def _reads(job: Gate | Head, params: VectorParams, start: int) -> tuple[int, int]:
    """Cycles of a job's first word of weights, and the one behind its last, without pauses."""
    channels = len(job.mean.multiplier)
    return start + 1 + channels + MEAN_FLUSH, start + _job_length(job, params) - params.dense_flush


def _layers(job: Gate | Head) -> list[tuple[int, int]]:
    layers = (job.hidden, job.out) if isinstance(job, Gate) else (job,)
    return [layer.weight.shape for layer in layers]


def _vector_events(
    job: Gate | Head, size: JobSize, params: VectorParams, start: int
) -> list[Event]:
    """What a job that starts in cycle ``start`` asks of the weight stream, in a run per frame."""
    length = _job_length(job, params) - 1
    starts = range(start, start + params.frames * length, length)
    runs = [event for begin in starts for event in _run_events(job, size, params, begin)]
    return sorted([Event(start, NEED_TABLES), *runs, Event(starts.stop, CLOSE_TABLES)])


def _run_events(job: Gate | Head, size: JobSize, params: VectorParams, start: int) -> list[Event]:
    """Words that a run of a job needs, and gives back."""
    events = []
    cycle, _ = _reads(job, params, start)
    number = 0
    for outputs, inputs in _layers(job):
        count = outputs * -(-inputs // params.macs)
        for word in range(-number % VECTOR_SEGMENT, count, VECTOR_SEGMENT):
            events.append(Event(cycle + word, NEED_WORDS))
        for word in range(VECTOR_SEGMENT - 1 - number % VECTOR_SEGMENT, count, VECTOR_SEGMENT):
            events.append(Event(cycle + word, CLOSE_WORDS))
        number += count
        cycle += count + params.dense_flush
    if number % VECTOR_SEGMENT:
        events.append(Event(cycle - params.dense_flush - 1, CLOSE_WORDS))
    assert number == size.words
    return events


def head_cycles(head: Head, params: VectorParams) -> StageCycles:
    """Active cycles of the head; it starts in its first cycle."""
    active = _runs_length(head, params) + 1
    return StageCycles(head.name, active, 0, 0, 0)


def _runs_length(job: Gate | Head, params: VectorParams) -> int:
    """Cycles from a job's start until it is seen to be ready, a run for each frame of a batch."""
    return params.frames * (_job_length(job, params) - 1) + 1


def _job_length(job: Gate | Head, params: VectorParams) -> int:
    """Cycles from the start of a job's only run until it is seen to be ready."""
    dense = sum(
        outputs * -(-inputs // params.macs) + params.dense_flush for outputs, inputs in _layers(job)
    )
    return len(job.mean.multiplier) + MEAN_FLUSH + dense + 1
