"""Batches of frames: bit-exact, as fast as predicted; what happens to one frame harms no other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from r2b.backends.cost.hardware import cost
from r2b.backends.fpga.emit import emit_verilog, weight_bytes
from r2b.backends.fpga.planner import make_plan
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.plan import MOST_FRAMES, Plan
from r2b.hw.registers import offset_of
from r2b.hw.timing import predict
from r2b.hw.weights import vector_tables_of
from r2b.ir.errors import PlanError
from r2b.ir.execute import execute, logits
from r2b.ir.program import Program, Window
from r2b.sim.compare import compare
from r2b.sim.harness import Access, Simulator, Streams
from r2b.sim.verify import verify
from tests.hw.families import FAMILIES
from tests.hw.programs import random_frames, random_program

BATCH = 4
SMALL = {
    "parallelism": (4, 4, 2), "lanes": 4, "mac_out": 4, "gate_macs": 8, "tile_pixels": 24,
    "weights": "stream", "vector": "stream", "weight_word": 64, "mac_weight_word": 64,
    "presum_buffer": False,
}  # fmt: skip
"""Several tiles to a frame, or two frames to a tile; all weights streamed."""


@dataclass(frozen=True)
class Machine:
    """An accelerator of batches, frames, and what the Program says of them."""

    program: Program
    plan: Plan
    simulator: Simulator
    frames: np.ndarray
    logits: np.ndarray


@cache
def network() -> tuple[Program, Plan]:
    """A stem that leaves the frame's last row unread, a static and a gated block, half as large."""
    program = random_program(
        5, frame=(1, 17, 16), stem=Window((2, 2), (2, 2)), widths=(4, 6), blocks=1,
        gated=(False, True), classes=3, act_bits=9, pool=None,
    )  # fmt: skip
    return program, make_plan(program, **SMALL, batch=BATCH)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    program, plan = network()
    folder = tmp_path_factory.mktemp("batch")
    simulator = Simulator([emit_verilog(program, plan, folder)], Streams.of(program, plan))
    frames = random_frames(program, 3 * BATCH)
    return Machine(program, plan, simulator, frames, logits(program, frames))


