"""A tiny Program in a folder, and its exploration in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from r2b import cli_explore
from r2b.ir import serialize
from tests.hw.programs import random_program

AXES = ("p_in=8,16", "p_out=8,16", "lanes=2,4", "tile_pixels=16", "mac_tiles=1,2", "lut_tiles=0",
        "bus=64,128", "p_px=1", "front_tiles=0", "batch=1")  # fmt: skip
DEVICES = ("ecp5-25f", "xc7z020")
SPACE = [*(part for axis in AXES for part in ("--axis", axis)),
         *(part for name in DEVICES for part in ("--device", name))]  # fmt: skip
COMMAND = [sys.executable, "-c", "from r2b.cli_explore import main; raise SystemExit(main())"]
RESULTS = ("plans.csv", "pareto.csv", "plan.json", "plan-ecp5-25f.json", "explore.html",
           "explore.json")  # fmt: skip


@pytest.fixture(scope="session")
def program():
    return random_program(1)


@pytest.fixture(scope="session")
def model(program, tmp_path_factory) -> Path:
    """A folder as r2b-compile writes it, as far as exploring needs it."""
    folder = tmp_path_factory.mktemp("model") / "tiny.r2b"
    serialize.save(program, folder)
    return folder


@pytest.fixture(scope="session")
def explored(model, tmp_path_factory) -> Path:
    """The folder of an exploration in one process."""
    folder = tmp_path_factory.mktemp("explored") / "plans"
    arguments = [str(model), *SPACE, "--workers", "1", "-q", "-o", str(folder)]
    assert cli_explore.main(arguments) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every result of an exploration."""
    return {name: (folder / name).read_bytes() for name in RESULTS}
