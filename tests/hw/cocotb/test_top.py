"""The whole accelerator under Verilator, with weights on chip and streamed."""

from __future__ import annotations

import numpy as np
import pytest
from programs import Shape, random_frames, random_program

from r2b.backends.fpga.emit import TOPLEVEL, emit_verilog, model_hash, weight_bytes
from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.registers import MAGIC, REGISTERS
from r2b.hw.timing import predict
from r2b.ir.execute import logits
from r2b.ir.program import Window

SMALL = Shape(
    frame=(3, 9, 8),
    widths=(8, 12),
    pool=Window((3, 3), (2, 2), (1, 1, 1, 1)),
    blocks=1,
    classes=5,
)
TESTS = {"chip": 34, "stream": 36}


@pytest.mark.parametrize("source", ["chip", "stream"])
def test_top(testbench, tmp_path, source):
    """Results, counters, errors, resets over AXI."""
    program = random_program(1, SMALL)
    plan = make_plan(program, parallelism=(8, 8), weights=source, tile_pixels=16)
    geometry = ProgramGeometry(program, plan)
    frames = random_frames(program, 4)
    rtl = emit_verilog(program, plan, tmp_path)
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "expected.npy", logits(program, frames))
    config = plan.p_in | plan.p_out << 10 | 1 << 20 | plan.act_bits << 24
    names = testbench(
        rtl.read_text(),
        TOPLEVEL,
        "top_tb",
        folder=str(tmp_path),
        streamed=source == "stream",
        weight_bytes=weight_bytes(geometry).shape[1] if source == "stream" else 0,
        active=sum(stage.active for stage in predict(geometry)),
        offsets={register.name: register.offset for register in REGISTERS},
        identity={
            "ID": MAGIC,
            "MODEL_HASH": model_hash(program),
            "CONFIG": config | (source == "stream") << 29,
        },
    )
    assert len(names) == TESTS[source]
