"""Simulators that several test modules share, built once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan
from r2b.hw.plan import Plan
from r2b.ir.program import Program
from r2b.ir.serialize import save
from r2b.sim.harness import Simulator, Streams
from tests.hw.programs import Shape, random_frames, random_program

STAND_IN = Path(__file__).parent / "stand_in.v"
WEIGHTS = (1, 2, 300)


@dataclass(frozen=True)
class Accelerator:
    """A compiled folder with frames in it."""

    folder: Path
    program: Program
    plan: Plan
    frames: np.ndarray


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, unless the environment names one."""
    with pytest.MonkeyPatch.context() as patch:
        import os

        folder = os.environ.get("R2B_CACHE") or str(tmp_path_factory.mktemp("cache"))
        patch.setenv("R2B_CACHE", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
def stand_in() -> Simulator:
    return Simulator([STAND_IN], Streams((3, 4, 4), 2, ("sum",)))


@pytest.fixture(scope="session")
def stand_in_with_weights(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    source = tmp_path_factory.mktemp("weights") / "stand_in.v"
    source.write_text("`define WEIGHTS\n" + STAND_IN.read_text())
    return Simulator([source], Streams((3, 4, 4), 2, ("sum",), WEIGHTS, 16))


@pytest.fixture(scope="session")
def accelerator(tmp_path_factory: pytest.TempPathFactory) -> Accelerator:
    """A small real network, compiled."""
    folder = tmp_path_factory.mktemp("accelerator")
    shape = Shape(frame=(1, 6, 6), widths=(6,), blocks=1, classes=3, act_bits=9)
    program = random_program(5, shape)
    plan = make_plan(program, parallelism=(4, 4))
    save(program, folder)
    (folder / "plan.json").write_text(plan.to_json())
    emit_verilog(program, plan, folder)
    frames = random_frames(program, 3)
    np.save(folder / "frames.npy", frames)
    return Accelerator(folder, program, plan, frames)
