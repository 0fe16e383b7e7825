"""The front is what nothing dominates; the choice is the best of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2b.explore.evaluate import FITS, TOO_LARGE
from r2b.explore.front import (
    BEST,
    OBJECTIVES,
    choose,
    objective_of,
    one_at_a_time,
    pareto,
    shortfall,
)
from r2b.ir.errors import PlanError

DESCRIBED = {"p_in": 8, "p_out": 8, "lanes": 2, "mac_out": 4, "tile_pixels": 16,
             "weights": "chip", "vector": "chip", "bus": 64, "gate_macs": 4, "mac_packing": 1,
             "front_out": 0, "front_luts": 0, "front_packing": 1, "batch": 1,
             "lut_macs": 0, "p_px": 1,
             "binds": "real compute"}  # fmt: skip


def row(point: int, **values):
    start = {"device": "d", "status": FITS, "point": point, "share": 0.5, "reason": ""}
    return DESCRIBED | start | dict.fromkeys(BEST, 1) | values


small = st.integers(1, 4)
rows = st.lists(st.tuples(*[small] * len(BEST)), max_size=40).map(
    lambda several: [
        row(k, **dict(zip(BEST, values, strict=True))) for k, values in enumerate(several)
    ]
)


def beats(a, b) -> bool:
    """In everything as good, in something better."""
    first, second = ([-r["fps"], *(r[name] for name in BEST[1:])] for r in (a, b))
    return all(x <= y for x, y in zip(first, second, strict=True)) and first != second


@given(rows)
def test_the_front_is_what_nothing_beats(several):
    front = pareto(several)
    points = {found["point"] for found in front}
    for candidate in several:
        beaten = any(beats(other, candidate) for other in several)
        equal = [r for r in several if all(r[name] == candidate[name] for name in BEST)]
        assert (candidate["point"] in points) == (not beaten and equal[0] is candidate)
    assert [f["fps"] for f in front] == sorted((f["fps"] for f in front), reverse=True)


@given(rows, st.sampled_from(sorted(OBJECTIVES)), st.integers(1, 5))
def test_the_choice_is_the_best_that_reaches_the_target(several, name, target):
    objective = OBJECTIVES[name]
    found = choose(several, objective, target)
    able = [r for r in several if r["fps"] >= target]
    if found is None:
        assert not able
    else:
        assert found in able
        assert objective.cost(found) == min(map(objective.cost, able))


def test_ties_go_to_the_smaller_the_faster_the_first():
    several = [row(0, share=0.4), row(1, share=0.3), row(2, share=0.3, fps=2), row(3, share=0.3)]
    assert choose(several, OBJECTIVES["luts"])["point"] == 2
    assert choose(several[:2] + several[3:], OBJECTIVES["luts"])["point"] == 1


def test_default_objectives():
    assert objective_of(None, None).name == "fps"
    assert objective_of(None, 10.0).name == "share"
    assert objective_of("ram", 10.0).name == "ram"
    text = f"^--objective takes {', '.join(OBJECTIVES)}, not 'speed'$"
    with pytest.raises(PlanError, match=text):
        objective_of("speed", None)


PLAN = "8x8 XNOR, 8 MACs, 2 lanes, T 16, weights chip 64 bits, gate MACs 4"


def test_what_is_said_where_the_target_is_out_of_reach():
    several = [row(0, fps=5), row(1, fps=7), row(2, fps=9, status=TOO_LARGE)]
    assert shortfall(several, "d", 8) == (
        f"d: no Plan that fits reaches 8 frames/s; the nearest reaches 7.0 ({PLAN}), bound by "
        "real compute; choose a lower --target-fps, a higher --clock or a larger --device"
    )


def test_a_batch_is_a_way_out_and_no_choice():
    """Unless batches are asked for: they raise latency."""
    several = [row(0, fps=5), row(1, fps=9, batch=4), row(2, fps=8, batch=2)]
    assert one_at_a_time(several) == several[:1]
    assert shortfall(several, "d", 8) == (
        f"d: no Plan that fits reaches 8 frames/s; the nearest reaches 5.0 ({PLAN}), bound by "
        "real compute; choose a lower --target-fps, a higher --clock or a larger --device, or "
        "--axis batch=2: batches, which raise latency, reach 8.0"
    )
    assert shortfall(several, "d", 10, batches=True) == (
        "d: no Plan that fits reaches 10 frames/s; the nearest reaches 9.0 "
        f"({PLAN}, batch 4), bound by real compute; choose a lower --target-fps, a higher --clock "
        "or a larger --device"
    )


def test_what_is_said_where_nothing_fits():
    several = [
        row(0, status=TOO_LARGE, share=3.0, reason="300 DSP of 100"),
        row(1, status=TOO_LARGE, share=1.2, reason="120 LUT of 100"),
    ]
    assert shortfall(several, "d", None) == (
        f"d: no Plan fits; the nearest ({PLAN}) needs 120 LUT of 100; choose a larger --device, "
        "or smaller values with --axis NAME=V,V,..."
    )


def test_what_is_said_where_nothing_is_legal():
    assert shortfall([], "d", None) == (
        "d: the space holds no legal Plan; widen an axis with --axis NAME=V,V,..."
    )
