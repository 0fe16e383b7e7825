"""Compares what a simulated accelerator stored with what the Program says, bit by bit.

Every stage's tensor and sign map is put together again from the recorded memory writes, with the
Plan's memory map: a feature word is ``tensors[name] + pixel * ceil(C / lanes) + group``, a sign
word ``signs[name] + pixel * ceil(C / p_in) + channel // p_in``, written in words of ``lanes`` bits.
Each address must be written exactly once per stage and frame, and no other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from r2b.hw.plan import Plan
from r2b.ir.kernels import Trace
from r2b.ir.program import Program, Stage
from r2b.sim.harness import SimResult

Array = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

LOGITS = "logits"


@dataclass(frozen=True)
class Mismatch:
    """The first difference found in a frame.

    Parameters
    ----------
    frame : int
    stage, tensor : str
        Names; for the logits ``head`` and ``logits``.
    index : tuple of int
        Channel, row, column; for the logits the class. Empty for a write that belongs nowhere.
    cycle : int
        When it was written; 0 if it was not.
    expected, got : int or None
        ``got`` is None where nothing was written; ``expected`` where nothing was to be written.
    note : str
        What is wrong besides the value, for example that it was written twice.
    """

    frame: int
    stage: str
    tensor: str
    index: tuple[int, ...]
    cycle: int
    expected: int | None
    got: int | None
    note: str = ""

    def __str__(self) -> str:
        place = f"frame {self.frame}, stage {self.stage}, {self.tensor}"
        place += f"[{', '.join(map(str, self.index))}]" if self.index else ""
        if self.note:
            return f"{place}, cycle {self.cycle}: {self.note}"
        got = "nothing" if self.got is None else self.got
        return f"{place}, cycle {self.cycle}: expected {self.expected}, got {got}"


@dataclass
class Report:
    """What a comparison found.

    Parameters
    ----------
    differing_bits : dict
        (stage, tensor, sign map or logits) -> bits that differ, over all frames; a value that was
        not written counts all of its bits.
    compared_bits : dict
        The same keys -> bits compared.
    mismatches : list of Mismatch
        The first of each frame, stage and tensor.
    """

    differing_bits: dict[tuple[str, str], int] = field(default_factory=dict)
    compared_bits: dict[tuple[str, str], int] = field(default_factory=dict)
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All differing bits."""
        return sum(self.differing_bits.values())

    @property
    def equal(self) -> bool:
        """Nothing differs, and every address was written once."""
        return not self.mismatches

    @property
    def first(self) -> Mismatch | None:
        """The first mismatch: lowest frame, then in order of stages."""
        return self.mismatches[0] if self.mismatches else None

    def count(self, key: tuple[str, str], differing: int, compared: int) -> None:
        """Add the bits of one comparison."""
        self.differing_bits[key] = self.differing_bits.get(key, 0) + differing
        self.compared_bits[key] = self.compared_bits.get(key, 0) + compared

    def add(self, other: Report, offset: int) -> None:
        """Add a report of later frames, whose frame 0 is frame ``offset`` here."""
        for key, differing in other.differing_bits.items():
            self.count(key, differing, other.compared_bits[key])
        for m in other.mismatches:
            values = (m.stage, m.tensor, m.index, m.cycle, m.expected, m.got, m.note)
            self.mismatches.append(Mismatch(m.frame + offset, *values))


@dataclass(frozen=True)
class Region:
    """Where a value of C x H x W lies in a memory.

    Parameters
    ----------
    name : str
    shape : tuple of int
    bits : int
        Per value.
    lanes : int
        Values per write.
    keys : ndarray
        int64 [H * W, ceil(C / lanes)]: the address of each write; in the sign memory
        ``word * banks + bank``.
    """

    name: str
    shape: tuple[int, int, int]
    bits: int
    lanes: int
    keys: Array


@dataclass(frozen=True)
class Written:
    """One frame's and stage's writes to one memory, in order of time: key, cycle, values."""

    keys: Array
    cycles: Array
    values: Array


# --------------------------------------------------------------------------------------- compare


