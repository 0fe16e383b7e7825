"""Emitted files: equal bytes for equal input; a testbench that runs on its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import Shape, random_frames, random_program

from r2b.backends.fpga.emit import emit_testbench, emit_verilog, weight_bytes
from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.weights import stream_words

HERE = Path(__file__).resolve().parent
SMALL = Shape(frame=(1, 8, 8), widths=(8,), blocks=1, classes=3)
EMIT = """
import sys
sys.path.append({programs!r})
from programs import Shape, random_frames, random_program
from r2b.backends.fpga.emit import emit_testbench, emit_verilog
from r2b.backends.fpga.planner import make_plan
program = random_program(3, Shape(frame=(1, 8, 8), widths=(8,), blocks=1, classes=3))
plan = make_plan(program, parallelism=(8, 8), weights="stream")
emit_verilog(program, plan, sys.argv[1])
emit_testbench(program, plan, sys.argv[1], random_frames(program, 2))
"""


def digests(folder: Path) -> dict[str, str]:
    """Hash of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def small_plan(weights: str, batch: int = 1):
    """A Program and its Plan."""
    program = random_program(3, SMALL)
    return program, make_plan(program, parallelism=(8, 8), weights=weights, batch=batch)


def test_equal_bytes_whatever_the_hash_seed(tmp_path):
    """Two processes, two folders, two hash seeds."""
    script = EMIT.format(programs=str(HERE.parent))
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / seed)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=tmp_path,
            check=True,
        )
    first, second = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert first == second
    assert {"rtl/r2b_top.v", "weights_stream.bin", "weights_stream.npy"} <= set(first)
    assert {f"tb/{name}" for name in ("run.py", "test_top.py", "README.md")} <= set(first)


def test_no_path_of_this_machine_is_in_the_verilog(tmp_path):
    """No source location, no folder."""
    program, plan = small_plan("chip")
    text = emit_verilog(program, plan, tmp_path).read_text()
    for part in (str(tmp_path), str(HERE.parents[2]), ".py", str(Path.home()), "(* src"):
        assert part not in text, part
    assert not (tmp_path / "weights_stream.npy").exists()


@pytest.mark.parametrize("word", [12, 64])
def test_weight_stream_files(tmp_path, word):
    """A row per transfer, lowest byte first; words are filled up to whole bytes."""
    program = random_program(3, SMALL)
    changes = {"weights": "stream", "weight_word": word, "mac_weight_word": word}
    plan = make_plan(program, parallelism=(8, 8), **changes)
    emit_verilog(program, plan, tmp_path)
    geometry = ProgramGeometry(program, plan)
    rows = np.load(tmp_path / "weights_stream.npy")
    assert rows.dtype == np.uint8 and rows.shape[1] == -(-word // 8)
    assert np.array_equal(rows, weight_bytes(geometry))
    assert [int.from_bytes(row.tobytes(), "little") for row in rows] == stream_words(geometry)
    assert (tmp_path / "weights_stream.bin").read_bytes() == rows.tobytes()


@pytest.mark.parametrize(("batch", "frames"), [(1, 2), (2, 3)])
def test_the_emitted_testbench_runs_on_its_own(batch, frames, tmp_path):
    """``python tb/run.py``: passes, with stalls too; fails when one bit of a result is changed.

    The last batch is filled up with its last frame, whose result is compared again.
    """
    program, plan = small_plan("stream", batch)
    emit_verilog(program, plan, tmp_path)
    folder = emit_testbench(program, plan, tmp_path, random_frames(program, frames))
    wanted = np.load(folder / "expected.npy")
    assert len(wanted) == -(-frames // batch) * batch
    assert (wanted[frames:] == wanted[frames - 1]).all()

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        return subprocess.run(
            [sys.executable, "tb/run.py"],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    for variables in ({}, {"R2B_STALLS": "7"}):
        done = run(**variables)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert done.stdout.splitlines()[-1] == "1 tests, 0 failed"
    expected = np.load(folder / "expected.npy")
    expected[-1, -1] ^= 1
    np.save(folder / "expected.npy", expected)
    done = run()
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 tests, 1 failed"
