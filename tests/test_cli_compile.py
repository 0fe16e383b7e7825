"""``r2b-compile``: what it writes, what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b import cli_compile, output
from r2b.backends.cost import ops
from r2b.backends.target import TARGETS
from r2b.hw.plan import Plan
from r2b.ir import serialize
from r2b.ir.execute import execute, logits
from r2b.page.render import render
from r2b.sim import verify
from r2b.train import checkpoint, zoo

ARCH = "real-to-binary-digits"
TINY = {"widths": [8], "blocks": [1]}
REPORT = {output.MARKER, "report.json", "report.html"}
REFERENCE = REPORT | {"program.json", "weights.npz", "reference.py"}
ACCELERATOR = REFERENCE | {
    "plan.json",
    "rtl/r2b_top.v",
    "tb/README.md",
    "tb/expected.npy",
    "tb/frames.npy",
    "tb/run.py",
    "tb/test_top.py",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(here):
    """A tiny model file with eight random calibration frames."""
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, 16, 16), np.uint8)
    state = zoo.build(ARCH, TINY).state_dict()
    checkpoint.save(here / "tiny.pt", arch=ARCH, config=TINY, state_dict=state, calibration=frames)
    return "tiny.pt"


def files(folder: str) -> set[str]:
    paths = Path(folder).rglob("*")
    return {str(path.relative_to(folder)) for path in paths if path.is_file()}


def small(*arguments: str) -> list[str]:
    return [*arguments, "--parallelism", "4x4"]


def test_numpy_writes_the_reference(model, capfd):
    assert cli_compile.main([model, "--target", "numpy"]) == 0
    assert capfd.readouterr() == ("wrote tiny.r2b\n", "")
    assert files("tiny.r2b") == REFERENCE


def test_fpga_writes_the_accelerator(model, capfd):
    assert cli_compile.main([*small(model), "-o", "out"]) == 0
    assert files("out") == ACCELERATOR
    plan = Plan.read(Path("out/plan.json"))
    assert (plan.p_in, plan.p_out, plan.device) == (4, 4, "xc7z020")
    printed = capfd.readouterr().out
    assert "xc7z020 at 150 MHz, 4x4 XNOR" in printed
    assert "stem.conv" in printed
    report = json.loads(Path("out/report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == [
        "stem.conv", "body.group1.0.conv", "body.group1.1.conv", "head.linear",
    ]  # fmt: skip
    assert (
        sum(stage["cycles"]["predicted"] for stage in report["stages"])
        == (report["cycles"]["predicted"])
    )
    assert report["verification"] is None


def test_the_emitted_reference_gives_the_programs_logits(model):
    assert cli_compile.main([model, "--target", "numpy", "-o", "out"]) == 0
    frames = np.random.default_rng(1).integers(0, 256, (5, 1, 16, 16), np.uint8)
    np.save("frames.npy", frames)
    subprocess.run([sys.executable, "out/reference.py", "frames.npy", "out.npy"], check=True)
    found = np.load("out.npy")
    assert found.dtype == np.int32
    assert np.array_equal(found, logits(serialize.load("out"), frames))


def test_a_batch_goes_into_the_plan(model, capfd):
    """The table, the line and the report say what is a batch's."""
    arguments = [*small(model), "--target", "cost", "--batch", "3", "-o", "out"]
    assert cli_compile.main(arguments) == 0
    printed = capfd.readouterr().out
    assert "operations per frame, cycles per 3 frames" in printed
    assert "12-bit tensors, batches of 3 frames" in printed
    report = json.loads(Path("out/report.json").read_text())
    assert report["plan"]["batch"] == report["hardware"]["batch"] == 3
    assert report["hardware"]["interval"] == report["hardware"]["period"] / 3


def test_verify_compares_every_frame_of_batches(model, capfd):
    """Also of the last one, which is not full; emitted is what was verified."""
    arguments = [*small(model), "--batch", "2", "--verify", "3", "-o", "out"]
    assert cli_compile.main(arguments) == 0
    assert Plan.read(Path("out/plan.json")).batch == 2
    report = json.loads(Path("out/report.json").read_text())
    assert (report["verification"]["equal"], report["verification"]["frames"]) == (True, 3)
    assert report["cycles"]["measured"] == report["cycles"]["predicted"]
    assert "every stage of 3 frames, 0 of" in capfd.readouterr().out


def test_verify_compares_every_stage(model, capfd):
    assert cli_compile.main([*small(model), "--verify", "3", "-o", "out"]) == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["verification"]["equal"]
    assert report["verification"]["frames"] == 3
    assert report["verification"]["differing_bits"] == 0
    for stage in report["stages"]:
        assert stage["cycles"]["measured"] == stage["cycles"]["predicted"], stage["name"]
    assert report["cycles"]["measured"] == report["cycles"]["predicted"]
    assert "EQUAL: Verilog in Verilator against the Program" in capfd.readouterr().out


