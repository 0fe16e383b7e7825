"""What a simulation is to do and what it saw, as files between Python and the harness process.

The harness is a process of its own: a crash, an endless loop or a time-out in it is an error here,
not the end of Python. ``templates/driver.cpp.j2`` reads and writes the same files.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

AFTER = (1 << 64) - 1
"""``Access.at``: when all frames are done."""
COUNTERS = ("cycles", "active", "wait_input", "wait_weights", "wait_output")
EVENTS = (
    "first_beat", "last_beat", "start", "done", "first_result", "last_result", "front_start",
    "front_done",
)  # fmt: skip
IDLE_LIMIT, FRAME_LIMIT = 200_000, 500_000_000
"""Cycles after which a run counts as hung: without any event, without a result."""
FIXED = len(EVENTS) + 3 + len(COUNTERS)
"""Numbers per frame before those of the stages."""

Progress = Callable[[int, int], None]
"""Called with the number of results and the cycle, now and then."""


class SimulationError(Exception):
    """The simulated accelerator hung, broke the protocol or crashed: a defect, not bad input.

    Parameters
    ----------
    text : str
    cycle, frame, stage : int
        Where it stood.
    event : int, optional
        The last cycle in which something happened.
    """

    def __init__(
        self, text: str, cycle: int = 0, frame: int = 0, stage: int = 0, event: int | None = None
    ) -> None:
        self.cycle, self.frame, self.stage = cycle, frame, stage
        self.event = cycle if event is None else event
        super().__init__(text)


@dataclass(frozen=True)
class Access:
    """One access to an AXI4-Lite register; accesses happen in order.

    Parameters
    ----------
    address : int
    data : int or None
        To write; None reads.
    at : int
        Not before this cycle; AFTER: when all frames are done.
    """

    address: int
    data: int | None = None
    at: int = AFTER


@dataclass(frozen=True)
class Answer:
    """What an :class:`Access` gave: cycle, address, data (read or written), AXI response code."""

    cycle: int
    address: int
    data: int
    response: int


@dataclass(frozen=True)
class Job:
    """Everything a run depends on.

    Parameters
    ----------
    beats : bytes per pixel transfer, in order of sending
        uint8 [frames, beats per frame, bytes].
    words : ndarray
        uint8 [words, bytes]: the weight stream of one frame, sent again and again.
    classes, stages : int
        Values per result; stages, without the head.
    seed : int or None
        Of random gaps on all streams at once; None: none.
    waves, window : Path or None, tuple of int
        Trace file, and the first cycle in it and the first no longer in it.
    lengths : dict
        Frame -> transfers up to its TLAST, where it is to be too short or too long. Such a frame
        gives no result.
    resets : sequence of int
        Cycles at which ``aresetn`` falls; then the first frame without a result comes again.
    gap : int
        Idle cycles between two frames.
    back_to_back : bool
        A frame does not wait for the result of the one before.
    idle_limit, frame_limit : int
        Cycles without any transfer, memory write or change of stage, and without a result, after
        which a run counts as hung.
    first : int
        Number of the first frame, for messages.
    batch : int
        Frames that the core works on at a time; it divides their number.
    strides : tuple of int
        Words of feature memory and of sign memory of each frame of a batch.
    """

    beats: npt.NDArray[np.uint8]
    words: npt.NDArray[np.uint8]
    classes: int
    stages: int = 0
    seed: int | None = None
    record: bool = False
    waves: Path | None = None
    window: tuple[int, int] = (0, AFTER)
    lengths: dict[int, int] = field(default_factory=dict)
    resets: Sequence[int] = ()
    accesses: Sequence[Access] = ()
    gap: int = 0
    back_to_back: bool = True
    idle_limit: int = IDLE_LIMIT
    frame_limit: int = FRAME_LIMIT
    first: int = 0
    batch: int = 1
    strides: tuple[int, int] = (0, 0)

    def text(self) -> str:
        """Content of ``job.txt``."""
        full = self.beats.shape[1]
        numbers = {
            "frames": len(self.beats), "beats": full, "classes": self.classes,
            "stages": self.stages, "batch": self.batch, "seed": self.seed or 0,
            "stalled": int(self.seed is not None), "record": int(self.record),
            "gap": self.gap, "back_to_back": int(self.back_to_back),
            "idle_limit": self.idle_limit, "frame_limit": self.frame_limit,
            "waves_from": self.window[0], "waves_to": self.window[1],
        }  # fmt: skip
        lines = [f"{name} {value}" for name, value in numbers.items()]
        lines += [f"length {self.lengths.get(n, full)}" for n in range(len(self.beats))]
        lines += [f"reset {cycle}" for cycle in sorted(self.resets)]
        for a in self.accesses:
            lines.append(f"access {a.at} {int(a.data is not None)} {a.address} {a.data or 0}")
        if self.waves is not None:
            lines.append(f"waves {self.waves.absolute()}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class FrameCycles:
    """What one frame took; cycles are counted from the simulation's first.

    Where the core works on a batch of frames at a time, ``start``, ``done``, ``total``, ``active``,
    ``counters`` and ``stages`` are those of the whole batch, the same for each frame of it.

    Parameters
    ----------
    first_beat, last_beat, start, done, first_result, last_result : int
        When its pixels were taken, the core began and ended, its result left.
    total, active : int
        Cycles the core worked on it, and those of them without waiting.
    counters : dict
        The core's own counters, by cause; empty where the design shows none.
    stages : tuple
        Per stage and for the head: cycles active and cycles waiting.
    front_start, front_done : int
        When the front began and ended. With a front, ``start``, ``done``, ``total``, ``active`` and
        ``counters`` are those of the other stages.
    """

    first_beat: int
    last_beat: int
    start: int
    done: int
    first_result: int
    last_result: int
    total: int
    active: int
    counters: dict[str, int]
    stages: tuple[tuple[int, int], ...]
    front_start: int = 0
    front_done: int = 0

    @property
    def latency(self) -> int:
        """Cycles from its first pixel to the last value of its result, both included."""
        return self.last_result - self.first_beat + 1 if self.last_result else 0


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Parameters
    ----------
    logits : ndarray
        int32 [results, classes], in order; frames of a wrong length have no row.
    frames : list of FrameCycles
    answers : list of Answer
    cycles, words : int
        Simulated cycles, transfers of weights.
    features, signs : ndarray or None
        Recorded memory writes: structured arrays with cycle, enable (which words of ``lanes``
        bits), frame, stage, address, data.
    """

    logits: npt.NDArray[np.int32]
    frames: list[FrameCycles]
    answers: list[Answer]
    cycles: int
    words: int
    features: npt.NDArray[np.void] | None = None
    signs: npt.NDArray[np.void] | None = None