def compare(program: Program, plan: Plan, result: SimResult, expected: Trace) -> Report:
    """Compare recorded writes and logits with the Program's values for the same frames.

    Parameters
    ----------
    result : SimResult
        Of a simulation with ``record=True``.
    expected : Trace
        Of :func:`r2b.ir.execute.execute`.
    """
    if result.features is None or result.signs is None:
        raise ValueError("compare needs a simulation with record=True")
    report = Report()
    features = _by_place(result.features)
    signs = _by_place(result.signs)
    for row, frame in enumerate(result.rows):
        for number, stage in enumerate(program.stages):
            stored = _features(features, frame, number, plan)
            _compare_memory(report, row, stage.name, list(_tensors(program, plan, stage)), stored,
                            {t: v[row] for t, v in expected.tensors.items()})  # fmt: skip
            signed = _signs(signs, frame, number, plan)
            _compare_memory(report, row, stage.name, list(_maps(program, plan, stage)), signed,
                            {s: v[row] for s, v in expected.signs.items()})  # fmt: skip
        cycle = result.frames[frame].last_result
        _compare_logits(report, row, result.logits[row], expected.logits[row], cycle)
    return report


def _tensors(program: Program, plan: Plan, stage: Stage) -> Iterator[Region]:
    if stage.tensor is not None:
        channels, rows, cols = shape = program.tensors[stage.tensor].shape
        groups = -(-channels // plan.lanes)
        keys = plan.tensors[stage.tensor] + np.arange(rows * cols * groups).reshape(-1, groups)
        yield Region(stage.tensor, shape, program.act_bits, plan.lanes, keys)


def _maps(program: Program, plan: Plan, stage: Stage) -> Iterator[Region]:
    banks = plan.p_in // plan.lanes
    for sink in stage.signs:
        channels, rows, cols = shape = program.sign_shapes[sink.name]
        words, groups = -(-channels // plan.p_in), -(-channels // plan.lanes)
        first = (plan.signs[sink.name] + np.arange(rows * cols) * words) * banks
        yield Region(sink.name, shape, 1, plan.lanes, first[:, None] + np.arange(groups))


def _by_place(records: Records) -> dict[tuple[int, int], Records]:
    """Writes by frame and stage."""
    place = records["frame"].astype(np.int64) << 32 | records["stage"]
    order = np.argsort(place, kind="stable")
    values, starts = np.unique(place[order], return_index=True)
    pieces = np.split(records[order], starts[1:]) if len(values) else []
    return {(int(v) >> 32, int(v) & 0xFFFFFFFF): p for v, p in zip(values, pieces, strict=True)}


def _features(
    places: dict[tuple[int, int], Records], frame: int, stage: int, plan: Plan
) -> Written:
    records = places.get((frame, stage))
    if records is None:
        return _nothing(plan.lanes)
    bits = np.unpackbits(records["data"], axis=1, bitorder="little")[
        :, : plan.lanes * plan.act_bits
    ]
    fields = bits.reshape(len(records), plan.lanes, plan.act_bits).astype(np.int64)
    weights = 1 << np.arange(plan.act_bits, dtype=np.int64)
    weights[-1] = -weights[-1]
    return Written(records["address"].astype(np.int64), records["cycle"].astype(np.int64),
                   fields @ weights)  # fmt: skip


def _signs(places: dict[tuple[int, int], Records], frame: int, stage: int, plan: Plan) -> Written:
    """Writes to the sign memory; one that enables several banks counts once for each."""
    records = places.get((frame, stage))
    if records is None:
        return _nothing(plan.lanes)
    banks = plan.p_in // plan.lanes
    enabled = records["enable"][:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    rows, bank = np.nonzero(enabled)
    bits = np.unpackbits(records["data"], axis=1, bitorder="little")[:, : plan.lanes]
    keys = records["address"].astype(np.int64)[rows] * banks + bank
    return Written(keys, records["cycle"].astype(np.int64)[rows], bits[rows].astype(np.int64))


def _nothing(lanes: int) -> Written:
    empty = np.zeros(0, np.int64)
    return Written(empty, empty, np.zeros((0, lanes), np.int64))


def _compare_memory(
    report: Report, frame: int, stage: str, regions: list[Region], written: Written,
    expected: dict[str, Array],
) -> None:  # fmt: skip
    """One frame's and stage's writes to one memory: where they went, and what."""
    for region in regions:
        report.mismatches += _compare_region(
            report, frame, stage, region, written, expected[region.name]
        )
    known = np.concatenate([np.zeros(0, np.int64), *(region.keys.ravel() for region in regions)])
    stray = np.flatnonzero(~np.isin(written.keys, known))
    if len(stray):
        first = stray[0]
        note = f"{len(stray)} writes outside its memory, the first to word {written.keys[first]}"
        report.mismatches.append(
            Mismatch(frame, stage, "memory", (), int(written.cycles[first]), None, None, note)
        )


def _compare_region(
    report: Report, frame: int, stage: str, region: Region, written: Written, expected: Array
) -> Iterator[Mismatch]:
    """Bits of one tensor or sign map, and whether each of its words was written exactly once."""
    channels, rows, cols = region.shape
    flat = region.keys.ravel()
    order = np.argsort(written.keys, kind="stable")
    keys = written.keys[order]
    low, high = np.searchsorted(keys, flat, "left"), np.searchsorted(keys, flat, "right")
    present = high > low
    last = np.zeros(len(flat), np.int64)
    last[present] = order[high[present] - 1]
    got, cycles = np.zeros((len(flat), region.lanes), np.int64), np.zeros(len(flat), np.int64)
    got[present], cycles[present] = written.values[last[present]], written.cycles[last[present]]

    def spread(words: Array) -> Array:  # [pixels * groups, lanes] -> [C, H, W]
        values = words.reshape(rows * cols, -1)[:, :channels]
        return values.reshape(rows, cols, channels).transpose(2, 0, 1)

    def each_lane(words: Array) -> Array:
        return spread(np.repeat(words[:, None], region.lanes, axis=1))

    values, there = spread(got), each_lane(present.astype(np.int64)).astype(bool)
    mask = (1 << region.bits) - 1
    wrong = np.bitwise_count(((values ^ expected) & mask).astype(np.uint64)).astype(np.int64)
    wrong = np.where(there, wrong, region.bits)
    report.count((stage, region.name), int(wrong.sum()), expected.size * region.bits)
    if wrong.any():
        yield _first_difference(
            frame, stage, region, wrong, there, each_lane(cycles), values, expected
        )
    twice = np.flatnonzero(high - low > 1)
    if len(twice):
        first = twice[0]
        pixel, group = divmod(int(first), region.keys.shape[1])
        index = (group * region.lanes, *divmod(pixel, cols))
        note = (
            f"{len(twice)} words written more than once, the first {high[first] - low[first]} times"
        )
        yield Mismatch(frame, stage, region.name, index, int(cycles[first]), None, None, note)


def _first_difference(
    frame: int, stage: str, region: Region, wrong: Array, there: npt.NDArray[np.bool_],
    cycles: Array, values: Array, expected: Array,
) -> Mismatch:  # fmt: skip
    """The difference that was written first; one that never was written comes last."""
    when = np.where(wrong > 0, np.where(there, cycles, 1 << 62), (1 << 63) - 1)
    c, y, x = (int(n) for n in np.unravel_index(int(np.argmin(when)), when.shape))
    got = int(values[c, y, x]) if there[c, y, x] else None
    return Mismatch(
        frame, stage, region.name, (c, y, x), int(cycles[c, y, x]), int(expected[c, y, x]), got
    )


def _compare_logits(
    report: Report, frame: int, got: npt.NDArray[np.int32], expected: npt.NDArray[np.int32],
    cycle: int,
) -> None:  # fmt: skip
    wrong = np.bitwise_count((got ^ expected).view(np.uint32))
    report.count(("head", LOGITS), int(wrong.sum()), 32 * len(got))
    if wrong.any():
        index = int(np.argmax(wrong > 0))
        report.mismatches.append(
            Mismatch(frame, "head", LOGITS, (index,), cycle, int(expected[index]), int(got[index]))
        )
