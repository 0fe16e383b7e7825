"""``r2b-sim``: outcomes, files and messages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from r2b import __version__
from r2b.cli_sim import main
from r2b.ir.execute import execute
from r2b.ir.serialize import save
from tests.sim.conftest import Accelerator


def paths(accelerator: Accelerator) -> list[str]:
    return [str(accelerator.folder), str(accelerator.folder / "frames.npy")]


def test_equal(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, xml, cycles = tmp_path / "out.npy", tmp_path / "out.xml", tmp_path / "cycles.json"
    options = ["--check", "-o", str(out), "--junit", str(xml), "--record-cycles", str(cycles)]
    assert main([*paths(accelerator), *options]) == 0
    logits = np.load(out)
    assert logits.dtype == np.int32
    assert np.array_equal(logits, execute(accelerator.program, accelerator.frames).logits)
    text = capsys.readouterr().out
    assert "EQUAL: every stage of 3 frames against the Program" in text
    suite = ElementTree.parse(xml).getroot()
    names = [case.get("name") for case in suite]
    assert suite.get("failures") == "0" and "head/logits" in names and "stem/stem" in names
    assert main([*paths(accelerator), "-q", "--cycles", str(cycles)]) == 0
    assert main([*paths(accelerator), "-q", "--stalls", "4", "--check", "-j", "2"]) == 0
    assert capsys.readouterr().out == ""


def test_one_cycle_more_than_recorded(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cycles = tmp_path / "cycles.json"
    assert main([*paths(accelerator), "-q", "--record-cycles", str(cycles)]) == 0
    content = json.loads(cycles.read_text())
    content["frame"] -= 1
    content["stages"]["head"] -= 1
    cycles.write_text(json.dumps(content))
    xml = tmp_path / "out.xml"
    status = main([*paths(accelerator), "-q", "--cycles", str(cycles), "--junit", str(xml)])
    assert status == 1
    now, head = content["frame"] + 1, content["stages"]["head"]
    message = (
        f"a frame takes {now} cycles, {now - 1} are recorded; slower: head {head} -> {head + 1}"
    )
    assert capsys.readouterr().err == f"error: {message}\n"
    failure = ElementTree.parse(xml).getroot().find("testcase[@name='cycles']/failure")
    assert failure is not None and failure.text == message


def test_difference(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(accelerator.folder, other)
    head = accelerator.program.head
    bias = head.bias.copy()
    bias[1] ^= 1
    save(replace(accelerator.program, head=replace(head, bias=bias)), other)
    out = tmp_path / "out.npy"
    status = main([str(other), str(other / "frames.npy"), "--check", "--json", "-o", str(out)])
    assert status == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    trace = tmp_path / "frames-mismatch.vcd"
    assert document["trace"] == str(trace)
    assert trace.stat().st_size > 1000
    got = execute(accelerator.program, accelerator.frames).logits[0, 1]
    assert document["differing_bits"] >= 3
    assert "first: frame 0, stage head, logits[1], cycle " in said.err
    assert f"got {got}; trace: {trace}" in said.err
    assert np.load(out).shape == (3, 3)


TERMINATED = """
import sys, time
from r2b import cli_sim
from r2b.sim import verilator

def wait(*arguments):
    print("ready", flush=True)
    time.sleep(300)

verilator._build = wait
sys.exit(cli_sim.main(sys.argv[1:]))
"""


def test_terminated(accelerator: Accelerator, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TERMINATED, *paths(accelerator)]
    environment = os.environ | {"R2B_CACHE": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list((tmp_path / "simulators").iterdir())) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert [path.suffix for path in (tmp_path / "simulators").iterdir()] == [".lock"]


def bad(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a run that ends with status 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err and said.out == ""
    return said.err.strip()


def test_bad_folder(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = paths(accelerator)[1]
    missing = tmp_path / "none.r2b"
    assert bad([str(missing), frames], capsys) == (
        f"error: {missing} is no folder; r2b-compile MODEL --target fpga -o {missing} makes one"
    )
    assert bad([str(tmp_path), frames], capsys) == (
        f"error: {tmp_path} lacks program.json, weights.npz, plan.json, rtl/*.v; compile with"
        " r2b-compile MODEL --target fpga"
    )
    broken = tmp_path / "broken"
    shutil.copytree(accelerator.folder, broken)
    (broken / "plan.json").write_text("{")
    assert bad([str(broken), frames], capsys).startswith("error: plan.json is no Plan: ")
    (broken / "plan.json").write_text(replace(accelerator.plan, act_bits=12).to_json())
    assert bad([str(broken), frames], capsys) == (
        f"error: {broken}: plan.json has activations of 12 bits, program.json of 9, so they do not"
        " belong together; compile again"
    )


def test_bad_frames(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = str(accelerator.folder), tmp_path / "x.npy"
    what = "frames are an .npy file, uint8 N x C x H x W"
    assert bad([folder, str(path)], capsys) == (
        f"error: {path}: cannot be read: No such file or directory; {what}"
    )
    path.write_bytes(b"no array")
    assert bad([folder, str(path)], capsys) == (
        f"error: {path}: this is no .npy file of numbers; {what}"
    )
    np.save(path, accelerator.frames[:0])
    assert bad([folder, str(path)], capsys) == f"error: {path} holds no frames; {what}"
    np.save(path, accelerator.frames[:, :, 1:])
    assert bad([folder, str(path)], capsys) == (
        "error: frames must be N x 1 x 6 x 6 for this network, not 3 x 1 x 5 x 6"
    )
    np.save(path, accelerator.frames.astype(float))
    assert bad([folder, str(path)], capsys) == (
        "error: frames must be uint8, not float64: N x 1 x 6 x 6, values 0 to 255"
    )
    np.save(path, np.array([{}]))
    assert bad([folder, str(path)], capsys) == (
        f"error: {path}: this is no .npy file of numbers; {what}"
    )


def test_bad_options(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "none" / "out.npy"
    assert bad([*paths(accelerator), "-o", str(place)], capsys) == (
        f"error: {place}: the folder {place.parent} does not exist"
    )
    assert bad([*paths(accelerator), "--trace", str(tmp_path / "x.txt")], capsys) == (
        "error: --trace takes a file that ends in .vcd or .fst, not x.txt"
    )
    assert bad([*paths(accelerator), "--stalls", "1", "--cycles", "c.json"], capsys) == (
        "error: --stalls makes frames wait; leave it away with --cycles, --record-cycles"
    )
    cycles = tmp_path / "c.json"
    cycles.write_text("[]")
    assert bad([*paths(accelerator), "--cycles", str(cycles)], capsys) == (
        f"error: {cycles} does not hold recorded cycles; write one with r2b-sim --record-cycles"
    )
    assert "--stalls" in bad([*paths(accelerator), "--stalls", "-1"], capsys)


def test_missing_compiler(
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert bad(paths(accelerator), capsys) == (
        "error: simulation needs a C++ compiler (apt install g++): no g++ or clang++ or c++ on the"
        " PATH"
    )


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"r2b {__version__}\n"
    assert main(["--help"]) == 0
    assert "r2b-sim digits.r2b frames.npy --check --junit results.xml" in capsys.readouterr().out
