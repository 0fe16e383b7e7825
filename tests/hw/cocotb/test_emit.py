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


def small_plan(weights: str):
    """A Program and its Plan."""
    program = random_program(3, SMALL)
    return program, make_plan(program, parallelism=(8, 8), weights=weights)


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


def run_testbench(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """``python tb/run.py``, as a user calls it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "tb/run.py"],
        env=environment | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def check_passes(folder: Path, **variables: str) -> None:
    done = run_testbench(folder, **variables)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "1 tests, 0 failed"


def test_the_emitted_testbench_runs_on_its_own(tmp_path):
    """Passes, with stalls too; fails when one bit of a result is changed."""
    program, plan = small_plan("stream")
    emit_verilog(program, plan, tmp_path)
    folder = emit_testbench(program, plan, tmp_path, random_frames(program, 2))
    check_passes(tmp_path)
    check_passes(tmp_path, R2B_STALLS="7")
    expected = np.load(folder / "expected.npy")
    expected[-1, -1] ^= 1
    np.save(folder / "expected.npy", expected)
    done = run_testbench(tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 tests, 1 failed"


def test_the_emitted_testbench_of_a_batch(tmp_path):
    """The last batch is filled up with its last frame, whose result is compared again."""
    program = random_program(
        3, frame=(1, 6, 6), widths=(4,), blocks=1, gated=(False,), classes=2, act_bits=8, pool=None
    )
    plan = make_plan(
        program, parallelism=(4, 4), lanes=2, mac_out=2, gate_macs=1, batch=2, weights="stream",
        weight_word=16, mac_weight_word=16,
    )  # fmt: skip
    emit_verilog(program, plan, tmp_path)
    folder = emit_testbench(program, plan, tmp_path, random_frames(program, 3))
    wanted = np.load(folder / "expected.npy")
    assert len(wanted) == 4
    assert np.array_equal(wanted[3], wanted[2])
    check_passes(tmp_path, R2B_STALLS="7")
