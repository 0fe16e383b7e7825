"""The space: its axes, what is left out of it, and the Plans of its points."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import pytest

from r2b.explore.space import (
    AXES,
    Point,
    full_axes,
    parse_axes,
    points,
)
from r2b.explore.worth import extent_of, unfit
from r2b.hw.plan import Plan
from r2b.ir.errors import PlanError
from tests.hw.families import FAMILIES

FIRST = Point(0, 8, 8, "chip", 64, 1, "chip", 4, 1, 1, 0, 16, 4)


def test_the_space_is_the_product_of_its_axes():
    axes = full_axes() | {"p_in": (8,), "p_out": (8, 16), "bus": (64,)}
    found = list(points(axes))
    assert len(found) == prod(map(len, axes.values()))
    assert [point.index for point in found] == list(range(len(found)))
    assert len({replace(p, index=0) for p in found}) == len(found)


def test_every_axis_is_a_field_of_a_point_in_the_same_order():
    """Adding an axis is one line here and one there."""
    assert list(AXES) == [name for name in Point.__dataclass_fields__ if name != "index"]


def test_points_with_equal_weight_words_follow_each_other():
    """What takes longest to make is made once per run of points."""
    axes = full_axes() | {"p_in": (8, 16), "p_out": (8, 16)}
    keys = [(p.p_in, p.p_out, p.weights, p.bus) for p in points(axes)]
    runs = [key for key, before in zip(keys, [None, *keys], strict=False) if key != before]
    assert len(runs) == len(set(runs))


def test_a_point_becomes_its_plan(program):
    point = Point(0, 16, 8, "stream", 128, 2, "chip", 2, 4, 1, 1, 32, 4)
    plan = point.plan(program, "zu3eg", 200.0)
    assert isinstance(plan, Plan)
    assert (plan.p_in, plan.p_out, plan.p_px, plan.lanes, plan.mac_out) == (16, 8, 2, 2, 8)
    assert (plan.weights, plan.weight_word, plan.mac_weight_word) == ("stream", 128, 128)
    assert (plan.mac_packing, plan.lut_macs) == (1, 2)
    assert (plan.tile_pixels, plan.gate_macs, plan.clock_mhz) == (32, 4, 200.0)
    plan.require_placed(program)


def test_a_front_in_its_plan_and_in_words(program):
    point = Point(0, 16, 16, "chip", 64, 1, "chip", 4, 2, 1, 0, 32, 4, 3, 1, 2)
    plan = point.plan(program, "zu3eg", 200.0)
    assert (plan.mac_out, plan.front_out, plan.front_luts, plan.front_packing) == (8, 12, 4, 2)
    assert point.name.endswith(", front MACs 48 (2 per DSP, 16 of LUTs)")
    assert replace(point, front_tiles=0, batch=4).name.endswith(", gate MACs 4, batch 4")


def test_axes_are_replaced_by_name():
    axes = parse_axes(["lanes=3, 5", "weights=stream"])
    assert axes == full_axes() | {"lanes": (3, 5), "weights": ("stream",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=4", f"--axis 'depth=4': the axes are {', '.join(AXES)}; --axes lists them"),
        ("lanes=", "--axis lanes takes positive integers with commas, not ''"),
        ("lanes=0", "--axis lanes takes positive integers with commas, not '0'"),
        ("lanes=2,-4", "--axis lanes takes positive integers with commas, not '-4'"),
        ("lanes=٣", "--axis lanes takes positive integers with commas, not '٣'"),
        ("lanes=2,2", "--axis 'lanes=2,2' names a value twice"),
        ("mac_packing=3", "--axis mac_packing takes 1 or 2, not '3'"),
        ("lut_tiles=-1", "--axis lut_tiles takes positive integers with commas, not '-1'"),
        ("p_px=1,3", "--axis p_px takes some of 1, 2, 4, not '3'"),
        ("front_packing=0", "--axis front_packing takes 1 or 2, not '0'"),
        (
            "front_lut_tiles=x",
            "--axis front_lut_tiles takes positive integers with commas, not 'x'",
        ),
        ("weights=disk", "--axis weights takes chip or stream, not 'disk'"),
    ],
)
def test_no_axis(text, message):
    with pytest.raises(PlanError, match=f"^{re.escape(message)}$"):
        parse_axes([text])


UNFIT = [
    ({"lanes": 16}, "lanes do not divide p_in"),
    ({"p_in": 16, "lanes": 16}, "lanes do not divide p_out"),
    ({"p_in": 32}, "a smaller p_in holds the channels of every binary stage"),
    ({"p_out": 32}, "a smaller p_out holds the channels of every binary stage"),
    ({"mac_tiles": 8}, "fewer mac_tiles hold the channels of every real stage"),
    ({"p_px": 4}, None),
    ({"bus": 256}, "a narrower bus loads every array in one cycle"),
    ({"lut_tiles": 2}, "more lut_tiles than mac_tiles"),
    ({"lut_tiles": 1, "mac_packing": 2}, "mac_packing where no product has a DSP block"),
    ({"mac_tiles": 2, "lut_tiles": 1, "mac_packing": 2}, None),
    ({}, None),
    ({"bus": 128}, None),
    ({"p_in": 16, "p_out": 16, "bus": 256}, None),
    ({"front_tiles": 2}, None),
    ({"front_tiles": 4}, "fewer front_tiles hold the channels of the first stage"),
    ({"front_tiles": 2, "front_lut_tiles": 1, "front_packing": 2}, None),
    ({"front_tiles": 2, "front_lut_tiles": 2}, None),
    ({"front_tiles": 2, "front_lut_tiles": 3}, "more front_lut_tiles than front_tiles"),
    ({"front_tiles": 2, "front_lut_tiles": 2, "front_packing": 2},
     "front_packing where no product has a DSP block"),
    ({"front_packing": 2}, "front_packing or front_lut_tiles without a front"),
    ({"front_lut_tiles": 1}, "front_packing or front_lut_tiles without a front"),
    ({"front_tiles": 2, "batch": 4}, "a front takes one frame at a time"),
    ({"batch": 4}, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), UNFIT)
def test_what_is_left_out(program, changes, reason):
    """The Program has 8 and 16 channels: an array of 16 may be busy, one of 32 is never."""
    point = Point(**(vars(FIRST) | changes))
    axes = full_axes() | {"front_tiles": (0, 1, 2, 4)}
    assert unfit(point, extent_of(program), axes) == reason


def test_macs_behind_a_front():
    """The back's array has no more use than the other stages; without any it is not there."""
    shortcuts, none = FAMILIES["react"](1), FAMILIES["vgg"](1)
    assert [extent_of(p).front_out for p in (shortcuts, none)] == [8, 8]
    assert [extent_of(p).back_out for p in (shortcuts, none)] == [12, 0]
    axes = full_axes() | {"front_tiles": (0, 1)}
    for changes in ({"mac_tiles": 2}, {"mac_packing": 2}, {"mac_tiles": 2, "lut_tiles": 2}):
        point = replace(FIRST, front_tiles=1, **changes)
        assert unfit(replace(point, front_tiles=0), extent_of(none), axes) is None
        assert unfit(point, extent_of(none), axes) == "no MAC array behind the front"
        assert unfit(point, extent_of(shortcuts), axes) is None
    only = axes | {"mac_tiles": (1, 2), "lut_tiles": (2,)}
    assert unfit(replace(point, front_tiles=1), extent_of(none), only) is None


