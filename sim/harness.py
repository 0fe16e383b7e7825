"""Simulates an accelerator's Verilog on frames: NumPy arrays in, logits and cycle counts out."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.hw.batch import batch_of
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.plan import Plan
from r2b.hw.stem import transfer_bytes
from r2b.hw.weights import stream_words
from r2b.ir.errors import OutputError, ToolError, UserError
from r2b.ir.program import Program, ProgramError
from r2b.ir.serialize import load
from r2b.sim import verilator
from r2b.sim.job import (
    Access,
    Answer,
    FrameCycles,
    Job,
    Outcome,
    Progress,
    SimulationError,
    run_job,
)

__all__ = [
    "Access", "Answer", "Compiled", "FrameCycles", "SimResult", "SimulationError", "Simulator",
    "Streams", "read_compiled",
]  # fmt: skip

HEAD = "head"
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Streams:
    """What goes over an accelerator's streams.

    Parameters
    ----------
    input_shape : tuple of int
        C, H, W of a frame.
    classes : int
        Values per result.
    stages : tuple of str
        Names of the stages, without the head.
    words : tuple of int
        Weight stream of one frame, or batch; empty where the weights are on chip.
    word_bits : int
    batch : int
        Frames that the accelerator works on at a time.
    strides : tuple of int
        Words of feature memory and of sign memory of each of them.
    """

    input_shape: tuple[int, int, int]
    classes: int
    stages: tuple[str, ...] = ()
    words: tuple[int, ...] = ()
    word_bits: int = 8
    batch: int = 1
    strides: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, program: Program, plan: Plan) -> Streams:
        """Streams of a Program's accelerator."""
        geometry = ProgramGeometry(program, plan)
        words = stream_words(geometry) if plan.weights == "stream" else []
        batch = batch_of(geometry)
        names = tuple(stage.name for stage in program.stages)
        shape = program.input_shape
        return cls(shape, program.num_classes, names, tuple(words), plan.weight_word,
                   batch.frames, (batch.fm, batch.sm))  # fmt: skip

    def whole(self, frames: Frames) -> Frames:
        """The frames in whole batches: the last one is repeated until its batch is full."""
        missing = -len(frames) % self.batch
        return np.concatenate([frames, *[frames[-1:]] * missing]) if missing else frames

    def beats(self, frames: Frames) -> npt.NDArray[np.uint8]:
        """uint8 [N, transfers, bytes]: a pixel per transfer, or a part of one where it has many
        channels; the first channel in the lowest byte.
        """
        count, channels, rows, cols = frames.shape
        size = transfer_bytes(channels)
        pixels = np.ascontiguousarray(frames.transpose(0, 2, 3, 1))
        return pixels.reshape(count, rows * cols * channels // size, size)

    def word_bytes(self) -> npt.NDArray[np.uint8]:
        """uint8 [words, bytes], lowest byte first."""
        size = -(-self.word_bits // 8)
        content = b"".join(word.to_bytes(size, "little") for word in self.words)
        return np.frombuffer(content, np.uint8).reshape(-1, size)


@dataclass(frozen=True)
class SimResult:
    """What a simulation gave.

    Parameters
    ----------
    logits : ndarray
        int32 [results, classes]; a frame of a wrong length has no row.
    rows : list of int
        The frame of each row.
    frames : list of FrameCycles
    answers : list of Answer
        One per register access.
    cycles, words : int
        Simulated cycles, transfers of weights.
    seconds : float
        Wall time of the simulation itself.
    features, signs : ndarray or None
        Recorded memory writes, for :func:`r2b.sim.compare.compare`.
    trace_file : Path or None
    """

    logits: npt.NDArray[np.int32]
    rows: list[int]
    frames: list[FrameCycles]
    answers: list[Answer]
    cycles: int
    words: int
    seconds: float
    features: npt.NDArray[np.void] | None = None
    signs: npt.NDArray[np.void] | None = None
    trace_file: Path | None = None

    @property
    def rate(self) -> float:
        """Simulated cycles per second."""
        return self.cycles / max(self.seconds, 1e-9)


class Simulator:
    """An accelerator's Verilog, verilated, compiled and ready for frames.

    Parameters
    ----------
    sources : sequence of Path
        Verilog files.
    streams : Streams
    top : str
        The top module.

    Raises
    ------
    ToolError
        Verilator or the C++ compiler is missing or fails.
    """

    def __init__(
        self, sources: Sequence[Path], streams: Streams, *, top: str = verilator.TOP
    ) -> None:
        if not sources:
            raise ToolError("there is no Verilog to simulate")
        self.sources, self.streams, self.top = list(sources), streams, top
        self.built = verilator.build(self.sources, top=top)

    @classmethod
    def of_folder(cls, folder: Path) -> Simulator:
        """The accelerator in a folder written by ``r2b-compile --target fpga``."""
        compiled = read_compiled(folder)
        return cls(compiled.sources, Streams.of(compiled.program, compiled.plan))

    def simulate(
        self,
        frames: Frames,
        *,
        stalls: int | None = None,
        trace_file: Path | None = None,
        trace_window: tuple[int, int] = Job.window,
        record: bool = False,
        reset_at: Sequence[int] = (),
        gap: int = 0,
        back_to_back: bool = True,
        lengths: dict[int, int] | None = None,
        accesses: Sequence[Access] = (),
        idle_limit: int = Job.idle_limit,
        frame_limit: int = Job.frame_limit,
        jobs: int = 1,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> SimResult:
        """Run frames, one after the other.

        An accelerator that works on batches is sent whole ones: the last frame is repeated, and
        what the repetitions give is dropped.

        Parameters
        ----------
        frames : ndarray
            uint8 N x C x H x W.
        stalls : int, optional
            Seed of random gaps on all streams at once.
        trace_file : Path, optional
            ``.vcd`` or ``.fst``; uses a slower build.
        trace_window : tuple of int
            First cycle in the trace, and the first no longer in it.
        record : bool
            Keep every write to the feature memory and the sign memory.
        reset_at : sequence of int
            Cycles at which a reset begins; the first frame without a result then comes again, with
            its whole batch.
        gap : int
            Idle cycles between frames.
        back_to_back : bool
            Frames follow each other without waiting for results.
        lengths : dict, optional
            Frame -> pixels up to its TLAST: an early or a late one.
        accesses : sequence of Access
            To the AXI4-Lite registers.
        idle_limit, frame_limit : int
            Cycles after which a run counts as hung: without any event, without a result.
        jobs : int
            Processes; each takes an equal part of the frames, and begins with a reset.
        timeout : float, optional
            Seconds.
        progress : callable, optional
            Called with the number of results and the cycle.

        Raises
        ------
        SimulationError
            A hang (with stage and cycle), a broken protocol, a crash or a time-out.
        """
        check_frames(frames, self.streams.input_shape)
        built = self._traced(trace_file) if trace_file else self.built
        job = Job(
            self.streams.beats(self.streams.whole(frames)), self.streams.word_bytes(),
            self.streams.classes, len(self.streams.stages), stalls, record, trace_file,
            trace_window, lengths or {}, tuple(reset_at), tuple(accesses), gap, back_to_back,
            idle_limit, frame_limit, batch=self.streams.batch, strides=self.streams.strides,
        )  # fmt: skip
        begin = time.perf_counter()
        whole = trace_file or reset_at or lengths or accesses
        parts = _split(job, 1 if whole else max(1, jobs))
        outcome = _join(self._run(built.executable, parts, progress, timeout))
        pixels = job.beats.shape[1]
        good = [n for n in range(len(frames)) if job.lengths.get(n, pixels) == pixels]
        count = len(frames)
        return SimResult(
            outcome.logits[: len(good)], good, outcome.frames[:count], outcome.answers,
            outcome.cycles, outcome.words, time.perf_counter() - begin,
            _of_frames(outcome.features, count), _of_frames(outcome.signs, count), trace_file,
        )  # fmt: skip

    def _traced(self, path: Path) -> verilator.Build:
        """A build that writes such a trace file."""
        waves = path.suffix.removeprefix(".")
        if waves not in verilator.WAVES:
            raise OutputError(f"a trace file ends in .vcd or .fst, not {path.name!r}")
        # first: a build that fails leaves no empty trace
        built = verilator.build(self.sources, top=self.top, waves=waves)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        return built

    def _run(
        self, executable: Path, parts: list[Job], progress: Progress | None, timeout: float | None
    ) -> list[Outcome]:
        """One process per part; reports of progress are added up."""
        states = [(0, 0)] * len(parts)
        names = (*self.streams.stages, HEAD)
        ended = threading.Event()

        def one(index: int) -> Outcome:
            def report(done: int, cycle: int) -> None:
                if ended.is_set():  # raised inside run_job, which then ends its process
                    raise SimulationError("another part of the run has ended it")
                states[index] = (done, cycle)
                if progress is not None:
                    progress(sum(s[0] for s in states), sum(s[1] for s in states))

            with tempfile.TemporaryDirectory(prefix="r2b-sim-") as folder:
                return run_job(
                    executable, parts[index], Path(folder), stage_names=names, progress=report,
                    timeout=timeout,
                )  # fmt: skip

        with ThreadPoolExecutor(len(parts)) as pool:
            try:
                return list(pool.map(one, range(len(parts))))
            except BaseException:
                ended.set()
                raise


def _of_frames(records: npt.NDArray[np.void] | None, count: int) -> npt.NDArray[np.void] | None:
    """Without what was recorded of repeated frames."""
    return None if records is None else records[records["frame"] < count]


def _split(job: Job, parts: int) -> list[Job]:
    """Equal runs of frames, whole batches; each has its own seed."""
    if parts == 1 or len(job.beats) < 2 * job.batch:
        return [job]
    numbers = np.arange(len(job.beats)).reshape(-1, job.batch)
    pieces = [job.beats[n.ravel()] for n in np.array_split(numbers, parts) if len(n)]
    split: list[Job] = []
    first = 0
    for number, piece in enumerate(pieces):
        seed = None if job.seed is None else job.seed + (number << 32)
        split.append(replace(job, beats=piece, seed=seed, first=first))
        first += len(piece)
    return split


def _join(outcomes: list[Outcome]) -> Outcome:
    """One outcome of consecutive runs; frames are counted on, cycles are each run's own."""
    if len(outcomes) == 1:
        return outcomes[0]
    offset = 0
    for outcome in outcomes:
        for records in (outcome.features, outcome.signs):
            if records is not None:
                records["frame"] += offset
        offset += len(outcome.frames)

    def together(name: str) -> npt.NDArray[Any] | None:
        found = [getattr(outcome, name) for outcome in outcomes]
        return None if found[0] is None else np.concatenate(found)

    return Outcome(
        np.concatenate([outcome.logits for outcome in outcomes]),
        [frame for outcome in outcomes for frame in outcome.frames],
        [],
        sum(outcome.cycles for outcome in outcomes),
        sum(outcome.words for outcome in outcomes),
        together("features"),
        together("signs"),
    )


def check_frames(frames: Frames, shape: tuple[int, int, int]) -> None:
    """UserError unless frames are uint8 N x C x H x W of this shape."""
    wanted = " x ".join(map(str, shape))
    if frames.dtype != np.uint8:
        raise UserError(f"frames must be uint8, not {frames.dtype}: N x {wanted}, values 0 to 255")
    if frames.ndim != 4 or frames.shape[1:] != tuple(shape):
        found = " x ".join(map(str, frames.shape)) or "a single number"
        raise UserError(f"frames must be N x {wanted} for this network, not {found}")


@dataclass(frozen=True)
class Compiled:
    """What ``r2b-compile --target fpga`` wrote: Program, Plan and Verilog files."""

    program: Program
    plan: Plan
    sources: list[Path]


def read_compiled(folder: Path) -> Compiled:
    """Read a compiled folder; UserError names what is missing or does not fit."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder; r2b-compile MODEL --target fpga -o {folder} makes one"
        )
    sources = sorted((folder / "rtl").glob("*.v"))
    missing = [name for name in ("program.json", "weights.npz", "plan.json")
               if not (folder / name).is_file()]  # fmt: skip
    missing += [] if sources else ["rtl/*.v"]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(missing)}; compile with r2b-compile MODEL --target fpga"
        )
    try:
        program, plan = load(folder), Plan.read(folder / "plan.json")
        plan.require_placed(program)
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{folder} cannot be read: {error}") from None
    if plan.act_bits != program.act_bits:
        raise UserError(
            f"{folder}: plan.json has activations of {plan.act_bits} bits, program.json of "
            f"{program.act_bits}, so they do not belong together; compile again"
        )
    return Compiled(program, plan, sources)
