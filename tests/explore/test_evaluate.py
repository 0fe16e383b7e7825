"""A row says what the cost model says, whatever was evaluated before it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from r2b.backends.cost.hardware import cost
from r2b.backends.fpga.planner import SHARES, misfits
from r2b.explore import evaluate as module
from r2b.explore.evaluate import (
    COLUMNS,
    FAILED,
    FITS,
    RESOURCES,
    TOO_LARGE,
    Goal,
    evaluate,
    least_needs,
    plan_of,
    reason_of,
)
from r2b.explore.space import Point, full_axes, points
from r2b.explore.worth import extent_of, unfit, unpackable
from r2b.hw.devices import DEVICES, device
from r2b.ir.errors import PlanError
from tests.hw.families import FAMILIES
from tests.hw.programs import Shape, random_program

TWO_AT_A_TIME = full_axes() | {
    "p_in": (8,), "p_out": (16,), "bus": (64,), "p_px": (1, 2), "lanes": (2, 4), "mac_tiles": (2,),
    "tile_pixels": (32,), "front_tiles": (0, 1, 2), "front_lut_tiles": (0, 1),
    "front_packing": (1, 2), "batch": (1, 3),
}  # fmt: skip
"""Points with a front or a batch, and without."""
SMALL = full_axes() | {
    "p_in": (8, 16, 32), "p_out": (8, 16, 32), "bus": (64, 256), "front_tiles": (0,),
    "batch": (1,),
}  # fmt: skip


def goals(*names: str) -> list[Goal]:
    return [Goal(device(name), device(name).clock_mhz) for name in names]


def some_points(program, count: int, seed: int) -> list[Point]:
    """Some points of the space in its order, some of them neighbours."""
    extent, rng = extent_of(program), random.Random(seed)
    able = [point for point in points(SMALL) if unfit(point, extent, SMALL) is None]
    starts = sorted(rng.sample(range(len(able) - 2), count // 2))
    return [able[start + k] for start in starts for k in range(2)]


@pytest.mark.parametrize("name", ["gates", "vgg", "react", "mlp", "grouped", "factors", "dense"])
def test_a_row_is_the_cost_of_its_plan(name):
    """Also where the point before shares everything but the vector unit."""
    program = FAMILIES[name](1)
    chosen = some_points(program, 6, seed=len(name))
    found = evaluate(program, chosen, goals("ecp5-85f", "xc7z020", "zu7ev"))
    assert found.rows
    for row in found.rows:
        assert list(row) == list(COLUMNS)
        compare(program, row)


@pytest.mark.parametrize("name", ["gates", "vgg", "grouped"])
def test_a_row_with_a_front_or_a_batch(name):
    """Per frame, also where the point before has another half."""
    program = FAMILIES[name](1)
    extent = extent_of(program)
    able = [p for p in points(TWO_AT_A_TIME) if unfit(p, extent, TWO_AT_A_TIME) is None]
    found = evaluate(program, able[::5], goals("ecp5-85f", "xc7z020"))
    assert {(row["front_out"] > 0, row["batch"]) for row in found.rows} >= {
        (True, 1), (False, 1), (False, 3)
    }  # fmt: skip
    for row in found.rows:
        compare(program, row)


FRONT = Point(0, 8, 8, "chip", 64, 1, "chip", 4, 2, 1, 0, 32, 4, front_packing=2)


def test_a_front_larger_than_any_use():
    """Where the back never waits, a larger front is no faster; what it needs is not less."""
    program, tiles = FAMILIES["vgg"](1), (1, 2, 3)
    several = [replace(FRONT, index=k, front_tiles=n) for k, n in enumerate(tiles)]
    found = evaluate(program, several, goals("xc7z020"))
    assert found.excluded == {"a smaller front keeps the back busy all the time": 1}
    small, enough = found.rows
    assert small["interval"] > enough["interval"]
    (large,) = evaluate(program, several[2:], goals("xc7z020")).rows
    assert large["interval"] == enough["interval"]
    assert all(large[name] >= enough[name] for name in (*RESOURCES, "bandwidth"))
    assert large["DSP"] > enough["DSP"]
    luts = replace(several[2], front_lut_tiles=3, front_packing=1)  # no smaller one has as many
    assert len(evaluate(program, [*several[:2], luts], goals("xc7z020")).rows) == 3
    other = replace(several[2], gate_macs=16)
    assert len(evaluate(program, [*several[:2], other], goals("xc7z020")).rows) == 3


@pytest.mark.parametrize("front_tiles", [0, 2])
def test_constants_in_luts_only_where_block_ram_alone_is_short(monkeypatch, front_tiles):
    """As make_plan does; a front's are there, too. Further rows are not touched by it."""
    program, usual = random_program(1, Shape(widths=(64, 128))), device("ecp5-85f")
    point = replace(FRONT, front_packing=1, front_tiles=front_tiles)
    (wide,) = evaluate(program, [point], [Goal(usual, 100.0)]).rows
    plan = plan_of(program, wide)
    needs = cost(program, replace(plan, constants="logic")).resources.needs()
    assert (wide["status"], wide["constants"]) == (FITS, "auto")
    assert needs["RAM18"] < wide["RAM18"]
    assert needs["LUT"] > wide["LUT"]
    for short, expected in ((0, "logic"), (1, "auto")):
        ram18 = int(needs["RAM18"] / SHARES["RAM18"]) + 1 - short
        small = replace(usual, name="small", ram18=ram18)
        monkeypatch.setitem(DEVICES, "small", small)
        rows = evaluate(program, [point], [Goal(small, 100.0), Goal(usual, 100.0)]).rows
        assert [row["constants"] for row in rows] == [expected, "auto"]
        assert rows[0]["status"] == (TOO_LARGE if short else FITS)
        for row in rows:
            compare(program, row)