def test_a_differing_bit_ends_with_status_1_and_waves(model, monkeypatch, capfd):
    def wrong(program, frames):
        trace = execute(program, frames)
        trace.tensors[program.stages[0].tensor][0, 2, 3, 4] ^= 1
        return trace

    monkeypatch.setattr(verify, "execute", wrong)
    assert cli_compile.main([*small(model), "--verify", "2", "-o", "out"]) == 1
    out, err = capfd.readouterr()
    assert "DIFFERENT: Verilog in Verilator against the Program" in out
    assert "1 of " in out
    assert "frame 0, stage stem.conv, stem.conv[2, 3, 4], cycle " in err
    assert "waves: mismatch.vcd" in err
    assert files("out") == ACCELERATOR | {"mismatch.vcd"}


def test_cost_prints_and_writes_nothing(model, here, capfd):
    assert cli_compile.main([*small(model), "--target", "cost"]) == 0
    printed = capfd.readouterr().out
    for text in ("operations and cycles per frame", "resources, estimated", "frames/s at 150 MHz",
                 "bytes per frame: image", "convention paper, per frame"):  # fmt: skip
        assert text in printed
    assert [path.name for path in here.iterdir()] == ["tiny.pt"]


def test_cost_writes_the_report_where_a_folder_is_named(model, capfd):
    assert cli_compile.main([*small(model), "--target", "cost", "-o", "out"]) == 0
    assert files("out") == REPORT
    assert capfd.readouterr().out.endswith("wrote out\n")
    report = json.loads(Path("out/report.json").read_text())
    assert Path("out/report.html").read_text() == render(report)


def test_json_is_the_report_and_nothing_else(model, capfd):
    assert cli_compile.main([*small(model), "--target", "cost", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["format"] == "r2b-report"
    assert report["ops"]["binary"] == report["operations"]["bops"] == 2 * 8 * 8 * 9 * 64
    layers = report["operations"]["layers"]
    assert report["operations"]["flops"] == sum(layer["flops"] for layer in layers)
    hardware = report["hardware"]
    assert hardware["device"]["name"] == report["plan"]["device"]
    assert hardware["frame_cycles"] == report["cycles"]["predicted"]
    names = [stage["name"] for stage in report["stages"]]
    assert [stage["name"] for stage in hardware["stages"]] == names


def test_quiet_prints_nothing(model, capfd):
    assert cli_compile.main([model, "--target", "numpy", "-q"]) == 0
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_the_calibration(model, capfd):
    assert cli_compile.main([model, "--target", "numpy", "-v"]) == 0
    assert "calibration: 12 bits, 8 frames" in capfd.readouterr().out


def test_preprocessing_reaches_the_program(model):
    arguments = [model, "--target", "numpy", "--mean", "0.5", "--std", "0.25", "-o", "out"]
    assert cli_compile.main(arguments) == 0
    assert serialize.load("out").preprocessing == {"mean": 0.5, "std": 0.25, "raw": False}


def test_random_frames_follow_the_seed(model):
    texts = []
    for seed in ("1", "1", "2"):
        arguments = [model, "--target", "numpy", "--calibrate", "random", "--seed", seed]
        assert cli_compile.main([*arguments, "-f", "-q", "-o", "out"]) == 0
        texts.append(Path("out/program.json").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_equal_bytes_whatever_the_hash_seed_and_the_name(model):
    Path("renamed.pt").write_bytes(Path(model).read_bytes())
    script = Path(sys.executable).with_name("r2b-compile")
    for name, seed in ((model, "1"), ("renamed.pt", "2")):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([script, *small(name), "-q"], check=True, env=environment)
    for file in sorted(ACCELERATOR - {output.MARKER}):
        assert Path("tiny.r2b", file).read_bytes() == Path("renamed.r2b", file).read_bytes(), file


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["m", "--verify"], ["m", "--verify", "4"]),
        (["--verify", "m"], ["--verify", "4", "m"]),
        (["--verify", "8", "m"], ["--verify", "8", "m"]),
        (["--verify", "-1", "m"], ["--verify", "-1", "m"]),
        (["--verify=8", "m"], ["--verify=8", "m"]),
        (["m", "--verify", "-f"], ["m", "--verify", "4", "-f"]),
        (["m"], ["m"]),
    ],
)
def test_the_value_of_verify_may_be_left_away(arguments, expected):
    assert cli_compile.with_default_value(arguments, "--verify", "4") == expected


def test_help_names_every_target():
    found = cli_compile.app.registered_commands[0].callback.__annotations__["target"]
    assert "|".join(TARGETS) in found


def test_ops_count_every_tap_and_those_inside_the_image(model):
    assert cli_compile.main([model, "--target", "numpy", "-o", "out"]) == 0
    program = serialize.load("out")
    found = {stage.name: ops.stage_ops(program, stage) for stage in program.stages}
    stem, conv = found["stem.conv"], found["body.group1.0.conv"]
    # 5x5 with padding 2 on 16 pixels: 16 * 5 - 2 * (2 + 1) pairs along an axis
    assert (stem.real, stem.real_executed) == (8 * 256 * 25, 8 * 74**2)
    # 3x3 with padding 1 on 8 pixels, and a gate 8 -> 1 -> 8
    assert (conv.binary, conv.binary_executed) == (64 * 64 * 9, 64 * 22**2)
    assert (conv.real, conv.real_executed) == (16, 16)
