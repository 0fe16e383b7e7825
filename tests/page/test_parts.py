"""Numbers in words, sections of any content, ranges, and what the model makes of a report."""

from __future__ import annotations

import pytest

from r2b.page import text
from r2b.page.model import clean, page_of
from r2b.page.roofline import ranges
from r2b.page.sections import plain_text, records, sections_of
from tests.page.support import report_of

HARDWARE = {
    "device": {"name": "xc7z020", "family": "xc7", "has": {"LUT": 100, "DSP": 20}},
    "calibrated": False,
    "unmeasured": ["weights: stream", "maps: muxes"],
    "components": {"array": {"lut": 40, "dsp": 0}, "epilogue": {"lut": 10, "dsp": 30}},
    "total": {"lut": 50, "dsp": 30},
    "needs": {"LUT": 50, "DSP": 30},
    "shares": {"LUT": 0.5, "DSP": 1.5},
    "fps": 1234.5,
    "bytes_per_frame": {"image": 768, "weights": 0},
    "stages": [],
}
OPERATIONS = {
    "convention": "paper",
    "figure": None,
    "macs": [{"weight_bits": 1, "activation_bits": 1, "count": 12345}],
    "layers": [{"name": "conv", "input_shape": [3, 8, 8], "bops": 7, "work": [{"kind": "x"}]}],
}


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (7, "7"), (640, "640"), (999.6, "1000"), (1000, "1 k"), (37_748_736, "37.7 M"),
     (1.6e9, "1.60 G"), (24_305.9, "24.3 k")],
)  # fmt: skip
def test_short(value, words):
    assert text.short(value) == words


def test_other_figures():
    assert [text.size(8 * n) for n in (1, 640, 1536, 102_400, 3 << 20)] == [
        "1 B", "640 B", "1.5 KiB", "100 KiB", "3.0 MiB",
    ]  # fmt: skip
    assert [text.duration(s) for s in (2.5, 2.5478e-3, 41.14e-6)] == ["2.5 s", "2.55 ms", "41.1 µs"]
    assert (text.percent(0.1234), text.percent(None)) == ("12.3 %", "–")
    assert (text.count(1234), text.count(None)) == ("1,234", "–")
    assert (text.real(1234.56), text.real(None), text.kib(4096), text.kib(0)) == (
        "1,234.6", "–", "0.50", "–",
    )  # fmt: skip


def test_ranges():
    assert ranges([1]) == "1"
    assert ranges([2, 3, 4, 7, 9, 10]) == "2-4, 7, 9-10"


def test_clean():
    dirty = {"a\x00": ["b\n", ("c\ud800", 1, None, True)]}
    assert clean(dirty) == {"a\ufffd": ["b\ufffd", ["c\ufffd", 1, None, True]]}


# ------------------------------------------------------------------------------------- sections


def test_sections_are_absent_without_content():
    page = page_of(report_of(planned=False) | {"hardware": None})
    assert sections_of(page) == []


def test_sections_show_what_there_is():
    page = page_of(report_of(planned=False) | {"hardware": HARDWARE, "operations": OPERATIONS})
    hardware, operations = sections_of(page)
    usage, components = hardware.tables
    assert [[cell.text for cell in row.cells] for row in usage.rows] == [
        ["LUT", "50", "100", "50.0 %"],
        ["DSP", "30", "20", "150.0 %"],
    ]
    assert [column.title for column in components.columns] == ["name", "LUT", "DSP"]
    assert components.total is not None
    assert [cell.text for cell in components.total.cells] == ["total", "50", "30"]
    assert dict(hardware.facts) == {
        "device, name": "xc7z020", "device, family": "xc7", "calibrated": "no",
        "unmeasured": "weights: stream, maps: muxes",
        "frames per second": "1,234", "bytes per frame, image": "768",
        "bytes per frame, weights": "0",
    }  # fmt: skip
    macs, layers = operations.tables
    assert [cell.value for cell in macs.rows[0].cells] == [1, 1, 12345]
    assert [cell.text for cell in layers.rows[0].cells] == ["conv", "3×8×8", "7"]
    assert dict(operations.facts) == {"convention": "paper", "figure": "–"}


def test_records_that_differ():
    table = records("key", "caption", [{"a": 1}, {"a": None, "b": "x"}])
    assert [(column.title, column.numeric) for column in table.columns] == [
        ("a", True),
        ("b", False),
    ]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["1", "–"], ["–", "x"]]


def test_plain_text():
    found = [plain_text(value) for value in (None, True, 1234, 0.12345, 12345.6, [], "x", -0.5)]
    assert found == ["–", "yes", "1,234", "0.1235", "12,346", "–", "x", "-0.5"]


# ---------------------------------------------------------------------------------------- model


def test_bounds_and_frame_rate_are_the_hardwares():
    report = report_of()
    cost = report["hardware"]["stages"][1]
    page = page_of(report)
    limits = page.stages[1].limits
    assert limits is not None
    assert (limits.weights, limits.binds) == (cost["weights"], cost["binds"])
    assert limits.utilisation == cost["utilisation_executed"] == limits.attained / limits.peak
    assert page.frames_per_second == report["hardware"]["fps"] > 0


def test_without_a_plan_there_are_no_bounds():
    page = page_of(report_of(planned=False))
    assert page.frames_per_second is None
    assert all(stage.limits is None for stage in page.stages)


def test_what_a_stage_is_in_words():
    stem, block, *_, head = page_of(report_of(frame=(3, 8, 8), widths=(8, 16), pool=None)).stages
    assert (stem.source, stem.engine) == ("3×8×8 uint8", "real")
    assert (block.kind, block.weight, block.engine) == ("3×3 binary conv", "8×8×3×3 sign", "binary")
    assert (head.kind, head.engine, head.result) == (
        "dense",
        "vector",
        f"{head.weight.split('×')[0]}×1×1 int32",
    )
    strided = next(
        s for s in page_of(report_of(frame=(3, 8, 8))).stages if s.kind == "3×3 binary conv /2"
    )
    assert strided.engine == "binary"
