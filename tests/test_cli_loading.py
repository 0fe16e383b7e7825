"""``r2b-compile`` on model files of every kind: compiled, or one message and status 2."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b import cli_compile
from r2b.ir import serialize
from r2b.ir.execute import logits

NETS = """
import torch
from torch import nn
from torch.nn import functional


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class Conv(nn.Conv2d):
    def forward(self, x):
        return functional.conv2d(x, sign(self.weight), None, self.stride, self.padding)


class Net(nn.Module):
    def __init__(self, width=8, binary=True, classes=4):
        super().__init__()
        kind = Conv if binary else nn.Conv2d
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.conv = kind(width, width, 3, padding=1, bias=False)
        self.last = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = self.last(self.conv(sign(x))) + x
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Vectors(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(sign(self.norm(self.first(x))))


class Odd(Net):
    def forward(self, x):
        return torch.erf(torch.special.i0(super().forward(x)))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with the user's module, which can be imported while a test runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usernets.py").write_text(NETS)
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8)
    np.save("frames.npy", frames)
    torch.manual_seed(0)
    yield tmp_path
    sys.modules.pop("usernets", None)


def nets():
    sys.path.insert(0, str(Path.cwd()))
    try:
        import usernets
    finally:
        sys.path.pop(0)
    return usernets


COMPILE = ["--target", "numpy", "--calibrate", "frames.npy", "-o", "out", "-f"]
FACTORY = ["--model", "usernets:Net"]


def run(capfd, *arguments: str) -> tuple[int, str, str]:
    status = cli_compile.main(list(arguments))
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return status, out, err


def accept(capfd, *arguments: str) -> str:
    """Compile; return what was said on standard error."""
    status, out, err = run(capfd, *arguments, *COMPILE)
    assert (status, out) == (0, "wrote out\n"), err
    return err


def refuse(capfd, *arguments: str) -> str:
    """Be refused with one message and nothing written; return it."""
    before = sorted(path.name for path in Path().iterdir())
    status, out, err = run(capfd, *arguments)
    assert (status, out) == (2, ""), err
    assert err.count("error: ") == 1
    assert sorted(path.name for path in Path().iterdir()) == before
    return err.partition("error: ")[2].strip()


def agrees(net) -> None:
    """What was written computes classes as the float network does."""
    frames = np.load("frames.npy")
    net = net.eval()
    with torch.no_grad():
        expected = net(torch.from_numpy(frames).float() / 255).argmax(1).numpy()
    found = logits(serialize.load("out"), frames.reshape(len(frames), *frames.shape[1:]))
    assert np.mean(found.argmax(1) == expected) >= 0.75


def test_state_dict(capfd):
    net = nets().Net()
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, "net.pth")
    said = accept(capfd, "net.pth", *FACTORY)
    assert "the state_dict stands under 'state_dict'" in said
    assert "the prefix module. of the names was left away" in said
    agrees(net)


def test_the_shape_of_a_frame_is_given_or_that_of_the_calibration(capfd):
    torch.save(nets().Net().state_dict(), "net.pth")
    accept(capfd, "net.pth", *FACTORY, "--input-shape", "1x8x8")
    message = refuse(capfd, "net.pth", *FACTORY, *COMPILE, "--input-shape", "1x9x9")
    assert message.startswith("frames.npy: calibration frames must be uint8, N x 1 x 9 x 9, N >= 1")
    message = refuse(capfd, "net.pth", *FACTORY, "--calibrate", "random", "--target", "numpy")
    assert message.startswith("the model file does not say what frames the network takes")
    message = refuse(capfd, "net.pth", *FACTORY, *COMPILE, "--input-shape", "8")
    assert message.startswith("frames.npy: calibration frames must be uint8, N x 8, N >= 1")
    np.save("frames.npy", np.zeros((4, 3, 8, 8), np.uint8))
    message = refuse(capfd, "net.pth", *FACTORY, *COMPILE)
    assert message.startswith("the model does not take frames of 3 x 8 x 8: ")