def compare(program, row) -> None:
    plan = plan_of(program, row)
    assert (plan.device, plan.clock_mhz) == (row["device"], row["clock_mhz"])
    wanted = cost(program, plan)
    lacking = misfits(program, plan, SHARES)
    assert (row["status"] == FITS) == (not lacking)
    if row["LUT"] is None:  # known to be too large before it was estimated
        assert row["reason"].startswith("at least ")
        return
    assert {name: row[name] for name in RESOURCES} == wanted.resources.needs()
    assert row["share"] == max(wanted.device_shares.values())
    assert row["share"] == wanted.device_shares[row["fullest"]]
    if row["status"] == TOO_LARGE:
        assert row["reason"] == ", ".join(map(str, lacking))
    if row["fps"] is not None:
        assert (row["interval"], row["fps"]) == (wanted.interval, wanted.fps())
        assert row["frame_cycles"] == wanted.frame_cycles
        assert row["bytes_per_frame"] == wanted.bytes_per_frame.total
        assert row["bandwidth"] == wanted.fps() * wanted.bytes_per_frame.total
        assert row["binds"] == wanted.critical.binds
        assert row["latency"] == wanted.frame.latency
    else:
        assert row["status"] == TOO_LARGE


def test_what_fits_has_a_rate_and_what_binds_it(program):
    found = evaluate(program, some_points(program, 8, 1), goals("ecp5-85f"))
    fits = [row for row in found.rows if row["status"] == FITS]
    assert fits
    engines = {row["binds"].split()[0] for row in fits}
    assert engines <= {"binary", "real", "vector", "input", "weight"}


@pytest.mark.parametrize("family", ["ecp5", "xc7", "xcup"])
@pytest.mark.parametrize("name", ["gates", "vgg", "mlp", "grouped"])
def test_no_plan_needs_less_than_the_lower_bound(name, family):
    program = FAMILIES[name](1)
    target = next(d for d in DEVICES.values() if d.family == family)
    for point in some_points(program, 8, 3):
        if unpackable(program, point, family):
            continue
        least = least_needs(program, point, family)
        needs = cost(program, point.plan(program, target.name, 100.0)).resources.needs()
        assert all(least[key] <= needs[key] for key in needs)
        assert least["LUT"] > 0.03 * needs["LUT"]


def test_a_lower_bound_saves_the_estimate(program):
    """Thousands of multipliers on a device that has 28: nothing else is looked at."""
    point = Point(0, 16, 16, "stream", 64, 2, "chip", 8, 2, 1, 0, 16, 4)
    (row,) = evaluate(program, [point], goals("ecp5-25f")).rows
    assert (row["status"], row["LUT"], row["fps"]) == (TOO_LARGE, None, None)
    assert row["reason"] == "at least 128 DSP of 28"
    assert row["share"] == 128 / 28


def test_packed_products_on_the_devices_that_have_them():
    """12-bit operands: two products in a DSP48E2, not in a DSP48E1, and on no ECP5."""
    program = FAMILIES["react"](1)
    assert program.act_bits == 12
    point = Point(0, 16, 16, "stream", 64, 1, "chip", 4, 2, 2, 1, 16, 4)
    found = evaluate(program, [point], goals("ecp5-85f", "xc7z020", "zu3eg"))
    (row,) = found.rows
    assert (row["device"], row["status"], row["mac_packing"], row["lut_macs"]) == (
        "zu3eg", FITS, 2, 4,
    )  # fmt: skip
    compare(program, row)
    found = evaluate(program, [point], goals("xc7z020"))
    assert not found.rows
    assert list(found.excluded) == [
        "two products of N-bit operands and N-bit weights need a factor of N bits, DSPNEN takes "
        "N; choose --act-bits N or less, or mac_packing N"
    ]


def test_a_point_that_fails_is_a_row(program, monkeypatch):
    """The others are evaluated as ever."""
    chosen = some_points(program, 4, 2)
    whole = evaluate(program, chosen, goals("xc7z020")).rows
    wanted = module.Evaluator.rows

    def rows(self, point):
        if point == chosen[1]:
            raise ZeroDivisionError("no such luck")
        return wanted(self, point)

    monkeypatch.setattr(module.Evaluator, "rows", rows)
    found = evaluate(program, chosen, goals("xc7z020")).rows
    assert [row for row in found if row["status"] != FAILED] == whole[:1] + whole[2:]
    (failed,) = (row for row in found if row["status"] == FAILED)
    assert failed["reason"] == "ZeroDivisionError: no such luck"
    assert failed["point"] == chosen[1].index


def test_illegal_points_are_counted_by_reason():
    """A line buffer, a memory or a pass that the generator does not build is no crash."""
    program = FAMILIES["dense"](1)
    chosen = [
        Point(k, 8, 8, "chip", 64, 1, "chip", lanes, 1, 1, 0, 16, 4)
        for k, lanes in enumerate((4, 8, 8))
    ]
    found = evaluate(program, chosen, goals("ecp5-85f"))
    assert sum(found.excluded.values()) == len(chosen) - len(found.rows)


def test_the_reason_without_its_numbers():
    error = PlanError("this Plan cannot be built:\n  conv1: line_words 17 or more, not 8\n  more")
    assert reason_of(error) == "line_words N or more, not N"
    assert reason_of(PlanError("no bus of 64 bits")) == "no bus of N bits"
