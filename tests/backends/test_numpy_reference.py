"""The emitted reference.py of the shipped digits network: the Program's bits, with NumPy alone."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b.backends.numpy import emit
from r2b.backends.numpy.emit import CONSTANTS, SECTIONS
from r2b.frontend.importer import import_module
from r2b.ir import contractions, kernels
from r2b.ir.execute import execute, logits
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.quantize import quantize
from r2b.train import checkpoint

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def net():
    loaded = checkpoint.load(DIGITS / "digits.pt")
    graph = import_module(checkpoint.module(loaded), torch.zeros(1, *loaded.calibration.shape[1:]))
    return quantize(canonicalize(graph), loaded.calibration)[0]


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("numpy") / "digits.r2b"
    emit(net, path)
    return path


@pytest.fixture
def frames():
    return np.load(DIGITS / "test_frames.npy")


def run(folder, *arguments):
    """Run reference.py with an import hook that lets NumPy and the standard library pass only."""
    guard = (
        "import runpy, sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.partition('.')[0]\n"
        "        if top != 'numpy' and top not in sys.stdlib_module_names:\n"
        "            raise ImportError(f'{name} must not be imported')\n"
        "sys.meta_path.insert(0, Guard())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", guard, folder / "reference.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_line_gives_the_programs_bits(net, folder, frames, tmp_path):
    np.save(tmp_path / "in.npy", frames)
    result = run(folder, tmp_path / "in.npy", tmp_path / "out.npy")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.int32 and found.shape == (len(frames), 10)
    assert (found == logits(net, frames)).all()


def test_trace_has_every_value(net, folder, frames, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    import reference  # pyright: ignore[reportMissingImports]

    found, expected = reference.predict_trace(frames[:8]), execute(net, frames[:8])
    for kind in ("tensors", "signs", "sums", "slopes"):
        values = getattr(expected, kind)
        assert list(getattr(found, kind)) == list(values) and values
        for name, value in values.items():
            np.testing.assert_array_equal(getattr(found, kind)[name], value, err_msg=name)


def test_one_line_per_stage(net, folder):
    lines = (folder / "reference.py").read_text().splitlines()
    calls = [line.strip() for line in lines if "_stage(trace, STAGES[" in line]
    assert [call.split('"')[1] for call in calls] == [stage.name for stage in net.stages]


def test_only_the_functions_that_the_network_needs_are_there(folder):
    text = (folder / "reference.py").read_text()
    for used in ("binary_conv_stage", "real_conv_stage", "gate_slopes", "skip_step", "gate_table"):
        assert f"def {used}(" in text
    for unused in ("concat_stage", "flatten_stage", "pad_stage", "bordered", "table_step"):
        assert f"def {unused}(" not in text and f" {unused}," not in text


def test_every_name_of_the_kernels_can_be_emitted():
    """What a kernel calls stands in a section, or is defined by the template."""
    known = {function.__name__ for _, functions in SECTIONS for function in functions}
    defined = known | {name for name, _ in CONSTANTS} | {"STEPS"}
    for _, functions in SECTIONS:
        for function in functions:
            code = getattr(inspect.unwrap(function), "__code__", None)
            names = set(code.co_names) if code else set()
            module = inspect.getmodule(function)
            own = {name for name in names if getattr(module, name, None) is not None}
            assert own - {"np", "math", "reduce"} <= defined, function


def test_emitted_twice_gives_equal_bytes(net, folder, tmp_path):
    emit(net, tmp_path)
    for path in folder.iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_accuracy_is_within_half_a_point_of_pytorch(net, frames):
    labels = np.load(DIGITS / "test_labels.npy")
    model = checkpoint.module(checkpoint.load(DIGITS / "digits.pt"))
    with torch.no_grad():
        wanted = (model(torch.from_numpy(frames).float() / 255).argmax(1).numpy() == labels).mean()
    assert abs((logits(net, frames).argmax(axis=1) == labels).mean() - wanted) <= 0.005


WANTED = "frames must be uint8, N x 1 x 16 x 16"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 16, 16)), f"{WANTED}, not float64"),
        (np.zeros((2, 1, 16, 17), np.uint8), f"{WANTED}, not 2 x 1 x 16 x 17"),
        (np.zeros((1, 16, 16), np.uint8), f"{WANTED}, not 1 x 16 x 16"),
    ],
)
def test_wrong_frames(folder, tmp_path, array, message):
    np.save(tmp_path / "in.npy", array)
    result = run(folder, tmp_path / "in.npy", tmp_path / "out.npy")
    assert result.returncode == 2 and not (tmp_path / "out.npy").exists()
    assert result.stderr == f"error: {tmp_path / 'in.npy'}: {message}\n"


def test_wrong_files(folder, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"not numbers")
    np.save(tmp_path / "good.npy", np.zeros((1, 1, 16, 16), np.uint8))
    for arguments, message in [
        ((), "usage: python reference.py FRAMES.npy OUT.npy"),
        (("gone.npy", "out.npy"), "error: gone.npy cannot be read: No such file or directory"),
        ((tmp_path / "bad.npy", "out.npy"), "is no .npy file of numbers; write it with numpy.save"),
        ((tmp_path / "good.npy", tmp_path / "no" / "out.npy"), "cannot be written: No such file"),
    ]:
        result = run(folder, *arguments)
        assert result.returncode == 2
        assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("limit", [7, 200])
def test_results_do_not_depend_on_the_blocks(limit, monkeypatch, net):
    frames = np.random.default_rng(3).integers(0, 256, (3, 1, 16, 16), np.uint8)
    expected = execute(net, frames)
    monkeypatch.setattr(kernels, "BLOCK", limit)
    monkeypatch.setattr(contractions, "BLOCK_WORDS", limit)
    monkeypatch.setattr(contractions, "BLOCK_PATCHES", limit)
    found = execute(net, frames)
    for kind in ("tensors", "signs", "sums", "slopes"):
        for name, value in vars(expected)[kind].items():
            np.testing.assert_array_equal(vars(found)[kind][name], value, err_msg=name)
    np.testing.assert_array_equal(found.logits, expected.logits)
