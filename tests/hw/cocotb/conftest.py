"""Runs cocotb testbenches from pytest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from r2b.sim import cocotb_runner

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # programs.py


@pytest.fixture
def testbench(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> Callable[..., tuple[str, ...]]:
    """Build a design, run a testbench of this folder on it, give the names of its tests."""

    def run(verilog: str, toplevel: str, module: str, seed: int = 1, **settings: object):
        built = cocotb_runner.build(verilog, toplevel)
        results = cocotb_runner.run(
            built,
            HERE / f"{module}.py",
            tmp_path,
            environment={"R2B_TESTBENCH": json.dumps(settings)},
            seed=seed,
        )
        record_property("cocotb_tests", results.count)
        return results.names

    return run