def run_job(
    executable: Path,
    job: Job,
    folder: Path,
    *,
    stage_names: Sequence[str] = (),
    progress: Progress | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Run a simulator on a job, with files in ``folder``.

    Raises
    ------
    SimulationError
        A hang (with stage and cycle), a broken protocol, a crash, or more than ``timeout`` seconds.
    """
    (folder / "job.txt").write_text(job.text())
    (folder / "frames.bin").write_bytes(job.beats.tobytes())
    (folder / "weights.bin").write_bytes(job.words.tobytes())
    _run(executable, folder, progress, timeout)
    status = folder / "status.txt"
    words = status.read_text().split(maxsplit=4) if status.exists() else ["nothing"]
    if words[0] == "failed":
        cycle, frame, stage = map(int, words[1:4])
        frame += job.first
        text = _explain(words[4].strip(), cycle, frame, stage, job, stage_names)
        idle = job.idle_limit if words[4].strip() == "idle" else 0
        raise SimulationError(text, cycle, frame, stage, cycle - idle)
    if words[0] != "ok":
        raise SimulationError("the simulator ended without a report")
    return _read(folder, job)


def _run(executable: Path, folder: Path, progress: Progress | None, timeout: float | None) -> None:
    """Wait for the process, with its reports of progress; it never outlives this call."""
    expired = threading.Event()
    with (folder / "messages.txt").open("w") as messages:
        process = subprocess.Popen(
            [executable, folder], stdout=subprocess.PIPE, stderr=messages, text=True
        )

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout or 0, expire)
    if timeout is not None:
        timer.start()
    last = (0, 0)
    said: list[str] = []
    with process:
        try:
            for line in process.stdout or ():
                report = _report(line)
                if report is None:
                    said.append(line)
                    continue
                last = report
                if progress is not None:
                    progress(*report)
            process.wait()
        finally:
            timer.cancel()
            process.kill()
    if expired.is_set():
        raise SimulationError(f"no end after {timeout:g} s, at about cycle {last[1]}", last[1])
    if process.returncode:
        said.append((folder / "messages.txt").read_text(errors="replace"))
        raise SimulationError(_crash(process.returncode, "".join(said).strip(), last), last[1])


def _report(line: str) -> tuple[int, int] | None:
    """Results and cycle of a report of progress; None for another line."""
    words = line.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return int(words[0]), int(words[1])


def _crash(status: int, said: str, last: tuple[int, int]) -> str:
    how = f"status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
    place = f"after result {last[0]}, cycle {last[1]} or later"
    return f"the simulator stopped with {how}, {place}" + (f":\n{said}" if said else "")


def _explain(what: str, cycle: int, frame: int, stage: int, job: Job, names: Sequence[str]) -> str:
    """The harness's finding as a message that names the stage."""
    name = names[stage] if stage < len(names) else "unnamed"
    place = f"frame {frame}, stage {stage} ({name}), cycle {cycle}"
    if what == "idle":
        return (
            f"hang at {place}: no transfer, no memory write and no change of stage for"
            f" {job.idle_limit} cycles"
        )
    if what == "endless":
        return f"hang at {place}: no result for {job.frame_limit} cycles"
    return f"{what} (at {place})"


# -------------------------------------------------------------------------------------- reading


def _read(folder: Path, job: Job) -> Outcome:
    cycles, words, feature_bytes, sign_bytes = _numbers(folder, "totals.bin").tolist()
    logits = np.fromfile(folder / "logits.bin", np.int32).reshape(-1, job.classes)
    rows = _numbers(folder, "stats.bin").reshape(-1, FIXED + 2 * (job.stages + 1))
    epochs = rows[:, len(EVENTS)]
    answers = _numbers(folder, "answers.bin").reshape(-1, 3)
    found = [
        Answer(cycle, access.address, data, code)
        for access, (cycle, code, data) in zip(job.accesses, answers.tolist(), strict=True)
    ]
    features = signs = None
    if job.record:
        features = _records(folder / "features.bin", feature_bytes, epochs, job, 0)
        signs = _records(folder / "signs.bin", sign_bytes, epochs, job, 1)
    frames = [_frame_cycles(row) for row in rows.tolist()]
    return Outcome(logits, frames, found, cycles, words, features, signs)


def _numbers(folder: Path, name: str) -> npt.NDArray[np.uint64]:
    return np.fromfile(folder / name, np.uint64)


def _frame_cycles(row: list[int]) -> FrameCycles:
    counters: dict[str, int] = dict(zip(COUNTERS, row[len(EVENTS) + 3 : FIXED], strict=True))
    stages = tuple(zip(row[FIXED::2], row[FIXED + 1 :: 2], strict=True))
    total, active = row[len(EVENTS) + 1 : len(EVENTS) + 3]
    shown = counters if any(counters.values()) else {}
    events = dict(zip(EVENTS, row, strict=False))
    return FrameCycles(**events, total=total, active=active, counters=shown, stages=stages)


def record_type(size: int) -> np.dtype[np.void]:
    """A recorded write with ``size`` bytes of data."""
    return np.dtype([
        ("cycle", np.uint64), ("enable", np.uint64), ("frame", np.uint32), ("stage", np.uint32),
        ("address", np.uint32), ("epoch", np.uint32), ("data", np.uint8, (size,)),
    ])  # fmt: skip


def _records(
    path: Path, size: int, epochs: npt.NDArray[np.uint64], job: Job, memory: int
) -> npt.NDArray[np.void]:
    """Writes of each frame's last attempt; what was written before a reset does not count.

    The writes of a batch are recorded as its first frame's: the address says whose they are.
    """
    records = np.fromfile(path, record_type(size))
    if job.batch > 1:
        number, records["address"] = np.divmod(records["address"], job.strides[memory])
        records["frame"] += number
    known = records[records["frame"] < len(epochs)]
    return known[known["epoch"] == epochs[known["frame"]]]
