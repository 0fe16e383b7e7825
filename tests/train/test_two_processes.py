"""``--devices 2``: two processes share each batch, one writes and speaks."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
from filelock import FileLock

from r2b.train import checkpoint

COMMAND = (
    sys.executable, "-m", "r2b.cli_train", "full-precision", "--width", "0.125",
    "--epochs-scale", "0.01", "--devices", "2", "-o", "runs",
)  # fmt: skip
PLACE = "runs/seed-0/full-precision"


def run(folder, *more: str) -> tuple[int, list[str], list[str]]:
    """Exit status, lines of the result, and errors; a hang is a failure."""
    done = subprocess.run(
        [*COMMAND, *more], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return done.returncode, done.stdout.splitlines(), errors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, run(folder)


def test_the_result_is_told_and_written_once(trained):
    folder, (status, lines, errors) = trained
    assert (status, errors) == (0, [])
    assert len(lines) == 2
    assert lines[0].startswith("full-precision, seed 0: validation stage 1 ")
    assert lines[1] == f"wrote {PLACE}/model.pt"
    with (folder / PLACE / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    assert checkpoint.module(checkpoint.load(folder / PLACE / "model.pt")) is not None


def test_a_refusal_is_told_once(trained):
    folder, _ = trained
    status, lines, errors = run(folder)
    assert (status, lines) == (2, [])
    assert errors == [
        f"error: {PLACE} holds a run already; go on with it by --resume, or choose another -o"
    ]


def test_a_folder_in_use_ends_both(tmp_path):
    (tmp_path / PLACE).mkdir(parents=True)
    with FileLock(tmp_path / PLACE / "lock"):
        status, lines, errors = run(tmp_path)
    assert (status, lines) == (2, [])
    assert errors == [f"error: another process is training in {PLACE}; wait for it"]
