"""The Plan: JSON in and out, and every parameter out of range."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

import pytest

from r2b.hw.plan import OPTIONAL, PLAN_VERSION, Plan
from r2b.ir.errors import PlanError
from tests.hw.components.cases import PLAN, make_plan

POSITIVE = ("p_in", "p_out", "lanes", "mac_out", "tile_pixels", "weight_word", "mac_weight_word",
            "gate_macs", "line_words", "hop")  # fmt: skip


def full() -> Plan:
    """A Plan in which every field differs from its default."""
    return make_plan(
        tensors={"b": 7, "a": 0},
        signs={"s": 3},
        pixel_outer=("stem", "short"),
        hop=5,
        weights="stream",
        vector="stream",
        gate_macs=1,
        constants="logic",
        presum_buffer=True,
        mac_packing=2,
        lut_macs=1,
        p_px=2,
        front_out=4,
        front_luts=2,
        front_packing=2,
    )


def changed(**content) -> str:
    """Text of a Plan with other content; None leaves the key out."""
    found = json.loads(full().to_json()) | content
    return json.dumps({key: value for key, value in found.items() if value is not None})


def test_round_trip():
    """Every field comes back, types included."""
    assert Plan.from_json(full().to_json()) == full()
    assert Plan.from_json(full().to_json()).to_json() == full().to_json()


def test_text_is_stable():
    """Sorted keys and a final newline: the order in which a dict was filled does not show."""
    other = replace(full(), tensors={"a": 0, "b": 7})
    assert other.to_json() == full().to_json()
    assert full().to_json().endswith("}\n")
    content = json.loads(full().to_json())
    assert list(content) == sorted(content)
    assert set(content) == {f.name for f in fields(Plan)} | {"version"}


def test_read(tmp_path):
    """From a file."""
    path = tmp_path / "plan.json"
    path.write_text(full().to_json())
    assert Plan.read(path) == full()


def test_what_older_plans_lack_has_a_default():
    """The accelerator that was built before there was a choice."""
    later = dict.fromkeys(OPTIONAL)
    plan = Plan.from_json(changed(**later))
    assert {name: getattr(plan, name) for name in later} == {
        "hop": 8, "mac_packing": 1, "lut_macs": 0, "p_px": 1, "vector": "chip",
        "constants": "auto", "presum_buffer": False, "batch": 1, "front_out": 0,
        "front_luts": 0, "front_packing": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mac_packing", 3, "mac_packing must be 1 or 2, not 3"),
        ("mac_packing", True, "mac_packing must be 1 or 2, not True"),
        ("lut_macs", 5, "lut_macs must be 0 to mac_out 4, not 5"),
        ("lut_macs", -1, "lut_macs must be 0 to mac_out 4, not -1"),
        ("front_out", -4, "front_out must be 0 or a positive integer, not -4"),
        ("front_out", True, "front_out must be 0 or a positive integer, not True"),
        ("front_out", 3, "lanes must divide front_out 3, not 2"),
        ("front_packing", 0, "front_packing must be 1 or 2, not 0"),
        ("front_luts", 1, "front_luts must be 0 to front_out 0, not 1"),
        ("vector", "disk", r"vector must be one of \('chip', 'stream'\), not 'disk'"),
        ("vector", "stream", "vector can only be 'stream' where weights are"),
        ("constants", "rom", r"constants must be one of \('auto', 'logic'\), not 'rom'"),
    ],
)
def test_what_parts_are_made_of(name, value, text):
    """One or two per DSP block, and no more of LUTs than there are; where weights come from."""
    with pytest.raises(PlanError, match=f"^Plan: {text}$"):
        make_plan(**{name: value})


def test_a_streamed_vector_unit_takes_a_word_per_cycle():
    """Of eight bits per product."""
    with pytest.raises(PlanError, match=r"must be weight_word / 8, not 3 with 64 bits$"):
        make_plan(weights="stream", vector="stream", weight_word=64, gate_macs=3)


@pytest.mark.parametrize("value", [0, 3, 8, 2.0, "2", True, None])
def test_pixels(value):
    """Powers of two up to 4."""
    with pytest.raises(PlanError, match=re.escape(
        f"Plan: p_px must be one of (1, 2, 4), not {value!r}"
    )):  # fmt: skip
        make_plan(p_px=value)


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0, -1, 1.5, "4", True, None])
def test_positive_integers(name, value):
    """Zero, negative, and what is no integer."""
    with pytest.raises(PlanError, match=re.escape(
        f"Plan: {name} must be a positive integer, not {value!r}"
    )):  # fmt: skip
        make_plan(**{name: value})


@pytest.mark.parametrize("name", ["p_in", "p_out", "mac_out"])
def test_lanes_divide(name):
    """Words of the memories and of the arrays fit each other."""
    text = f"^Plan: lanes must divide {name} {PLAN[name] + 1}, not 2$"
    with pytest.raises(PlanError, match=text):
        make_plan(**{name: PLAN[name] + 1})


@pytest.mark.parametrize("words", [3, 12, 255])
def test_line_words(words):
    """The line buffer is a ring."""
    with pytest.raises(PlanError, match=f"^Plan: line_words must be a power of two, not {words}$"):
        make_plan(line_words=words)


def test_weights():
    """Where weights come from."""
    text = re.escape("Plan: weights must be one of ('chip', 'stream'), not 'disk'")
    with pytest.raises(PlanError, match=f"^{text}$"):
        make_plan(weights="disk")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"p_in": 3}', '"version"'])
def test_no_plan(text):
    """What is no JSON, no object, or has no version."""
    with pytest.raises(PlanError, match=r"^plan\.json is no Plan: .*; write one with r2b-compile$"):
        Plan.from_json(text)


def test_version():
    """Another version than this one."""
    found = PLAN_VERSION + 1
    text = rf"^plan\.json has version {found}, this r2b reads {PLAN_VERSION}$"
    with pytest.raises(PlanError, match=text):
        Plan.from_json(changed(version=found))


def test_keys():
    """Missing and unknown keys are all named."""
    text = r"^plan\.json lacks or does not know: gate_macs, lanes, voltage$"
    with pytest.raises(PlanError, match=text):
        Plan.from_json(changed(gate_macs=None, lanes=None, voltage=3))
