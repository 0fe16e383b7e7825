"""Comparison of recorded writes: every planted fault is found and named exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r2b.ir.execute import execute
from r2b.ir.program import Program
from r2b.sim.compare import Report, compare
from r2b.sim.harness import SimResult, Simulator
from tests.sim.conftest import Accelerator


@pytest.fixture(scope="module")
def simulator(accelerator: Accelerator) -> Simulator:
    return Simulator.of_folder(accelerator.folder)


@pytest.fixture
def recorded(accelerator: Accelerator, simulator: Simulator) -> SimResult:
    return simulator.simulate(accelerator.frames, record=True)


def check(accelerator: Accelerator, result: SimResult) -> Report:
    expected = execute(accelerator.program, accelerator.frames)
    return compare(accelerator.program, accelerator.plan, result, expected)


def with_features(result: SimResult, features: np.ndarray) -> SimResult:
    return SimResult(**dict(vars(result), features=features))


def find(accelerator: Accelerator, records: np.ndarray, frame: int, stage: str) -> np.ndarray:
    names = [s.name for s in accelerator.program.stages]
    return np.flatnonzero((records["frame"] == frame) & (records["stage"] == names.index(stage)))


def test_real_accelerator_is_equal(
    accelerator: Accelerator, simulator: Simulator, recorded: SimResult
) -> None:
    report = check(accelerator, recorded)
    assert report.equal and report.total == 0 and report.first is None
    frames, program = len(accelerator.frames), accelerator.program
    expected = sum(np.prod(program.tensors[t].shape) * program.act_bits for t in stored(program))
    expected += sum(np.prod(shape) for shape in program.sign_shapes.values())
    assert sum(report.compared_bits.values()) == frames * (expected + 32 * program.num_classes)
    stalled = simulator.simulate(accelerator.frames, record=True, stalls=1, reset_at=[300])
    assert check(accelerator, stalled).equal
    for frame, again in zip(recorded.frames, stalled.frames, strict=True):
        assert frame.active == again.active
        assert frame.counters["active"] == frame.active
        assert frame.counters["cycles"] == frame.total


@pytest.mark.parametrize("stalls", [None, 1])
def test_short_and_long_frames(
    accelerator: Accelerator, simulator: Simulator, stalls: int | None
) -> None:
    frames = np.concatenate([accelerator.frames, accelerator.frames])
    result = simulator.simulate(frames, lengths={0: 5, 2: 80, 5: 35}, record=True, stalls=stalls)
    assert result.rows == [1, 3, 4]
    good = frames[result.rows]
    assert (result.logits == execute(accelerator.program, good).logits).all()
    expected = execute(accelerator.program, good)
    assert compare(accelerator.program, accelerator.plan, result, expected).equal


def stored(program: Program) -> list[str]:
    return [s.tensor for s in program.stages if s.tensor is not None]


def test_single_bit_of_a_tensor(accelerator: Accelerator, recorded: SimResult) -> None:
    stage = accelerator.program.stages[0]
    assert stage.tensor is not None and recorded.features is not None
    channels, _, cols = accelerator.program.tensors[stage.tensor].shape
    lanes, bits = accelerator.plan.lanes, accelerator.program.act_bits
    place = find(accelerator, recorded.features, 1, stage.name)[5]
    record = recorded.features[place]
    word = int(record["address"]) - accelerator.plan.tensors[stage.tensor]
    pixel, group = divmod(word, -(-channels // lanes))
    lane, bit = 1, bits - 1
    position = lane * bits + bit
    recorded.features["data"][place, position // 8] ^= 1 << position % 8
    report = check(accelerator, recorded)
    index = (group * lanes + lane, *divmod(pixel, cols))
    value = int(execute(accelerator.program, accelerator.frames).tensors[stage.tensor][1][index])
    got = value ^ -(1 << bit)
    assert report.total == 1
    assert report.differing_bits[stage.name, stage.tensor] == 1
    assert len(report.mismatches) == 1
    place_text = ", ".join(map(str, index))
    assert str(report.first) == (
        f"frame 1, stage {stage.name}, {stage.tensor}[{place_text}], cycle {record['cycle']}:"
        f" expected {value}, got {got}"
    )


def test_single_bit_of_a_sign_map(accelerator: Accelerator, recorded: SimResult) -> None:
    stage = next(s for s in accelerator.program.stages if s.signs)
    assert recorded.signs is not None
    place = find(accelerator, recorded.signs, 2, stage.name)[3]
    recorded.signs["data"][place, 0] ^= 1
    report = check(accelerator, recorded)
    assert report.total == 1 and report.first is not None
    first = report.first
    assert (first.frame, first.stage, first.tensor) == (2, stage.name, stage.signs[0].name)
    assert first.cycle == recorded.signs["cycle"][place]
    assert {first.expected, first.got} == {0, 1}


def test_first_difference_is_the_one_written_first(
    accelerator: Accelerator, recorded: SimResult
) -> None:
    stage = accelerator.program.stages[0]
    assert recorded.features is not None
    places = find(accelerator, recorded.features, 0, stage.name)
    recorded.features["data"][places[[9, 4]], 0] ^= 1
    report = check(accelerator, recorded)
    assert report.total == 2 and report.first is not None
    assert report.first.cycle == recorded.features["cycle"][places[4]]


def test_missing_write(accelerator: Accelerator, recorded: SimResult) -> None:
    stage = accelerator.program.stages[0]
    assert recorded.features is not None
    place = find(accelerator, recorded.features, 1, stage.name)[0]
    report = check(accelerator, with_features(recorded, np.delete(recorded.features, place)))
    assert report.total > 0 and report.first is not None
    assert report.first.got is None
    assert str(report.first).endswith("got nothing")


def test_write_that_comes_twice(accelerator: Accelerator, recorded: SimResult) -> None:
    stage = accelerator.program.stages[0]
    assert recorded.features is not None
    place = find(accelerator, recorded.features, 1, stage.name)[0]
    records = np.insert(recorded.features, place, recorded.features[place])
    report = check(accelerator, with_features(recorded, records))
    assert report.total == 0 and not report.equal and report.first is not None
    assert report.first.note == "1 words written more than once, the first 2 times"


def test_write_outside_its_memory(accelerator: Accelerator, recorded: SimResult) -> None:
    assert recorded.features is not None
    extra = recorded.features[:1].copy()
    extra["address"] = 9999
    records = np.concatenate([recorded.features, extra])
    report = check(accelerator, with_features(recorded, records))
    assert report.first is not None
    assert report.first.note == "1 writes outside its memory, the first to word 9999"


def test_logits(accelerator: Accelerator, recorded: SimResult) -> None:
    recorded.logits[2, 1] ^= 5
    report = check(accelerator, recorded)
    assert report.total == 2 and report.first is not None
    first = report.first
    assert (first.frame, first.stage, first.tensor, first.index) == (2, "head", "logits", (1,))
    assert first.got == recorded.logits[2, 1]


def test_needs_a_record(accelerator: Accelerator, simulator: Simulator, tmp_path: Path) -> None:
    result = simulator.simulate(accelerator.frames)
    with pytest.raises(ValueError, match="record=True"):
        check(accelerator, result)
    assert (result.logits == execute(accelerator.program, accelerator.frames).logits).all()
