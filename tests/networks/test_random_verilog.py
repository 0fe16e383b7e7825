"""Random networks of the hardware's vocabulary: Verilog = Program, every bit of every stage.

Each is compiled for an 8 x 8 array, built with Verilator and simulated, so few run with the tests;
``R2B_VERILOG_EXAMPLES=50`` draws more. A network that the hardware refuses counts as rejected;
more than half rejected is a failure.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, reject

from r2b.backends.fpga.planner import make_plan
from r2b.backends.target import TARGETS, Source
from r2b.ir.errors import PlanError
from r2b.ir.program import Program
from r2b.verify import verify
from tests.networks import description as d
from tests.networks.checks import check_graph, check_program
from tests.networks.modules import frames_of
from tests.networks.profile import count, sample
from tests.networks.strategy import HARDWARE, networks

FRAMES = 2
REJECTED: list[str] = []
SIMULATED: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def most_networks_are_taken():
    """Count over the whole module, and judge at its end."""
    REJECTED.clear()
    SIMULATED.clear()
    yield
    total = len(REJECTED) + len(SIMULATED)
    assert 2 * len(REJECTED) <= total, f"{len(REJECTED)} of {total} refused: {REJECTED}"


@sample("R2B_VERILOG_EXAMPLES", 2)
@given(networks(HARDWARE))
def test_verilog_equals_the_program(network: d.Network):
    program = check_program(network, check_graph(network))
    try:
        plan = make_plan(program, "xc7z020", None, (8, 8))
    except PlanError as error:
        REJECTED.append(str(error))
        reject()
    SIMULATED.append(program.name)
    assert_equal(program, plan, frames_of(network, FRAMES))


def assert_equal(program: Program, plan, frames) -> None:
    """Build, simulate, compare."""
    with tempfile.TemporaryDirectory() as name:
        for emitter in TARGETS["fpga"].emitters:
            emitter(Source(program, plan, frames[:1]), Path(name))
        done = verify(Path(name), program, frames, lambda _text: None)
    assert done.equal, done.messages


def test_the_number_of_networks_can_be_set(monkeypatch):
    monkeypatch.setenv("R2B_VERILOG_EXAMPLES", "50")
    assert count("R2B_VERILOG_EXAMPLES", 2) == 50
