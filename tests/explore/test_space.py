"""The space: its axes, what is left out of it, and the Plans of its points."""

from __future__ import annotations

import re
from math import prod

import pytest

from r2b.explore.space import (
    AXES,
    Point,
    extent_of,
    full_axes,
    parse_axes,
    points,
    unfit,
)
from r2b.hw.plan import Plan
from r2b.ir.errors import PlanError
from tests.hw.families import FAMILIES

FIRST = Point(0, 8, 8, "chip", 64, 1, "chip", 4, 1, 1, 0, 16, 4)


def test_the_space_is_the_product_of_its_axes():
    axes = full_axes() | {"p_in": (8,), "p_out": (8, 16), "bus": (64,)}
    found = list(points(axes))
    assert len(found) == prod(map(len, axes.values()))
    assert [point.index for point in found] == list(range(len(found)))
    assert len({(p.p_out, p.weights, p.p_px, p.vector, p.lanes, p.mac_tiles, p.mac_packing,
                 p.lut_tiles, p.tile_pixels, p.gate_macs)
                for p in found}) == len(found)  # fmt: skip


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
]


@pytest.mark.parametrize(("changes", "reason"), UNFIT)
def test_what_is_left_out(program, changes, reason):
    """The Program has 8 and 16 channels: an array of 16 may be busy, one of 32 is never."""
    point = Point(**(vars(FIRST) | changes))
    assert unfit(point, extent_of(program), full_axes()) == reason


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
