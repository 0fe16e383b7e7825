"""The workflow in ``examples/ci``: its own commands run, and fail when they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from r2b.ir import serialize

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.xdist_group("ci-example")  # one compilation for all
WORKFLOW = yaml.safe_load((EXAMPLES / "ci" / "accelerator.yml").read_text())
STEPS = {
    step["name"]: step["run"] for step in WORKFLOW["jobs"]["simulate"]["steps"] if "run" in step
}
RECORD = re.search(
    r"^r2b-sim .*--record-cycles.*$", (EXAMPLES / "ci" / "README.md").read_text(), re.M
)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command], cwd=folder,
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A user's repository after the Compile step, with recorded cycles."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(EXAMPLES / "digits" / "digits.pt", folder / "model.pt")
    np.save(folder / "frames.npy", np.load(EXAMPLES / "digits" / "test_frames.npy")[:8])
    for command in (STEPS["Compile"], RECORD[0]):
        done = shell(command, folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def user(repository, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(repository, tmp_path / "user")


def test_steps_in_order():
    assert list(STEPS) == ["Install", "Compile", "Simulate"]
    assert STEPS["Install"].startswith("pip install ")


def test_equal_and_no_slower(user):
    done = shell(STEPS["Simulate"], user)
    assert done.returncode == 0, done.stderr
    report = ElementTree.parse(user / "results.xml").getroot()
    cases = list(report.iter("testcase"))
    assert len(cases) > 8
    assert not list(report.iter("failure"))


def test_one_cycle_more_fails(user):
    recorded = json.loads((user / "cycles.json").read_text())
    recorded["frame"] -= 1
    (user / "cycles.json").write_text(json.dumps(recorded))
    done = shell(STEPS["Simulate"], user)
    assert done.returncode == 1
    assert f"{recorded['frame']} are recorded" in done.stderr
    assert len(list(ElementTree.parse(user / "results.xml").getroot().iter("failure"))) == 1


def test_one_differing_bit_fails(user):
    program = serialize.load(user / "model.r2b")
    bias = program.head.bias.copy()
    bias[3] ^= 1
    serialize.save(replace(program, head=replace(program.head, bias=bias)), user / "model.r2b")
    done = shell(STEPS["Simulate"], user)
    assert done.returncode == 1
    assert "head, logits[3]" in done.stderr
    assert list(ElementTree.parse(user / "results.xml").getroot().iter("failure"))