def test_arguments_of_the_factory(capfd):
    net = nets().Net(width=16)
    torch.save(net.state_dict(), "net.pth")
    for text in ("width=16", '{"width": 16}'):
        accept(capfd, "net.pth", *FACTORY, "--model-args", text)
        agrees(net)
    message = refuse(capfd, "net.pth", *FACTORY, *COMPILE)
    assert "has stem.weight of shape 16 x 1 x 3 x 3 where it must be 8 x 1 x 3 x 3" in message
    message = refuse(capfd, "net.pth", *FACTORY, *COMPILE, "--model-args", "wide=16")
    assert "usernets:Net(wide=16) fails: TypeError: " in message


def test_half_precision(capfd):
    net = nets().Net()
    torch.save(net.half().state_dict(), "net.pth")
    said = accept(capfd, "net.pth", *FACTORY)
    assert "warning: 12 tensors were converted from float16 to float32" in said
    agrees(net.float())


def test_exported_program(capfd):
    net = nets().Net().eval()
    frames = {0: torch.export.Dim("frames", min=1, max=64)}
    program = torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=(frames,))
    torch.export.save(program, "net.pt2")
    accept(capfd, "net.pt2")
    agrees(net)
    message = refuse(capfd, "net.pt2", *COMPILE, "--input-shape", "3x8x8")
    assert message == (
        "--input-shape 3x8x8 does not fit: the network in the file takes 1x8x8; leave it away"
    )
    assert refuse(capfd, "net.pt2").startswith("the model file holds no calibration frames; give")


def test_vectors(capfd):
    net = nets().Vectors()
    torch.save(net.state_dict(), "net.pth")
    np.save("frames.npy", np.random.default_rng(0).integers(0, 256, (8, 12), np.uint8))
    accept(capfd, "net.pth", "--model", "usernets:Vectors")
    with torch.no_grad():
        frames = np.load("frames.npy")
        expected = net.eval()(torch.from_numpy(frames).float() / 255).argmax(1).numpy()
    found = logits(serialize.load("out"), frames[:, :, None, None]).argmax(1)
    assert np.mean(found == expected) >= 0.75


def test_pickled_module(capfd):
    net = nets().Net()
    torch.save(net, "net.pth")
    message = refuse(capfd, "net.pth", *COMPILE)
    assert "a whole pickled nn.Module, which only running code could rebuild" in message
    assert "--trust-pickle runs it" in message
    said = accept(capfd, "net.pth", "--trust-pickle")
    assert "net.pth is a pickle that was run, because --trust-pickle says so" in said
    agrees(net)


class Marker:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("command", [[], ["--explain"]])
def test_a_pickle_with_code_is_refused(capfd, archive, command):
    content = {**nets().Net().state_dict(), "extra": Marker()}
    torch.save(content, "net.pth", _use_new_zipfile_serialization=archive)
    message = refuse(capfd, "net.pth", *FACTORY, "--calibrate", "random", *command)
    assert "nothing in it was run" in message
    assert not Path("ran").exists()


def test_the_current_folder_is_importable_for_the_factory_only(capfd):
    torch.save(nets().Net().state_dict(), "net.pth")
    sys.modules.pop("usernets")
    path = list(sys.path)
    accept(capfd, "net.pth", *FACTORY)
    assert sys.path == path


def test_weights_that_training_binarises_elsewhere(capfd):
    net = nets().Net(binary=False)
    torch.save(net.state_dict(), "net.pth")
    arguments = ["net.pth", *FACTORY, "--model-args", "binary=false"]
    for method, scale in (("sign", False), ("mean", True)):
        accept(capfd, *arguments, "--binarize-weights", method)
        stages = {stage.name: stage for stage in serialize.load("out").stages}
        kinds = [type(stage.contraction).__name__ for stage in stages.values()]
        assert kinds == ["RealConv", "BinaryConv"], (method, scale)
    message = refuse(capfd, *arguments, *COMPILE, "--binarize-weights", "round")
    assert message.startswith("--binarize-weights takes sign or mean, not 'round'")


