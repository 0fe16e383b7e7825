"""The whole cost of an accelerator: stages, frames, traffic, shares of the device."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace

import pytest

from r2b.backends.cost.hardware import FRAMES, PIPELINE, cost
from r2b.backends.fpga.emit import weight_bytes
from r2b.backends.fpga.planner import make_plan
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.timing import predict
from tests.hw.families import FAMILIES
from tests.hw.programs import random_program

STREAM = {"parallelism": (8, 8), "weights": "stream", "weight_word": 24, "mac_weight_word": 24}
CHIP = {"parallelism": (16, 8)}
RUNS = [(name, CHIP if index % 2 else STREAM) for index, name in enumerate(FAMILIES)]


@pytest.mark.parametrize(("name", "changes"), RUNS, ids=lambda v: str(v)[:9])
def test_stages_and_frames(name, changes):
    """Cycles are the formula's; no stage is faster than a bound; later frames take as long."""
    net = FAMILIES[name](1)
    plan = make_plan(net, **changes)
    found, geometry = cost(net, plan), ProgramGeometry(net, plan)
    wanted = [(stage.name, stage.active) for stage in predict(geometry)]
    assert [(stage.name, stage.cycles) for stage in found.stages] == wanted
    assert found.frame_cycles == sum(stage.cycles for stage in found.stages)
    for stage in found.stages:
        assert max(stage.compute, stage.weights, stage.epilogue, stage.gate) <= stage.cycles
        assert 0 <= stage.executed <= stage.macs
        assert stage.utilisation_executed <= 1
        assert stage.binds in ("compute", "weights", "epilogue", "gate", PIPELINE)
    ends = [frame.last for frame in predict_frames(geometry, FRAMES + 4)][FRAMES - 1 :]
    assert {b - a for a, b in itertools.pairwise(ends)} == {found.interval}
    json.dumps(asdict(found))


def test_traffic():
    """Image and result once per frame; weights only where they are streamed, whole words."""
    net = random_program(1)
    plan = make_plan(net, **STREAM)
    found = cost(net, plan).bytes_per_frame
    channels, rows, cols = net.input_shape
    assert (found.image, found.result) == (channels * rows * cols, 4 * net.num_classes)
    assert found.weights == weight_bytes(ProgramGeometry(net, plan)).nbytes
    assert found.total == found.image + found.weights + found.result
    assert cost(net, make_plan(net, **CHIP)).bytes_per_frame.weights == 0


def test_frame_rate_and_shares():
    net = random_program(1)
    plan = make_plan(net, "xc7a100t", 120, (8, 8))
    found = cost(net, plan)
    assert found.fps() == 120e6 / found.interval
    assert found.fps(60) == found.fps() / 2
    assert found.device_shares["DSP"] == found.resources.total.dsp / 240
    assert list(found.device_shares) == ["LUT", "FF", "RAM18", "DSP"]
    mine = [stage for stage in found.stages if stage.engine == "binary"]
    assert found.engine_utilisation("binary") == pytest.approx(
        sum(stage.executed for stage in mine) / (64 * sum(stage.cycles for stage in mine))
    )
    assert found.engine_utilisation("none") == 0


def test_what_binds_a_frame():
    """A vector of many pixels and little to do waits for them; other frames are worked on."""
    net = FAMILIES["mlp"](1)
    assert cost(net, make_plan(net, **CHIP)).binds == "work"
    found = cost(net, make_plan(net, **STREAM))
    assert found.frame.wait_weights > 0
    work = found.frame_cycles
    frame = replace(found.frame, wait_input=work + 2, wait_weights=work + 1)
    assert replace(found, frame=frame).binds == "input"
    assert replace(found, frame=replace(frame, wait_weights=work + 3)).binds == "weights"
