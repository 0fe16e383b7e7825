"""What the accelerator promises whatever happens on its streams."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.backends.fpga.planner import make_plan
from r2b.ir.execute import logits
from r2b.sim.verify import verify

SEEDS = range(20)
PLANS = {
    "chip": {"parallelism": (16, 16)},
    "stream": {"parallelism": (16, 32, 2), "weights": "stream", "vector": "stream"},
}


@pytest.fixture(scope="module", params=PLANS.values(), ids=PLANS)
def machine(request, digits, accelerator):
    plan = make_plan(digits.program, **request.param)
    return plan, accelerator(digits.program, plan)


def test_stalls_change_nothing(digits, machine):
    plan, simulator = machine
    frames = digits.frames[:3]
    calm = verify(simulator, digits.program, plan, frames)
    waits = set()
    for seed in SEEDS:
        found = verify(simulator, digits.program, plan, frames, stalls=seed)
        assert found.report.total == 0, (seed, found.report.first)
        assert [f.active for f in found.frames] == [f.active for f in calm.frames]
        waits.add(sum(f.total - f.active for f in found.frames))
    assert len(waits) > 1  # the stalls did reach the core


def test_every_cycle_is_charged_once(digits, machine):
    _, simulator = machine
    result = simulator.simulate(digits.frames[:3], stalls=5)
    for frame in result.frames:
        causes = ("active", "wait_input", "wait_weights", "wait_output")
        assert frame.counters["cycles"] == frame.total
        assert sum(frame.counters[c] for c in causes) == frame.total
        assert frame.counters["active"] == frame.active


def test_back_to_back_frames_leave_no_gap(digits, machine):
    _, simulator = machine
    result = simulator.simulate(digits.frames[:4])
    starts = [f.start for f in result.frames]
    ends = [f.done for f in result.frames]
    assert [a - b for a, b in zip(starts[1:], ends[:-1], strict=True)] == [2, 2, 2]


@pytest.mark.parametrize("cycle", [3, 150, 700, 2500, 4000, 6000, 9000])
def test_reset_in_mid_frame(digits, machine, cycle):
    _, simulator = machine
    frames = digits.frames[:2]
    result = simulator.simulate(frames, reset_at=[cycle])
    np.testing.assert_array_equal(result.logits, logits(digits.program, frames))


# the longest tail outlasts the whole run of its own frame
@pytest.mark.parametrize("length", [1, 100, 255, 257, 300, 16_000])
def test_wrong_length_gives_no_result_and_harms_no_other(digits, machine, length):
    _, simulator = machine
    frames = digits.frames[:3]
    result = simulator.simulate(frames, lengths={1: length})
    np.testing.assert_array_equal(result.logits, logits(digits.program, frames[[0, 2]]))


def test_saturation_at_the_extremes(digits, machine):
    plan, simulator = machine
    rng = np.random.default_rng(0)
    shape = digits.program.input_shape
    frames = np.stack([
        np.zeros(shape), np.full(shape, 255), rng.integers(0, 2, shape) * 255
    ]).astype(np.uint8)  # fmt: skip
    assert verify(simulator, digits.program, plan, frames).report.total == 0
