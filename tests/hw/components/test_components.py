"""Every component's Verilog under Verilator, driven by cocotb with and without freezes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from amaranth.back import verilog

from r2b.sim import cocotb_runner
from tests.hw.components.benches import Together
from tests.hw.components.table import BENCHES

ROOT = Path(__file__).resolve().parents[3]
MODULE = Path(__file__).with_name("driver_tb.py")
GROUPS = {
    "datapath": ("count_33", "count_lut4_33", "integer_dot_9", "array_binary", "array_lut4",
                 "array_real", "epilogue", "epilogue_two_rounds", "max_pool", "sinks",
                 "vector_unit"),
    "engines": ("control_binary", "control_real", "control_filled", "engine_binary", "engine_real",
                "engine_filled", "engine_streamed", "control_pixels", "engine_pixels",
                "engine_4_pixels"),
}  # fmt: skip
"""Components that share a build."""


def test_every_component_is_in_a_group():
    """The table has no gaps."""
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(BENCHES)


@pytest.mark.parametrize("group", GROUPS)
def test_components(group, tmp_path, monkeypatch, record_property):
    """Two seeds each; where the component has an ``enable``, the second with random freezes."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # the simulation inherits it
    names = GROUPS[group]
    dut = Together({name: BENCHES[name](1, False).dut for name in names})
    text = verilog.convert(dut, name=group, emit_src=False, strip_internal_attrs=True)
    built = cocotb_runner.build(text, group)
    environment = {"R2B_BENCHES": json.dumps(names)}
    results = cocotb_runner.run(built, MODULE, tmp_path, environment=environment)
    record_property("cocotb_tests", results.count)
    assert results.count == 2 * len(names)
