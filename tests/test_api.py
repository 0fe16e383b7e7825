"""``r2b.compile``: from a module to a network that is the accelerator's, bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import r2b
from r2b.hw.plan import Plan
from r2b.ir import serialize
from r2b.ir.execute import logits
from r2b.ir.ops import BinaryConv2d


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class BinaryConv(nn.Conv2d):
    def forward(self, x):
        return functional.conv2d(sign(x), sign(self.weight), None, self.stride, self.padding)


class Net(nn.Module):
    """Two binary convolutions behind a real one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8) for _ in range(3)])
        self.convs = nn.ModuleList([BinaryConv(8, 8, 3, padding=1, bias=False) for _ in range(2)])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norms[0](self.stem(x))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            x = norm(conv(x)) + x
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXAMPLE = torch.rand(2, 1, 8, 8)


def test_the_result_has_everything(net, pixels, here):
    result = r2b.compile(net, EXAMPLE, target="numpy", calibration=pixels)
    assert sum(isinstance(node.op, BinaryConv2d) for node in result.graph.nodes()) == 2
    assert result.program.num_classes == 4
    assert result.report["format"] == "r2b-report"
    assert (result.plan, result.verification, result.folder) == (None, None, None)
    assert list(here.iterdir()) == []


def test_the_reference_is_the_program_bit_by_bit_and_follows_the_network(net, pixels):
    result = r2b.compile(net, EXAMPLE, target="numpy", calibration=pixels)
    found = result.reference(pixels)
    assert found.dtype == np.int32
    assert np.array_equal(found, logits(result.program, pixels))
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels).float() / 255).numpy()
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.75


def test_what_is_written_computes_the_same(net, pixels, here):
    result = r2b.compile(net, EXAMPLE, "numpy", calibration=pixels, output="net.r2b")
    assert result.folder is not None
    assert result.folder.name == "net.r2b"
    assert json.loads((here / "net.r2b" / "report.json").read_text()) == result.report
    np.save("frames.npy", pixels)
    subprocess.run([sys.executable, "net.r2b/reference.py", "frames.npy", "o.npy"], check=True)
    assert np.array_equal(np.load("o.npy"), result.reference(pixels))
    assert np.array_equal(logits(serialize.load("net.r2b"), pixels), result.reference(pixels))


def test_the_fpga_target_gives_a_plan(net, pixels, here):
    result = r2b.compile(net, EXAMPLE, calibration=pixels, parallelism="4x4", device="ecp5-85f")
    assert isinstance(result.plan, Plan)
    assert (result.plan.p_in, result.plan.device) == (4, "ecp5-85f")
    assert result.report["cycles"]["predicted"] > 0
    assert list(here.iterdir()) == []


def test_the_command_line_gives_the_same(net, pixels, here):
    from r2b import cli_compile

    result = r2b.compile(net, EXAMPLE, "numpy", calibration=pixels, name="network", output="a.r2b")
    frames = {0: torch.export.Dim("frames", min=1, max=64)}
    program = torch.export.export(net, (EXAMPLE,), dynamic_shapes=(frames,))
    torch.export.save(program, "b.pt2")
    np.save("frames.npy", pixels)
    arguments = ["b.pt2", "--target", "numpy", "--calibrate", "frames.npy", "-q"]
    assert cli_compile.main(arguments) == 0
    other = serialize.load("b.r2b")
    assert np.array_equal(result.reference(pixels), logits(other, pixels))
    names = ("program.json", "weights.npz")
    assert [(here / "a.r2b" / name).stat().st_size for name in names] == [
        (here / "b.r2b" / name).stat().st_size for name in names
    ]


def test_an_exported_program_needs_no_example(net, pixels):
    program = torch.export.export(net, (EXAMPLE,))
    result = r2b.compile(program, target="numpy", calibration=pixels)
    module = r2b.compile(net, EXAMPLE, target="numpy", calibration=pixels)
    assert np.array_equal(result.reference(pixels), module.reference(pixels))


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32])
def test_frames_as_the_network_receives_them(net, pixels, kind):
    options = {"mean": 0.45, "std": 0.25}
    received = (pixels / 255 - 0.45) / 0.25
    is_tensor = isinstance(kind, torch.dtype)
    frames = torch.from_numpy(received).to(kind) if is_tensor else received.astype(kind)
    found = r2b.compile(net, EXAMPLE, "numpy", calibration=frames, **options)
    expected = r2b.compile(net, EXAMPLE, "numpy", calibration=pixels, **options)
    assert np.array_equal(found.reference(pixels), expected.reference(pixels))