def test_unsupported_operations_are_all_named(capfd):
    torch.save(nets().Odd().state_dict(), "net.pth")
    message = refuse(capfd, "net.pth", "--model", "usernets:Odd", *COMPILE)
    assert "aten.special_i0" in message
    assert "aten.special_erf" in message or "aten.erf" in message
    assert "usernets.py:" in message


def test_a_user_module_that_prints_does_not_spoil_json(capfd):
    Path("loud.py").write_text("from usernets import Net\nprint('hello from loud')\n")
    torch.save(nets().Net().state_dict(), "net.pth")
    arguments = ["net.pth", "--model", "loud:Net", "--target", "cost", "--calibrate", "frames.npy"]
    status, out, err = run(capfd, *arguments, "--json", "--parallelism", "4x4")
    assert status == 0, err
    assert json.loads(out)["format"] == "r2b-report"
    assert "hello from loud" in err


SMALL_ZOO = '{"width_multiplier": 0.125, "blocks": [1, 1, 1, 1], "num_classes": 4}'


def test_a_name_of_the_zoo(capfd):
    options = ["--model-args", SMALL_ZOO, "--calibrate", "random", "--target", "numpy", "-f"]
    programs: list[bytes] = []
    for _ in range(2):
        status, _out, said = run(capfd, "real-to-binary-32", *options)
        assert status == 0 and "is untrained" in said
        programs.append(Path("real-to-binary-32.r2b/weights.npz").read_bytes())
    assert programs[0] == programs[1]


def test_a_name_that_is_none(capfd):
    found = refuse(capfd, "real-to-binary-33")
    assert "no network of that name" in found and "real-to-binary-32" in found


def test_a_name_needs_no_factory(capfd):
    assert "leave --model away" in refuse(capfd, "bnn-32", "--model", "nets:make")


class Named(torch.nn.Module):
    def __init__(self, inner, key=None):
        super().__init__()
        self.inner, self.key = inner, key

    def forward(self, frames):
        return self.inner(frames[self.key] if self.key else frames)


def test_exported_program_with_operations_in_place(capfd):
    net = torch.nn.Sequential(nets().Net(), torch.nn.Linear(4, 4), torch.nn.ReLU(inplace=True))
    torch.export.save(torch.export.export(net.eval(), (torch.rand(2, 1, 8, 8),)), "net.pt2")
    accept(capfd, "net.pt2")


def test_exported_program_in_training_mode(capfd):
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(1), nets().Net()).train()
    torch.export.save(torch.export.export(net, (torch.rand(2, 1, 8, 8),)), "net.pt2")
    assert "exported in training mode" in refuse(capfd, "net.pt2", "--calibrate", "frames.npy")


def test_exported_programs_of_other_inputs(capfd):
    frames = torch.rand(2, 1, 8, 8)
    keyword = torch.export.export(Named(nets().Net()).eval(), (), {"frames": frames})
    inside = torch.export.export(Named(nets().Net(), "x").eval(), ({"x": frames},))
    for program in (keyword, inside):
        torch.export.save(program, "net.pt2")
        said = refuse(capfd, "net.pt2", "--calibrate", "frames.npy")
        assert "as its one argument" in said


def test_a_bare_pickle_that_is_trusted(capfd):
    Path("net.pkl").write_bytes(pickle.dumps(nets().Net().state_dict()))
    assert "--trust-pickle" in refuse(capfd, "net.pkl", *FACTORY, "--calibrate", "frames.npy")
    accept(capfd, "net.pkl", *FACTORY, "--trust-pickle")


def test_a_factory_that_goes_elsewhere_does_not_move_the_output(capfd, here):
    with Path("usernets.py").open("a") as file:
        file.write("\n\ndef away():\n    import os\n\n    os.chdir('/')\n    return Net()\n")
    torch.save(nets().Net().state_dict(), "net.pth")
    accept(capfd, "net.pth", "--model", "usernets:away")
    assert (here / "out" / "program.json").exists()
