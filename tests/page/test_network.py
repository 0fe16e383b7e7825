"""The picture of the network: every use of a value is a stroke, and no two nets share a lane."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from r2b.page import network
from r2b.page.model import page_of
from r2b.page.network import draw, nets_of, shorten
from tests.page.support import report_of

SEEDS = range(4)


def placed(seed: int):
    page = page_of(report_of(seed, planned=False))
    return page, network._with_lanes(nets_of(page)), draw(page)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_read_is_a_stroke(seed):
    page, nets, drawing = placed(seed)
    reads = sorted(
        (stage.number, read.role, read.value.name) for stage in page.stages for read in stage.reads
    )
    drawn = sorted((use.row, use.role, net.value.name) for net in nets for use in net.uses)
    end = len(page.stages) + 1
    assert drawn == sorted([*reads, (end, "input", "logits")])
    assert len(drawing.wires) == len(drawn)
    assert len(drawing.marks) == sum(read[1] in network.MARKS for read in reads)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_nets_on_a_lane_never_overlap(seed):
    _, nets, _ = placed(seed)
    assert any(net.lane is not None for net in nets)
    lanes: dict[tuple[bool, int], list[tuple[int, int]]] = {}
    for net in nets:
        assert (net.lane is None) == (not net.lateral)
        if net.lane is not None:
            lanes.setdefault((net.right, net.lane), []).append((net.row, net.last))
    for spans in lanes.values():
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(spans)))


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_lies_in_the_picture_and_strokes_lead_down(seed):
    _, _, drawing = placed(seed)
    for above, below in pairwise(drawing.nodes):
        assert below.y == above.y + above.height + network.GAP
    for wire in drawing.wires:
        start, down = (int(n) for n in re.findall(r"^M(\d+) (\d+)", wire.path)[0])
        ends = [int(y) for y in re.findall(r"V(\d+)", wire.path)]
        lanes = [int(x) for x in re.findall(r"H(\d+)", wire.path)]
        assert all(0 < x < drawing.width for x in (start, *lanes))
        assert [down, *ends] == sorted([down, *ends])
        assert ends[-1] < drawing.height


def test_a_skip_is_never_a_straight_line():
    _, nets, _ = placed(0)
    skips = [use for net in nets for use in net.uses if use.role == "skip"]
    assert skips
    assert all(use in net.lateral for net in nets for use in net.uses if use in skips)


def test_shorten_keeps_the_end():
    assert shorten("group.conv", 10) == "group.conv"
    assert shorten("body.group.conv", 10) == "…roup.conv"