@pytest.mark.parametrize("name", ["moved", "signs"])
def test_networks_without_a_front(name):
    program = FAMILIES[name](1)
    assert not extent_of(program).front_out
    reason = unfit(replace(FIRST, front_tiles=1), extent_of(program), full_axes())
    assert reason == "no front can run the network's first stage"


@pytest.mark.parametrize("name", FAMILIES)
def test_extent(name):
    """Whatever a network is made of, some points of the space are worth evaluating."""
    extent = extent_of(FAMILIES[name](1))
    assert min(extent.binary_in, extent.binary_out, extent.real_out) >= 1
    axes = full_axes() | {"p_in": (8,), "p_out": (8,)}
    assert any(unfit(point, extent, axes) is None for point in points(axes))


def test_more_pixels_than_columns():
    """A network of vectors has one column."""
    program = FAMILIES["mlp"](1)
    point = Point(**(vars(FIRST) | {"p_px": 2}))
    reason = "a smaller p_px holds the columns of every binary stage"
    assert unfit(point, extent_of(program), full_axes()) == reason


def test_the_least_value_of_an_axis_is_never_left_out(program):
    """Also where it is more than the network needs."""
    axes = full_axes() | {"p_in": (64, 128), "p_out": (64,), "bus": (8192,), "mac_tiles": (64,)}
    kept = [p for p in points(axes) if unfit(p, extent_of(program), axes) is None]
    assert {(p.p_in, p.p_out, p.bus, p.mac_tiles) for p in kept} == {(64, 64, 8192, 64)}
