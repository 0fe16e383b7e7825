"""The page of an accelerator with a front: two roofs, and frames that overlap."""

from __future__ import annotations

import pytest

from r2b.page.model import page_of
from r2b.page.render import charts_of, facts_of, render
from r2b.tables import frame_lines
from tests.page.support import Parsed, report_of

SHAPE = {"frame": (3, 10, 10), "widths": (8, 16), "pool": None, "gated": (False,)}
CHANGES = {"lanes": 4, "mac_out": 8, "front_out": 12}


@pytest.fixture(scope="module")
def report():
    return report_of(changes=CHANGES, **SHAPE)


def test_each_array_has_its_roof(report):
    """The shortcut stands under that of the back's array, the first stage under the front's."""
    page = page_of(report)
    roofline = next(chart for chart in charts_of(page) if chart.key == "roofline")
    assert [entry.text for entry in roofline.legend] == [
        "front engine", "binary engine", "real engine",
    ]  # fmt: skip
    peaks = {name: entry["peak"] for entry in report["hardware"]["stages"]
             if (name := entry["engine"]) != "vector"}  # fmt: skip
    assert peaks == {"front": 48, "binary": 64, "real": 32}
    assert all(f"{peak} MACs/cycle" in roofline.svg for peak in peaks.values())
    assert "front 24, binary 32, real 32 bits per cycle" in roofline.note


def test_the_interval_is_not_the_work(report):
    """Cycles and time between two frames belong together, and each half has its own."""
    page, found = page_of(report), report["hardware"]
    front, *back = (stage["cycles"] for stage in found["stages"])
    assert found["interval"] < front + sum(back) == found["frame_cycles"]
    (fact,) = [fact for fact in facts_of(page) if fact.title == "cycles per frame"]
    assert fact.figure == f"{found['interval']:,}"
    assert fact.note == (
        f"{found['interval'] / 100:.3g} µs at 100 MHz, {front:,} of the front beside {sum(back):,}"
    )
    total = Parsed(render(report)).table("performance")[-1]
    executed = sum(stage["executed"] for stage in found["stages"])
    assert total[6:8] == [f"{executed:,}", f"{executed / found['interval']:.1f}"]


@pytest.mark.parametrize(
    ("blocks", "bound"), [(1, "front and what reads its results"), (3, "back")]
)
def test_which_half_binds(blocks, bound):
    report = report_of(changes=CHANGES, blocks=blocks, **SHAPE)
    front, *back = (stage["cycles"] for stage in report["hardware"]["stages"])
    assert (
        f"front {front:,} cycles, back {sum(back):,} beside it: bound by the {bound}"
        in frame_lines(report)
    )


def test_nothing_of_it_without_a_front():
    report = report_of(**SHAPE)
    assert not [line for line in frame_lines(report) if "front" in line]
    assert not [fact for fact in facts_of(page_of(report)) if "front" in fact.note]
