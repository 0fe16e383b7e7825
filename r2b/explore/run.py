"""An exploration from its points to its Pareto fronts: in chunks, anywhere, resumable."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from r2b.console import Reporter
from r2b.explore.cluster import Cluster
from r2b.explore.evaluate import FITS, TOO_LARGE, Goal, Outcome, Row, evaluate
from r2b.explore.front import pareto
from r2b.explore.space import Axes, Point, points
from r2b.explore.store import Store
from r2b.explore.worth import extent_of, unfit, unpackable
from r2b.ir.program import Program

NO_PAIRS = "mac_packing 2: no DSP block takes two of these products"
LARGEST_CHUNK, CHUNKS = 192, 64
"""Points per task; small spaces are cut into about CHUNKS tasks."""


@dataclass(frozen=True)
class Chunk:
    """Points that one task evaluates."""

    points: tuple[Point, ...]
    goals: tuple[Goal, ...]


@dataclass
class Explored:
    """What is known of one device.

    Parameters
    ----------
    device : str
    fits : list of dict
        Rows that fit, in the order of the space.
    nearest : dict or None
        Of the rows that are too large, the one that takes the smallest share of the device.
    counts : Counter
        Rows by status.
    """

    device: str
    fits: list[Row] = field(default_factory=list)
    nearest: Row | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Take a row in."""
        self.counts[row["status"]] += 1
        if row["status"] == FITS:
            self.fits.append(row)
        elif row["status"] == TOO_LARGE and (
            self.nearest is None or _distance(row) < _distance(self.nearest)
        ):
            self.nearest = row

    @property
    def known(self) -> list[Row]:
        """Rows that a message needs."""
        return [*self.fits, *([] if self.nearest is None else [self.nearest])]


def _distance(row: Row) -> tuple[bool, float]:
    """How far a Plan is from fitting; behind all estimates those that are lower bounds."""
    return row["LUT"] is None, row["share"]


@dataclass(frozen=True)
class Work:
    """Points that are evaluated, in chunks, and why others are not."""

    chunks: tuple[Chunk, ...]
    excluded: dict[str, int]

    @property
    def num_points(self) -> int:
        """Points in all chunks."""
        return sum(len(chunk.points) for chunk in self.chunks)


@dataclass(frozen=True)
class Speed:
    """How long the evaluation took.

    Parameters
    ----------
    points, plans : int
        Evaluated in this run; a point is a Plan for each device.
    seconds : float
    """

    points: int
    plans: int
    seconds: float

    @property
    def plans_per_second(self) -> float:
        """Plans and devices per second."""
        return self.plans / self.seconds if self.seconds else 0.0


def work_of(program: Program, axes: Axes, goals: Sequence[Goal]) -> Work:
    """The points of a space in chunks."""
    extent, excluded = extent_of(program), Counter[str]()
    kept: list[Point] = []
    families = {goal.device.family for goal in goals}
    for point in points(axes):
        reason = unfit(point, extent, axes)
        if reason is None and all(unpackable(program, point, family) for family in families):
            reason = NO_PAIRS
        if reason is None:
            kept.append(point)
        else:
            excluded[reason] += 1
    size = max(1, min(LARGEST_CHUNK, len(kept) // CHUNKS))
    chunks = tuple(Chunk(tuple(part), tuple(goals)) for part in cut(kept, size))
    return Work(chunks, dict(excluded))


def cut(kept: Sequence[Point], size: int) -> Iterator[list[Point]]:
    """Parts of about that size; points that differ in the front alone stay together."""
    part: list[Point] = []
    for _, several in groupby(kept, key=lambda point: point.alone):
        part += several
        if len(part) >= size:
            yield part
            part = []
    if part:
        yield part


def evaluate_chunk(program: Program, chunk: Chunk) -> Outcome:
    """The task of a worker."""
    return evaluate(program, chunk.points, chunk.goals)


def explore(work: Work, cluster: Cluster, store: Store, reporter: Reporter) -> Speed:
    """Evaluate the chunks that are not done yet, and keep each as soon as it is."""
    open_ = [number for number in range(len(work.chunks)) if store.chunk(number) is None]
    num_points = done = plans = 0
    begin = time.perf_counter()
    with reporter.progress(len(work.chunks)):
        reporter.at(len(work.chunks) - len(open_), "exploring")
        for index, found in cluster.run(evaluate_chunk, [work.chunks[n] for n in open_]):
            if isinstance(found, Exception):
                raise found
            store.keep(open_[index], found)
            done += 1
            num_points += len(work.chunks[open_[index]].points)
            plans += len(found.rows)
            rate = plans / (time.perf_counter() - begin)
            reporter.at(
                len(work.chunks) - len(open_) + done, f"{plans:,} Plans, {rate:,.0f} per second"
            )
    return Speed(num_points, plans, time.perf_counter() - begin)


def rows_of(work: Work, store: Store) -> Iterator[Row]:
    """All rows, in the order of the space."""
    for number in range(len(work.chunks)):
        outcome = store.chunk(number)
        assert outcome is not None
        yield from outcome.rows


def excluded_of(work: Work, store: Store) -> dict[str, int]:
    """Points without a Plan, by reason."""
    total = Counter(work.excluded)
    for number in range(len(work.chunks)):
        outcome = store.chunk(number)
        assert outcome is not None
        total.update(outcome.excluded)
    return dict(sorted(total.items()))


def fronts_of(explored: Sequence[Explored]) -> dict[str, list[Row]]:
    """Device -> its Pareto front."""
    return {found.device: pareto(found.fits) for found in explored}


def summary(
    explored: Sequence[Explored], fronts: dict[str, list[Row]], excluded: dict[str, int]
) -> dict[str, Any]:
    """How many Plans were evaluated, fit and are on the front, and what was left out."""
    return {
        "excluded": excluded,
        "devices": {
            found.device: {
                "plans": sum(found.counts.values()),
                **{status.replace(" ", "_"): n for status, n in sorted(found.counts.items())},
                "front": len(fronts[found.device]),
            }
            for found in explored
        },
    }
