"""Cost of an accelerator with a front: whose array a stage has, and what binds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r2b.backends.cost.critical import HAND_OVERS
from r2b.backends.cost.hardware import cost
from r2b.backends.fpga.planner import make_plan
from r2b.ir.program import Window
from tests.hw.families import FAMILIES
from tests.hw.programs import POOLS, random_program

NETWORK = random_program(
    3, frame=(3, 9, 8), widths=(8, 12), blocks=2, pool=POOLS[2], gated=(False, True), classes=4,
    act_bits=9,
)  # fmt: skip
"""The pooled first stage's results are read by the first block alone."""
SPARSE = random_program(
    3, frame=(1, 41, 41), stem=Window((1, 1), (8, 8)), widths=(8,), blocks=1, gated=(False,),
    classes=4, act_bits=9, pool=None,
)  # fmt: skip
"""Few pixels of a frame are convolved."""
STREAM = {"weights": "stream", "weight_word": 64, "mac_weight_word": 64}
LARGE = {"parallelism": (64, 64)}
RUNS = {
    "back": (NETWORK, {"parallelism": (8, 8), "front_out": 8}, "back", "binary compute"),
    "front": (NETWORK, LARGE | {"lanes": 2, "mac_out": 16, "front_out": 2}, "front",
              "front compute"),
    "what reads the front": (FAMILIES["vgg"](2), LARGE | {"lanes": 8, "front_out": 8}, "front",
                             "binary weights"),
    "streamed": (FAMILIES["vgg"](2), {"parallelism": (8, 8), "front_out": 8, **STREAM}, "front",
                 "binary compute"),
    "input": (SPARSE, LARGE | {"lanes": 4, "front_out": 4}, "input", "input stream"),
}  # fmt: skip


def found_of(program, changes):
    return cost(program, make_plan(program, **{"tile_pixels": 24, **changes}))


@pytest.mark.parametrize("name", RUNS)
def test_what_binds(name):
    """What is critical, with the hand-over, is the whole interval; the rest is not counted."""
    program, changes, largest, binds = RUNS[name]
    found = found_of(program, changes)
    assert (found.binds, found.critical.binds) == (largest, binds)
    check(found)


def test_a_stream_that_is_waited_for():
    """In the stages of either chain; what waits elsewhere is not counted."""
    found = found_of(*RUNS["back"][:2])
    late = 2 * found.period
    frame = replace(found.frame, last=found.frame.last + late, wait_weights=late)
    slow = replace(found, frame=frame, period=found.period + late)
    assert (slow.binds, slow.critical.binds) == ("weights", "weight stream")
    check(slow)
    found = found_of(*RUNS["front"][:2])
    late = 2 * found.period
    frame = replace(found.frame, last=found.frame.last + late, wait_weights=late)
    assert replace(found, frame=frame).binds == "front"
    frame = replace(found.frame, reading=found.frame.reading + late)
    slow = replace(found, frame=frame, period=found.period + late)
    assert (slow.binds, slow.critical.binds) == ("weights", "weight stream")
    check(slow)


def check(found) -> None:
    chain = found.critical
    hand_overs = 1 if chain.half == "back" else HAND_OVERS
    assert chain.active + chain.wait_input + chain.wait_weights + hand_overs == found.period
    assert (found.stages[0] in chain.stages) == (chain.half == "front")


def test_the_front_binds_with_the_stages_that_read_its_results():
    """Those behind the last reader run beside the next frame's front."""
    program, changes, *_ = RUNS["front"]
    found = found_of(program, changes)
    assert found.critical.half == "front"
    assert [stage.name for stage in found.critical.stages] == [
        stage.name for stage in program.stages[:2]
    ]
    whole = sum(stage.cycles for stage in found.stages)
    assert found.period < whole


def test_no_stage_of_the_back_has_the_fronts_array():
    """Shortcuts are the MAC array's, whose peak and weights' word are others."""
    program, changes, *_ = RUNS["front"]
    found = found_of(program, changes)
    engines = {name: [s for s in found.stages if s.engine == name] for name in ("front", "real")}
    assert [stage.name for stage in engines["front"]] == [program.stages[0].name]
    assert {stage.peak for stage in engines["front"]} == {2 * 2}
    assert {stage.peak for stage in engines["real"]} == {2 * 16}
    for stage in found.stages:
        if stage.intensity is not None:
            assert stage.attained <= min(stage.peak, stage.weight_word * stage.intensity)
    assert found.engine_utilisation("front") == found.stages[0].utilisation_executed
