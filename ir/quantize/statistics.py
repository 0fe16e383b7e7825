"""What calibration has to know of the float values, gathered a few frames at a time.

Nothing is kept of a batch but what is asked for: for each pool of values the largest magnitudes of
each channel, as many as the percentile needs, so that percentiles are exact for any number of
frames; channel means; ranges; counts of exact zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from r2b.ir import interpreter
from r2b.ir.errors import CalibrationError
from r2b.ir.graph import Graph

FloatArray = npt.NDArray[np.float64]
Frames = npt.NDArray[np.uint8]
Pool = tuple[str, ...]

PERCENTILE = 99.99
BATCH_ELEMENTS = 1 << 25
"""Values of all nodes together that are held at once, 256 MiB of float64."""
BATCH_FRAMES = 64


@dataclass(frozen=True)
class Wanted:
    """What to gather.

    Parameters
    ----------
    pools : set of tuple of str
        Nodes whose magnitudes count together.
    means, ranges, zeros : set of str
        Nodes of which to keep the channel means of each frame; the smallest and largest value; the
        number of exact zeros.
    """

    pools: frozenset[Pool]
    means: frozenset[str]
    ranges: frozenset[str]
    zeros: frozenset[str]


@dataclass
class Statistics:
    """What was gathered.

    Attributes
    ----------
    peaks : dict
        Of each pool: the PERCENTILE of the magnitudes, float64 [C].
    means : dict
        Of each node: float64 N x C.
    ranges : dict
        Of each node: smallest and largest value.
    zeros : dict
        Of each node: how many values were exactly 0.
    """

    peaks: dict[Pool, FloatArray] = field(default_factory=dict)
    means: dict[str, FloatArray] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    zeros: dict[str, int] = field(default_factory=dict)


def batch_size(graph: Graph) -> int:
    """Frames whose values may be held at once."""
    elements = sum(int(np.prod(node.type.shape)) for node in graph.nodes())
    return max(1, min(BATCH_FRAMES, BATCH_ELEMENTS // elements))


def batches(graph: Graph, frames: Frames) -> Iterator[Frames]:
    """Cut frames into pieces whose values may be held at once."""
    step = batch_size(graph)
    return (frames[start : start + step] for start in range(0, len(frames), step))


def gather(
    graph: Graph, wanted: Wanted, batches: Iterable[FloatArray], num_frames: int
) -> Statistics:
    """Run the float network on frames and gather what is wanted.

    Raises
    ------
    CalibrationError
        The network gives NaN or infinity.
    """
    result = Statistics(zeros=dict.fromkeys(wanted.zeros, 0))
    tops = {pool: _Top(graph, pool, num_frames) for pool in wanted.pools}
    means: dict[str, list[FloatArray]] = {name: [] for name in wanted.means}
    for frames in batches:
        values = interpreter.run(graph, frames)
        check_finite(graph, values)
        for top in tops.values():
            top.add(values)
        for name, parts in means.items():
            parts.append(values[name].mean(axis=(2, 3)))
        for name in wanted.ranges:
            low, high = result.ranges.get(name, (np.inf, -np.inf))
            found = values[name]
            result.ranges[name] = (min(low, float(found.min())), max(high, float(found.max())))
        for name in wanted.zeros:
            result.zeros[name] += int((values[name] == 0).sum())
    result.means = {name: np.concatenate(parts) for name, parts in means.items()}
    result.peaks = {pool: top.percentile() for pool, top in tops.items()}
    return result


def check_finite(graph: Graph, values: Mapping[str, FloatArray]) -> None:
    """Refuse NaN and infinity, naming the operation that gave them."""
    for node in graph.nodes():
        if not np.isfinite(values[node.name]).all():
            raise CalibrationError(
                f"{node.location}: {type(node.op).__name__} gives NaN or infinity for the "
                "calibration frames; check the parameters, --mean and --std"
            )


class _Top:
    """The largest magnitudes of a pool's channels, enough for its percentile."""

    def __init__(self, graph: Graph, pool: Pool, num_frames: int) -> None:
        sizes = [int(np.prod(graph[name].type.shape[2:])) for name in pool]
        self.pool = pool
        total = num_frames * sum(sizes)
        self.virtual = (total - 1) * (PERCENTILE / 100)
        # Order statistics from floor(virtual) on, the last of them is number total - 1.
        self.first = int(np.floor(self.virtual))
        self.count = total - self.first
        self.kept = np.zeros((graph[pool[0]].type.channels, 0))

    def add(self, values: Mapping[str, FloatArray]) -> None:
        """Take in the values of a batch."""
        arrays = [np.abs(values[name]).swapaxes(0, 1) for name in self.pool]
        flat = [array.reshape(len(array), -1) for array in arrays]
        joined = np.concatenate([self.kept, *flat], axis=1)
        if joined.shape[1] > self.count:
            joined = np.partition(joined, joined.shape[1] - self.count, axis=1)
            joined = joined[:, -self.count :].copy()
        self.kept = joined

    def percentile(self) -> FloatArray:
        """Percentile between two neighbours, as numpy.percentile gives it, to the last bit."""
        ordered = np.sort(self.kept, axis=1)
        below, above = ordered[:, 0], ordered[:, min(1, self.count - 1)]
        share, step = self.virtual - self.first, above - below
        return below + step * share if share < 0.5 else above - step * (1 - share)
