"""Jobs, constants and weights of the vector unit, in order of use."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from r2b.hw.descriptor import Table
from r2b.hw.loops import pack_rows
from r2b.ir.program import Gate, Head, MeanVector, Program


@dataclass(frozen=True)
class JobSize:
    """What one job uses up: rows of the three tables, words of weights."""

    means: int
    dense: int
    slopes: int
    words: int


@dataclass(frozen=True)
class VectorTables:
    """Everything the vector unit holds for one Program.

    ``jobs``: one row per gated stage and one for the head; ``means``, ``dense`` and ``slopes``: per
    channel, neuron, output; ``weights``: words of ``macs`` int8 weights. All in order of use.
    ``functions``: of the gates, each once; a job names its one where there are several.
    ``sizes``: per job, how much of each of them it takes.
    """

    jobs: Table
    means: Table
    dense: Table
    slopes: Table
    weights: tuple[int, ...]
    functions: tuple[str, ...]
    sizes: tuple[JobSize, ...]


def vector_tables(program: Program, macs: int) -> VectorTables:
    """Tables for every gate in order of its stage, then the head."""
    gates = [stage.gate for stage in program.stages if stage.gate is not None]
    functions = tuple(sorted({gate.function for gate in gates})) or ("sigmoid",)
    jobs, means, dense, slopes = [], [], [], []
    weights: list[int] = []
    totals = [JobSize(0, 0, 0, 0)]
    for gate in gates:
        jobs.append(_job(gate.mean, macs, gate) | _choice(functions, gate))
        means += _mean_rows(gate.mean)
        for layer in (gate.hidden, gate.out):
            dense += _dense_rows(layer.multiplier, layer.offset + (1 << (layer.shift - 1)))
            weights += _weight_words(layer.weight, macs)
        slopes += [
            {"gp": int(p), "gn": int(n)} for p, n in zip(gate.slope_p, gate.slope_n, strict=True)
        ]
        totals.append(JobSize(len(means), len(dense), len(slopes), len(weights)))
    head = program.head
    jobs.append(_job(head.mean, macs, None, head) | _choice(functions, None))
    means += _mean_rows(head.mean)
    dense += _dense_rows(np.zeros_like(head.bias), head.bias)
    weights += _weight_words(head.weight, macs)
    totals.append(JobSize(len(means), len(dense), len(slopes), len(weights)))
    return VectorTables(Table(jobs), Table(means), Table(dense),
                        Table(slopes or [{"gp": 0, "gn": 0}]), tuple(weights),
                        functions, _differences(totals))  # fmt: skip


def _differences(totals: list[JobSize]) -> tuple[JobSize, ...]:
    """What every job adds to the totals before it."""
    return tuple(
        JobSize(*(b - a for a, b in zip(astuple(old), astuple(new), strict=True)))
        for old, new in pairwise(totals)
    )


def _choice(functions: tuple[str, ...], gate: Gate | None) -> dict[str, int]:
    """Which table a job looks up, where there are several."""
    if len(functions) == 1:
        return {}
    return {"function": functions.index(gate.function) if gate else 0}


def _job(
    mean: MeanVector, macs: int, gate: Gate | None, head: Head | None = None
) -> dict[str, int]:
    channels = len(mean.multiplier)
    first = gate.hidden.weight if gate else head.weight
    second = gate.out.weight if gate else first[:, :1]
    return {
        "head": head is not None,
        "last_channel": channels - 1,
        "last_first": first.shape[0] - 1,
        "last_second": second.shape[0] - 1,
        "words_first": -(-first.shape[1] // macs) - 1,
        "words_second": -(-second.shape[1] // macs) - 1,
        "reciprocal": mean.reciprocal,
        "mean_half": 1 << (mean.shift - 1),
        "mean_shift": mean.shift,
        "z_shift": mean.z_shift,
        "first_shift": gate.hidden.shift if gate else 1,
        "second_shift": gate.out.shift if gate else 1,
        "slope_shift": gate.shift if gate else 1,
        "slope_half": 1 << (gate.shift - 1) if gate else 1,
    }


def _mean_rows(mean: MeanVector) -> list[dict[str, int]]:
    offset = mean.offset + (1 << (mean.z_shift - 1))
    return [{"a": int(a), "b": int(b)} for a, b in zip(mean.multiplier, offset, strict=True)]


def _dense_rows(multiplier: np.ndarray, offset: np.ndarray) -> list[dict[str, int]]:
    return [{"m": int(m), "b": int(b)} for m, b in zip(multiplier, offset, strict=True)]


def _weight_words(weight: np.ndarray, macs: int) -> list[int]:
    """Rows of a matrix, ``macs`` int8 weights per word, zeros behind each row's end."""
    outputs, inputs = weight.shape
    padded = np.zeros((outputs, -(-inputs // macs) * macs), dtype=np.int64)
    padded[:, :inputs] = weight
    return pack_rows(padded.reshape(-1, macs), 8, 8 * macs)
