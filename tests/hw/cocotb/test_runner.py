"""The runner itself: results are counted, failures and missing tools are errors."""

from __future__ import annotations

import pytest

from r2b.ir.errors import ToolError
from r2b.sim import cocotb_runner
from r2b.sim.cocotb_runner import TestbenchError

INVERTER = "module inverter(input a, output b);\n  assign b = ~a;\nendmodule\n"


def test_passed_tests_are_named(testbench):
    """Skipped ones do not count."""
    assert testbench(INVERTER, "inverter", "runner_tb") == ("passes",)


def test_a_failed_test_is_an_error(testbench):
    """The message names it and ends with the log."""
    with pytest.raises(TestbenchError, match=r"(?s)end of .*AssertionError: on purpose"):
        testbench(INVERTER, "inverter", "runner_tb", fail=True)


def test_no_test_is_an_error(testbench):
    """A testbench that lost its tests does not pass."""
    with pytest.raises(TestbenchError):
        testbench(INVERTER, "inverter", "empty_tb")


def test_a_build_is_done_once():
    """The second one is found; another design is another build."""
    first = cocotb_runner.build(INVERTER, "inverter")
    program = first.folder / "inverter"
    stamp = program.stat().st_mtime_ns
    assert cocotb_runner.build(INVERTER, "inverter") == first
    assert program.stat().st_mtime_ns == stamp
    assert cocotb_runner.build(INVERTER + "\n", "inverter").folder != first.folder


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    """One message with the way out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolError, match=r"C\+\+ compiler \(apt install g\+\+\)"):
        cocotb_runner.build(INVERTER, "inverter")


def test_missing_perl_and_make_are_named(monkeypatch, tmp_path):
    """The compiler alone does not do."""
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolError, match=r"^cocotb's runner needs perl and make \(apt install"):
        cocotb_runner.build(INVERTER, "inverter")


def test_a_design_with_an_error_quotes_the_log():
    """Verilator's message is in the error's text."""
    with pytest.raises(ToolError, match=r"syntax error"):
        cocotb_runner.build("module broken(; endmodule\n", "broken")
