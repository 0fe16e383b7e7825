"""The harness against a stand-in accelerator that sums pixels and counts broken rules."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from r2b.ir.errors import OutputError, ToolError, UserError
from r2b.sim import verilator
from r2b.sim.harness import Access, SimulationError, Simulator
from tests.sim.conftest import WEIGHTS

PIXELS = 16


def make_frames(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (count, 3, 4, 4), dtype=np.uint8)


def sums(frames: np.ndarray) -> list[int]:
    return frames.astype(int).sum(axis=(1, 2, 3)).tolist()


def test_frames_in_results_out(stand_in: Simulator) -> None:
    frames = make_frames(5)
    result = stand_in.simulate(frames)
    assert result.logits.dtype == np.int32
    assert result.logits[:, 0].tolist() == sums(frames)
    assert result.logits[:, 1].tolist() == [0] * 5
    assert result.rows == [0, 1, 2, 3, 4]


def test_no_frames(stand_in: Simulator) -> None:
    assert stand_in.simulate(make_frames(0)).logits.shape == (0, 2)


@pytest.mark.parametrize("seed", range(20))
def test_stalls_change_nothing_and_break_no_rule(stand_in: Simulator, seed: int) -> None:
    frames = make_frames(6, seed)
    result = stand_in.simulate(frames, stalls=seed)
    assert result.logits[:, 0].tolist() == sums(frames)
    assert result.logits[:, 1].tolist() == [0] * 6


def test_stalls_are_reproducible_and_differ_by_seed(stand_in: Simulator) -> None:
    frames = make_frames(6)
    runs = [stand_in.simulate(frames, stalls=seed, record=True) for seed in (3, 3, 4)]
    assert runs[0].frames == runs[1].frames
    assert runs[0].features is not None and runs[1].features is not None
    assert np.array_equal(runs[0].features, runs[1].features)
    assert runs[0].frames != runs[2].frames
    assert runs[0].cycles > stand_in.simulate(frames).cycles


def test_cycles_are_charged_once(stand_in: Simulator) -> None:
    for stalls in (None, 1):
        for frame in stand_in.simulate(make_frames(3), stalls=stalls).frames:
            assert len(frame.stages) == 2
            assert sum(a for a, _ in frame.stages) == frame.active
            assert sum(a + w for a, w in frame.stages) == frame.total
            assert frame.total == frame.done - frame.start + 1
            assert frame.first_beat < frame.last_beat < frame.first_result < frame.last_result
            assert frame.latency == frame.last_result - frame.first_beat + 1


def test_gap_and_waiting_for_results(stand_in: Simulator) -> None:
    frames = make_frames(4)
    gaps = stand_in.simulate(frames, gap=100).frames
    assert all(b.first_beat - a.last_beat > 100 for a, b in pairwise(gaps))
    alone = stand_in.simulate(frames, back_to_back=False).frames
    assert all(b.first_beat > a.last_result for a, b in pairwise(alone))


def test_weights_are_sent_once_per_frame(stand_in_with_weights: Simulator) -> None:
    frames = make_frames(4)
    for stalls in (None, 2):
        result = stand_in_with_weights.simulate(frames, stalls=stalls)
        assert result.logits[:, 0].tolist() == [s + sum(WEIGHTS) for s in sums(frames)]
        assert result.words in range(4 * len(WEIGHTS), 5 * len(WEIGHTS) + 1)


@pytest.mark.parametrize("stalls", [None, 5])
def test_reset_in_mid_frame(stand_in_with_weights: Simulator, stalls: int | None) -> None:
    frames = make_frames(4)
    result = stand_in_with_weights.simulate(
        frames, reset_at=[20, 70, 71, 110], record=True, stalls=stalls
    )
    assert result.logits[:, 0].tolist() == [s + sum(WEIGHTS) for s in sums(frames)]
    assert result.features is not None
    counts = np.unique(result.features["frame"], return_counts=True)[1]
    assert counts.tolist() == [PIXELS] * 4


def test_records_hold_every_write(stand_in: Simulator) -> None:
    frames = make_frames(2)
    result = stand_in.simulate(frames, record=True)
    features, signs = result.features, result.signs
    assert features is not None and signs is not None
    assert features["address"].tolist() == list(range(PIXELS)) * 2
    assert features["data"][:, :3].tolist() == frames.transpose(0, 2, 3, 1).reshape(-1, 3).tolist()
    odd = frames[:, 0].ravel() & 1 == 1
    assert signs["address"].tolist() == np.tile(np.arange(PIXELS), 2)[odd].tolist()
    assert signs["data"][:, 0].tolist() == (frames[:, 0].ravel()[odd] >> 1 & 1).tolist()
    assert (np.diff(features["cycle"].astype(int)) > 0).all()


@pytest.mark.parametrize("stalls", [None, 9])
def test_registers(stand_in: Simulator, stalls: int | None) -> None:
    accesses = [Access(8, at=10), Access(8, 0xCAFE0123, at=10), Access(8)]
    result = stand_in.simulate(make_frames(2), accesses=accesses, stalls=stalls)
    read, written, again = result.answers
    assert (read.data, read.response) == (0, 2)
    assert (written.data, written.response) == (0xCAFE0123, 0)
    assert (again.data, again.response) == (0xCAFE0123, 0)
    assert 10 <= read.cycle < written.cycle < result.frames[1].last_result < again.cycle


def test_processes_share_the_frames(stand_in: Simulator) -> None:
    frames = make_frames(7)
    result = stand_in.simulate(frames, jobs=3, record=True)
    assert result.logits[:, 0].tolist() == sums(frames)
    assert result.features is not None
    assert np.unique(result.features["frame"]).tolist() == list(range(7))


def test_hang_names_stage_and_cycle(stand_in: Simulator) -> None:
    frames = make_frames(3)
    frames[1, 0, 0, 0] = 255
    with pytest.raises(SimulationError) as caught:
        stand_in.simulate(frames, idle_limit=500)
    text = (
        rf"^hang at frame 1, stage 0 \(sum\), cycle {caught.value.cycle}: no transfer, no memory"
        r" write and no change of stage for 500 cycles$"
    )
    assert re.search(text, str(caught.value))
    assert caught.value.event < caught.value.cycle - 499


def test_endless_work_is_a_hang(stand_in: Simulator) -> None:
    frames = make_frames(1)
    frames[0, 0, 0, 0] = 253
    with pytest.raises(SimulationError, match=r"^hang at frame 0, .*: no result for 3000 cycles$"):
        stand_in.simulate(frames, frame_limit=3000)


def test_time_out(stand_in: Simulator) -> None:
    frames = make_frames(1)
    frames[0, 0, 0, 0] = 253
    with pytest.raises(SimulationError, match=r"^no end after 0.5 s, at about cycle \d+$"):
        stand_in.simulate(frames, timeout=0.5)


def test_crash_is_an_error(stand_in: Simulator) -> None:
    frames = make_frames(2)
    frames[1, 0, 0, 0] = 254
    with pytest.raises(
        SimulationError, match=r"stopped with status 1, after result 1, (.|\n)*stand_in.v"
    ):
        stand_in.simulate(frames)


def test_trace_file(stand_in: Simulator, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.vcd", tmp_path / "part.vcd"
    frames = make_frames(2)
    result = stand_in.simulate(frames, trace_file=whole)
    stand_in.simulate(frames, trace_file=part, trace_window=(20, 40))
    assert result.logits[:, 0].tolist() == sums(frames)
    assert "trace_fm_data" in whole.read_text()
    times = [int(t) for t in re.findall(r"^#(\d+)$", part.read_text(), re.MULTILINE)]
    assert min(times) >= 40 and max(times) <= 81


def test_trace_file_of_another_kind(stand_in: Simulator, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^a trace file ends in .vcd or .fst, not 'x.txt'$"):
        stand_in.simulate(make_frames(1), trace_file=tmp_path / "x.txt")


def test_failed_build_leaves_no_trace_file(
    stand_in: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ToolError("no")

    monkeypatch.setattr(verilator, "build", fail)
    with pytest.raises(ToolError):
        stand_in.simulate(make_frames(1), trace_file=tmp_path / "waves" / "x.fst")
    assert not list(tmp_path.iterdir())


def test_interruption_ends_every_process(stand_in: Simulator) -> None:
    frames = make_frames(2)
    frames[1, 0, 0, 0] = 253  # endless work

    def interrupt(done: int, cycle: int) -> None:
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stand_in.simulate(frames, jobs=2, frame_limit=1 << 40, timeout=60, progress=interrupt)
    assert time.monotonic() - begin < 50


def test_frames_of_another_kind(stand_in: Simulator) -> None:
    with pytest.raises(UserError, match=r"^frames must be uint8, not int64: N x 3 x 4 x 4, "):
        stand_in.simulate(make_frames(1).astype(np.int64))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"^frames must be N x 3 x 4 x 4 for this network, not 3$"):
        stand_in.simulate(np.zeros(3, np.uint8))
