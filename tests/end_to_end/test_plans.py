"""One network, many Plans: every one bit-exact, and as fast as predicted, to the cycle."""

from __future__ import annotations

import pytest

from r2b.backends.fpga.planner import make_plan
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.timing import predict
from r2b.sim.verify import verify

PLANS = {
    "8x8": {"parallelism": (8, 8)},
    "16x16": {"parallelism": (16, 16)},
    "32x32": {"parallelism": (32, 32), "lanes": 8, "mac_out": 16},
    "64x64 default": {},
    "16x32x2 streamed": {"parallelism": (16, 32, 2), "weights": "stream"},
    "32x16 streamed, narrow bus": {
        "parallelism": (32, 16), "weights": "stream", "weight_word": 32, "mac_weight_word": 32,
        "tile_pixels": 20,
    },
    "7x5 surplus lanes": {"parallelism": (7, 5), "mac_out": 12, "tile_pixels": 9, "hop": 2},
}  # fmt: skip


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS)
def test_plan_is_bit_exact_and_predicted(digits, accelerator, changes):
    plan = make_plan(digits.program, **changes)
    frames = digits.frames[:8]
    found = verify(accelerator(digits.program, plan), digits.program, plan, frames)
    assert found.report.total == 0, found.report.first
    geometry = ProgramGeometry(digits.program, plan)
    wanted = [stage.active for stage in predict(geometry)]
    assert [[active for active, _ in f.stages] for f in found.frames] == [wanted] * len(frames)
    expected = predict_frames(geometry, len(frames))
    assert [(f.total, f.active) for f in found.frames] == [(f.cycles, f.active) for f in expected]


def test_cycles_fall_with_parallelism(digits):
    totals = []
    for parallelism in ((4, 4), (8, 8), (16, 16), (32, 32)):
        plan = make_plan(digits.program, parallelism=parallelism, lanes=4, mac_out=32)
        totals.append(sum(s.active for s in predict(ProgramGeometry(digits.program, plan))))
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == len(totals)
