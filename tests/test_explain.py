"""``r2b-compile --explain``: what is binary and why, for people and as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b import cli_compile, explain
from r2b.backends.fpga import planner
from r2b.hw import support
from r2b.ir.errors import PlanError
from r2b.ir.program import BinaryConv

DIGITS = Path(__file__).parents[1] / "examples" / "digits" / "digits.pt"
NETS = """
import torch
from torch import nn
from torch.nn import functional


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class Scaled(nn.Conv2d):
    def forward(self, x):
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, sign(self.weight) * scale, None, self.stride, self.padding)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.scaled = Scaled(8, 8, 3, padding=1, bias=False)
        self.stored = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.real = nn.Conv2d(8, 8, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = self.norms[0](self.scaled(sign(x))) + x
        x = self.norms[1](self.stored(sign(x)))
        x = self.norms[2](self.real(sign(x))) + x
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def make():
    net = Net()
    with torch.no_grad():
        net.stored.weight.copy_(sign(net.stored.weight) * 0.5)
        net.norm.bias.copy_(torch.linspace(-1, 1, 8))
    return net


class Odd(Net):
    def forward(self, x):
        return torch.special.i0(super().forward(x))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "explained.py").write_text(NETS)
    torch.manual_seed(0)
    import explained

    torch.save(explained.make().state_dict(), "net.pth")
    yield tmp_path
    sys.modules.pop("explained", None)


ARGUMENTS = ["net.pth", "--model", "explained:Net", "--input-shape", "1x8x8", "--explain"]


def run(capfd, *arguments: str) -> tuple[int, str, str]:
    before = sorted(path.name for path in Path().iterdir())
    status = cli_compile.main([*arguments])
    assert sorted(path.name for path in Path().iterdir()) == before
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


@pytest.fixture
def layers(capfd):
    status, out, _ = run(capfd, *ARGUMENTS, "--json")
    assert status == 0
    content = json.loads(out)
    assert content["format"] == "r2b-explanation"
    assert content["binary"] == 2
    return {layer["module"]: layer for layer in content["layers"]}


def test_every_layer_is_there_in_order(layers):
    assert list(layers) == ["stem", "scaled", "stored", "real", "head"]
    assert [layer["form"] for layer in layers.values()] == [
        "real", "binary", "binary", "real", "real",
    ]  # fmt: skip
    assert [layer["kind"] for layer in layers.values()] == [*["conv"] * 4, "linear"]


def test_a_binary_layer_says_what_proves_it(layers):
    scaled = layers["scaled"]
    assert scaled["because"].startswith("sign of norm (x >= 0 -> +1")
    assert scaled["weight"] == "sign(scaled.weight)"
    assert scaled["window"] == "3x3, pad 1 of 0"
    assert scaled["shape"] == "8 -> 8"
    assert scaled["scale"].startswith("per channel 0.0")
    assert scaled["threshold"].endswith(" of norm")
    assert scaled["source"].startswith("explained.py:")


def test_weights_that_are_stored_binary(layers):
    stored = layers["stored"]
    assert stored["weight"] == "stored.weight, stored as +-0.5"
    assert stored["scale"] == "0.5"
    assert stored["window"] == "3x3, stride 2, pad 1 of 0"


def test_a_real_layer_says_why_and_what_would_make_it_binary(layers):
    assert layers["stem"]["because"].startswith("its operand is real: Input")
    assert layers["stem"]["offer"] == ""
    assert layers["real"]["because"] == "its weights take 8 magnitudes in output channel 0"
    assert layers["real"]["offer"] == "--binarize-weights sign|mean"
    assert layers["head"]["because"].startswith("its operand is real: GlobalAvgPool")


def test_the_offer_holds_what_it_says(capfd):
    status, out, _ = run(capfd, *ARGUMENTS, "--json", "--binarize-weights", "mean")
    assert status == 0
    content = json.loads(out)
    assert content["binary"] == 3
    assert all(layer["offer"] == "" for layer in content["layers"])


def test_the_table_for_people(capfd):
    status, out, err = run(capfd, *ARGUMENTS)
    assert (status, err) == (0, "")
    for text in (
        "Net: convolutions and linear layers",
        "sign of norm (x >= 0 -> +1",
        "weight: sign(scaled.weight)",
        "conv 3x3, stride 2,",
        "2 of 5 layers are binary",
        "1 take signs, but their weights are real in the file (real)",
        "--binarize-weights sign",
    ):
        assert text in out, text


def test_gates_and_layers_inside_them(capfd):
    status, out, _ = run(capfd, str(DIGITS), "--explain", "--json")
    assert status == 0
    content = json.loads(out)
    forms = [layer["form"] for layer in content["layers"]]
    assert (forms.count("binary"), forms.count("gate"), forms.count("real")) == (4, 8, 3)
    for layer in content["layers"]:
        if layer["form"] == "binary":
            assert layer["gate"].startswith("sigmoid, ")
        assert layer["hardware"] == "yes"
    assert content["hardware_lacks"] == []


def test_unsupported_operations_and_the_table_nevertheless(capfd):
    arguments = [*ARGUMENTS[:2], "explained:Odd", *ARGUMENTS[3:]]
    status, out, err = run(capfd, *arguments)
    assert status == 2
    assert "2 of 5 layers are binary" in out
    assert err.count("error: ") == 1
    assert "aten.special_i0" in err
    status, out, err = run(capfd, *arguments, "--json")
    assert status == 2
    content = json.loads(out)
    assert content["binary"] == 2
    assert "aten.special_i0" in content["unsupported"]
    assert content["layers"][0]["hardware"] is None


def test_what_the_hardware_lacks_is_named_and_numpy_works(capfd, monkeypatch):
    def lacking(program):
        stage = next(s for s in program.stages if isinstance(s.contraction, BinaryConv))
        raise PlanError(
            f"the fpga target does not build:\n  {support.place_of(stage)}: what it lacks\n"
            "--target numpy does"
        )

    monkeypatch.setattr(explain, "check_supported", lacking)
    monkeypatch.setattr(planner, "check_supported", lacking)
    status, out, _ = run(capfd, *ARGUMENTS, "--json")
    assert status == 0
    content = json.loads(out)
    layers = {layer["module"]: layer for layer in content["layers"]}
    assert layers["scaled"]["hardware"] == "what it lacks"
    assert layers["stem"]["hardware"] == "yes"
    assert len(content["hardware_lacks"]) == 1
    status, out, _ = run(capfd, *ARGUMENTS)
    assert status == 0
    assert "what it lacks" in out
    assert "--target numpy does" in out
    arguments = [*ARGUMENTS[:-1], "--calibrate", "random", "-o", "out"]
    status, _, err = run(capfd, *arguments)
    assert status == 2
    assert "what it lacks" in err
    assert "--target numpy does" in err
    assert cli_compile.main([*arguments, "--target", "numpy"]) == 0


def test_frames_that_do_not_fit(capfd):
    np.save("frames.npy", np.zeros((2, 3, 8, 8), np.uint8))
    status, _, err = run(capfd, *ARGUMENTS, "--calibrate", "frames.npy")
    assert status == 2
    assert "calibration frames must be uint8, N x 1 x 8 x 8" in err