def test_frames_that_are_no_pixels(net, pixels):
    for frames in (pixels / 255 * 1.013, -EXAMPLE):
        with pytest.raises(r2b.UserError, match=r"must be pixels 0\.\.255 as the network receives"):
            r2b.compile(net, EXAMPLE, "numpy", calibration=frames)


def test_random_frames(net):
    one, two = (r2b.compile(net, EXAMPLE, "numpy", calibration="random", seed=s) for s in (1, 1))
    frames = np.zeros((1, 1, 8, 8), np.uint8)
    assert np.array_equal(one.reference(frames), two.reference(frames))


# ------------------------------------------------------------------------------------------ vectors


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.norm(functional.linear(x, self.first.weight))
        return self.last(sign(x))


def test_vectors():
    torch.manual_seed(0)
    net = Perceptron().eval()
    pixels = np.random.default_rng(1).integers(0, 256, (16, 12), np.uint8)
    result = r2b.compile(net, torch.rand(2, 12), target="numpy", calibration=pixels)
    found = result.reference(pixels)
    assert np.array_equal(found, result.reference(pixels[:, :, None, None]))
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels).float() / 255).numpy()
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.75


# -------------------------------------------------------------------------------------- bad input


REFUSALS = [
    (
        {"calibrate": None},
        r"^compile\(\) has no option 'calibrate' \(nearest: calibration\); its o",
    ),
    ({"colour": 1}, r"^compile\(\) has no option 'colour'; its options are: target, output, force"),
    ({"target": "gpu"}, r"^unknown target 'gpu'; known: numpy, fpga, cost, all$"),
    ({"target": None}, r"^unknown target None; known"),
    ({"act_bits": "12"}, r"^act_bits must be an integer, not '12'$"),
    ({"verify": True}, r"^verify must be an integer, not True$"),
    ({"sign_zero": 0}, r"^--sign-zero takes \+1 or -1, not 0$"),
    ({"binarize_weights": "round"}, r"^--binarize-weights takes sign or mean, not 'round'"),
    ({"calibration": None}, r"no calibration frames; give some with --calibrate"),
    ({"calibration": [1]}, r"^calibration frames must be uint8, N x 1 x 8 x 8, N >= 1, not a list"),
    ({"calibration": "gone.npy"}, r"^gone\.npy: cannot be read: No such file"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=[str(o) for o, _ in REFUSALS])
def test_options_that_do_not_fit(net, pixels, here, options, message):
    with pytest.raises(r2b.UserError, match=message):
        r2b.compile(net, EXAMPLE, **({"target": "numpy", "calibration": pixels} | options))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("example", [None, [1], torch.rand(8), torch.rand(1, 8, 8), np.zeros(3)])
def test_examples_that_are_none(net, example):
    with pytest.raises(r2b.UserError, match=r"^the example input must be a float32 tensor"):
        r2b.compile(net, example, target="numpy", calibration="random")


def test_what_is_no_network():
    with pytest.raises(r2b.UserError, match=r"^the network must be a torch\.nn\.Module or an Exp"):
        r2b.compile(lambda x: x, EXAMPLE, target="numpy", calibration="random")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 1, 8, 8)), "^frames must be uint8, raw pixels 0..255, not float64$"),
        (np.zeros((2, 1, 8, 9), np.uint8), "^frames must be N x 1 x 8 x 8, not 2 x 1 x 8 x 9$"),
        (np.zeros((2, 64), np.uint8), "^frames must be N x 1 x 8 x 8, not 2 x 64$"),
    ],
)
def test_frames_the_reference_does_not_take(net, pixels, frames, message):
    result = r2b.compile(net, EXAMPLE, target="numpy", calibration=pixels)
    with pytest.raises(r2b.UserError, match=message):
        result.reference(frames)


def test_the_module_is_left_as_it_was(pixels):
    torch.manual_seed(0)
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        r2b.compile(net, EXAMPLE, target="numpy", calibration=pixels)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
