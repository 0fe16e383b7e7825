"""Whole accelerators under Verilator: every form of stage, bit-exact and as fast as predicted."""

from __future__ import annotations

import pytest

from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.timing import predict
from r2b.sim.harness import Simulator, Streams
from r2b.sim.verify import verify
from tests.hw.families import FAMILIES, kernels
from tests.hw.programs import random_frames

CHIP = {"parallelism": (8, 8), "tile_pixels": 16}
STREAMED = {"parallelism": (8, 4), "weights": "stream", "tile_pixels": 9}
WHOLE = STREAMED | {"vector": "stream", "lanes": 4, "mac_out": 4}
"""The vector unit streamed, too, and sums of windows buffered."""
PACKED = {"parallelism": (8, 8), "tile_pixels": 16, "mac_packing": 2, "batch": 2}
MIXED = {
    "parallelism": (8, 4), "weights": "stream", "tile_pixels": 9, "lanes": 2, "mac_out": 14,
    "hop": 3, "mac_packing": 2, "lut_macs": 11,
}  # fmt: skip
OTHERS = dict.fromkeys(("react", "gates", "dense"), WHOLE) | {
    "padded": {"parallelism": (8, 8, 2), "tile_pixels": 5},
    "kernels": {"parallelism": (8, 4, 4), "weights": "stream", "tile_pixels": 3},
}
"""Families that run in another way; the last two with several pixels at a time."""
PROGRAMS = FAMILIES | {"kernels": kernels}
RUNS = [
    (name, index + 1, OTHERS.get(name, CHIP if index % 2 else STREAMED))
    for index, name in enumerate(PROGRAMS)
]
RUNS += [("gates", 5, PACKED), ("factors", 6, MIXED)]
RUNS += [("react", 7, CHIP | {"device_name": "ecp5-85f", "parallelism": (16, 8)})]
"""Equal bits are counted in another way for LUTs of four inputs."""
FRAMES = 4


@pytest.mark.parametrize(("name", "seed", "changes"), RUNS, ids=lambda v: str(v)[:9])
def test_bit_exact_and_predicted(name, seed, changes, tmp_path):
    """Every stored tensor, sign map and logit; active cycles per stage; cycles per frame."""
    program = PROGRAMS[name](seed)
    plan = make_plan(program, **changes)
    frames = random_frames(program, FRAMES)
    simulator = Simulator([emit_verilog(program, plan, tmp_path)], Streams.of(program, plan))
    found = verify(simulator, program, plan, frames)
    assert found.report.equal, found.report.first
    assert found.report.total == 0
    geometry = ProgramGeometry(program, plan)
    wanted = [stage.active for stage in predict(geometry)]
    assert [[active for active, _ in f.stages] for f in found.frames] == [wanted] * FRAMES
    expected = predict_frames(geometry, FRAMES // plan.batch)
    totals = [(frame.total, frame.active) for frame in found.frames[:: plan.batch]]
    assert totals == [(f.cycles, f.active) for f in expected]
