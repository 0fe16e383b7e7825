"""Every component's Verilog under Verilator, driven by cocotb with and without freezes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from amaranth.back import verilog

from r2b.sim import cocotb_runner
from tests.hw.components.table import BENCHES, FREEZABLE

ROOT = Path(__file__).resolve().parents[3]
MODULE = Path(__file__).with_name("driver_tb.py")


@pytest.mark.parametrize("name", BENCHES)
def test_component(name, tmp_path, monkeypatch, record_property):
    """Two seeds, and where the component has an ``enable`` both again with random freezes."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])  # the simulation inherits it
    dut = BENCHES[name](1, False).dut
    text = verilog.convert(dut, name=name, emit_src=False, strip_internal_attrs=True)
    built = cocotb_runner.build(text, name)
    environment = {"R2B_BENCH": json.dumps(name)}
    results = cocotb_runner.run(built, MODULE, tmp_path, environment=environment)
    record_property("cocotb_tests", results.count)
    assert results.count == (4 if name in FREEZABLE else 2)