def check(program, plan, simulator, frames):
    """Every stored bit; active cycles per stage, and cycles per batch."""
    found, geometry = verify(simulator, program, plan, frames), ProgramGeometry(program, plan)
    assert found.report.equal, found.report.first
    wanted = [stage.active for stage in predict(geometry)]
    assert [[n for n, _ in f.stages] for f in found.frames] == [wanted] * len(frames)
    batches = predict_frames(geometry, len(frames) // plan.batch)
    expected = [(b.cycles, b.active) for b in batches for _ in range(plan.batch)]
    assert [(f.total, f.active) for f in found.frames] == expected
    return found


def test_factors_of_every_kind(tmp_path):
    """By channel, pixel and position, tables and pooling; two frames to a tile."""
    program = FAMILIES["factors"](7)
    plan = make_plan(program, parallelism=(8, 8), tile_pixels=112, batch=2)
    simulator = Simulator([emit_verilog(program, plan, tmp_path)], Streams.of(program, plan))
    check(program, plan, simulator, random_frames(program, 2 * plan.batch))


def test_stalls_change_nothing(machine):
    """Nor does a last batch that is not full; every cycle is charged once."""
    calm = check(machine.program, machine.plan, machine.simulator, machine.frames)
    frames, waits = machine.frames[: 2 * BATCH + 1], set()
    for seed in range(8):
        found = verify(machine.simulator, machine.program, machine.plan, frames, stalls=seed)
        assert found.report.equal, (seed, found.report.first)
        np.testing.assert_array_equal(found.logits, machine.logits[: len(frames)])
        for frame in found.frames:
            causes = ("active", "wait_input", "wait_weights", "wait_output")
            assert sum(frame.counters[c] for c in causes) == frame.counters["cycles"]
            assert (frame.counters["cycles"], frame.counters["active"]) == (
                frame.total, calm.frames[0].active,
            )  # fmt: skip
        waits.add(sum(f.total - f.active for f in found.frames))
    assert len(waits) > 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_frames(machine, count):
    """Also in several processes, and where a frame waits for the results before it."""
    frames = machine.frames[:count]
    for more in ({}, {"jobs": 2}, {"back_to_back": False, "gap": 40}):
        result = machine.simulator.simulate(frames, record=True, **more)
        found = compare(machine.program, machine.plan, result, execute(machine.program, frames))
        assert found.equal, found.first
        np.testing.assert_array_equal(result.logits, machine.logits[:count])
        assert len(result.frames) == count


LENGTHS = [
    {0: 1}, {1: 271}, {3: 273}, {4: 300}, {1: 16_000}, {3: 16_000}, {0: 300, 2: 5},
    {0: 9, 1: 99, 2: 9, 3: 9},
]  # fmt: skip


@pytest.mark.parametrize("lengths", LENGTHS)
def test_wrong_length_gives_no_result_and_harms_no_other(machine, lengths):
    """Within the batch and after it; long tails outlast the whole run of their batch."""
    names = ("FRAMES", "DROPPED")
    result = machine.simulator.simulate(
        machine.frames[: 2 * BATCH], lengths=lengths,
        accesses=[Access(offset_of(name)) for name in names],
    )  # fmt: skip
    good = [n for n in range(2 * BATCH) if n not in lengths]
    np.testing.assert_array_equal(result.logits, machine.logits[good])
    assert [answer.data for answer in result.answers] == [len(good), len(lengths)]


def test_reset_in_mid_batch(machine):
    """The whole batch comes again; a result that was on its way comes once."""
    frames = machine.frames[: 2 * BATCH]
    end = machine.simulator.simulate(frames).cycles
    expected = execute(machine.program, frames)
    for cycle in (3, 150, *range(400, end, 991)):
        result = machine.simulator.simulate(frames, reset_at=[cycle], record=True)
        np.testing.assert_array_equal(result.logits, machine.logits[: 2 * BATCH])
        assert compare(machine.program, machine.plan, result, expected).equal, cycle


def test_weights_come_once_per_batch(machine):
    """Those of the arrays: the vector unit is sent its own per frame; memories are per frame."""
    program, plan = network()
    alone = make_plan(program, **SMALL)
    batches, frames = cost(program, plan), cost(program, alone)
    several, one = (ProgramGeometry(program, p) for p in (plan, alone))
    vector = 8 * len(vector_tables_of(one).weights)
    assert weight_bytes(several).nbytes == weight_bytes(one).nbytes + (BATCH - 1) * vector
    assert batches.bytes_per_frame.weights == weight_bytes(several).nbytes / BATCH
    assert frames.bytes_per_frame.weights == weight_bytes(one).nbytes
    assert batches.interval == batches.period / BATCH
    assert batches.fps(1) == pytest.approx(1e6 / batches.interval)
    assert (plan.tensors, plan.signs) == (alone.tensors, alone.signs)
    convs = ProgramGeometry(program, plan).convs
    assert {conv.tile_frames for conv in convs} == {1, 2}
    for conv, stage, single in zip(convs, batches.stages[:-1], frames.stages[:-1], strict=True):
        assert stage.macs == BATCH * single.macs
        assert stage.loaded == BATCH // conv.tile_frames * single.loaded
        assert max(stage.compute, stage.weights, stage.epilogue, stage.gate) <= stage.cycles


def test_small_images_are_worth_a_batch():
    """Less than half of the cycles per frame, where the array waits for weights."""
    program = random_program(5, widths=(16, 64), blocks=2)
    bus = {"weights": "stream", "weight_word": 16, "mac_weight_word": 16}
    alone, several = (
        cost(program, make_plan(program, parallelism=(16, 16), tile_pixels=128, batch=b, **bus))
        for b in (1, 4)
    )
    assert several.interval < alone.interval / 2
    assert several.fps() > 2 * alone.fps()
    memory = [c.resources.components["maps"].ram18 for c in (alone, several)]
    assert memory[1] > memory[0]


def test_what_is_refused():
    program, plan = network()
    for batch in (0, MOST_FRAMES + 1, True, 1.5):
        with pytest.raises(PlanError, match=f"batch must be 1 to {MOST_FRAMES} frames, not"):
            make_plan(program, parallelism=(4, 4), batch=batch)
    assert Plan.from_json(plan.to_json()) == plan
