"""Bad input to ``r2b-compile``: one message, status 2, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b import cli_compile, compiler, output, verify
from r2b.backends.fpga.planner import make_plan
from r2b.frontend.loading import Request
from r2b.ir.errors import CheckpointError, OutputError
from r2b.options import Options
from r2b.train import checkpoint, zoo
from tests.hw.programs import random_program

MODEL = Path(__file__).parents[1] / "examples" / "digits" / "digits.pt"
ARCH = "real-to-binary-digits"
TINY = {"widths": [8], "blocks": [1]}
SHAPE = (1, 16, 16)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree() -> dict[str, bytes | None]:
    """Everything in this folder, hidden files too."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.fixture
def refused(capfd):
    """Run the command; return its one message after the checks that hold for every bad input."""

    def run(*arguments: object, status: int = 2) -> str:
        before = tree()
        found = cli_compile.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert found == status, err
        assert out == ""
        assert tree() == before
        assert err.count("error: ") == 1
        return err.partition("error: ")[2].strip()

    return run


@pytest.fixture
def usage(capfd):
    """Run the command with arguments it cannot take; return what it says."""

    def run(*arguments: object) -> str:
        before = tree()
        assert cli_compile.main([str(argument) for argument in arguments]) == 2
        assert tree() == before
        return " ".join(capfd.readouterr().err.split())

    return run


@pytest.fixture
def model(here):
    """A tiny model file without calibration frames."""
    torch.manual_seed(0)
    state = zoo.build(ARCH, TINY).state_dict()
    checkpoint.save(here / "tiny.pt", arch=ARCH, config=TINY, state_dict=state)
    return Path("tiny.pt")


def frames(**changes) -> str:
    """File of calibration frames; ``shape``, ``dtype`` and ``fill`` spoil them."""
    options = {"shape": (4, *SHAPE), "dtype": np.uint8, "fill": 7} | changes
    array = np.full(options["shape"], options["fill"], options["dtype"])
    np.save("frames.npy", array, allow_pickle=True)
    return "frames.npy"


def spoil(**changes: object) -> Path:
    """Copy of the shipped model with entries of its dict replaced."""
    content = torch.load(MODEL, weights_only=True)
    torch.save(content | changes, "spoiled.pt")
    return Path("spoiled.pt")


# ------------------------------------------------------------------------------------- the model


def test_no_such_file(refused):
    assert refused("nothing.pt").startswith("nothing.pt: there is no such file; r2b-compile takes")


def test_no_argument(usage):
    assert "Missing argument 'model'" in usage()


@pytest.mark.parametrize("content", [b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_no_model(refused, content):
    Path("x.pt").write_bytes(content)
    message = refused("x.pt")
    assert message.startswith("x.pt: this is not a model file (it is no zip archive); r2b-compile")


def test_empty_file(refused):
    Path("x.pt").touch()
    assert refused("x.pt").startswith("x.pt: the file is empty; r2b-compile takes")


def test_a_folder(refused):
    Path("x.pt").mkdir()
    assert refused("x.pt").startswith("x.pt: this is a folder; r2b-compile takes")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint(refused, share):
    content = MODEL.read_bytes()
    Path("x.pt").write_bytes(content[: int(share * len(content))])
    message = refused("x.pt")
    assert message == (
        "x.pt: the zip archive is truncated or damaged; copy the file again, or save it again"
    )


class Hostile:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("it-ran",)


def test_bare_pickle_with_code(refused):
    Path("x.pt").write_bytes(pickle.dumps(Hostile()))
    assert "a bare Python pickle, which can run code when it is read" in refused("x.pt")
    assert not Path("it-ran").exists()


def test_archived_pickle_with_code(refused):
    torch.save({"format": checkpoint.FORMAT, "state_dict": Hostile()}, "x.pt")
    message = refused("x.pt")
    assert "objects that only running code could rebuild (" in message
    assert "nothing in it was run" in message
    assert not Path("it-ran").exists()


def test_other_archive(refused):
    with zipfile.ZipFile("x.pt", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "this zip archive is no model file (no data.pkl in it)" in refused("x.pt")


def test_unknown_architecture(refused):
    assert refused(spoil(arch="resnet-9000")) == (
        "spoiled.pt: there is no network 'resnet-9000' in the zoo; known are: "
        + ", ".join(sorted(zoo.ARCHITECTURES))
    )


def test_unknown_option_of_the_architecture(refused):
    assert "it has no option 'depth'" in refused(spoil(config={"depth": 3}))


def test_other_parameters(refused):
    assert "the state_dict does not fit the network" in refused(spoil(config={"widths": [32, 32]}))


def test_input_shape_that_does_not_fit(refused):
    message = refused(spoil(config={"widths": [8] * 5, "blocks": [1] * 5}))
    assert "so 5 groups do not fit the 8x8 map behind the stem" in message


def test_stored_frames_that_do_not_fit(refused):
    message = refused(spoil(calibration=torch.zeros(4, 3, 16, 16, dtype=torch.uint8)))
    assert "calibration must be a uint8 tensor N x 1 x 16 x 16, N >= 1, not uint8 4 x 3" in message


ODD = """
import torch
from torch import nn

class Odd(nn.Linear):
    def forward(self, x):
        return torch.special.i0(torch.special.i1(super().forward(x)))
"""


def test_unsupported_ops(refused):
    Path("oddnet.py").write_text(ODD)
    torch.save(torch.nn.Linear(4, 2).state_dict(), "x.pt")
    arguments = ["--model", "oddnet:Odd", "--model-args", "in_features=4,out_features=2"]
    shape = ["--input-shape", "4", "--calibrate", "random", "--target", "numpy", "-q"]
    message = refused("x.pt", *arguments, *shape)
    for text in ("aten.special_i0", "aten.special_i1", "oddnet.py:7"):
        assert text in message


# ----------------------------------------------------------------------------- calibration frames


def test_none_stored(refused, model):
    assert refused(model) == (
        "the model file holds no calibration frames; give some with --calibrate FRAMES.npy "
        "(uint8, N x C x H x W), or --calibrate random for a trial"
    )


WANTED = "frames.npy: calibration frames must be uint8, N x 1 x 16 x 16, N >= 1, not "


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"shape": (4, 1, 8, 8)}, "4 x 1 x 8 x 8; give frames as the network takes them"),
        ({"shape": (4, 3, 16, 16)}, "4 x 3 x 16 x 16; give frames as the network takes them"),
        ({"shape": SHAPE}, "1 x 16 x 16; give frames as the network takes them"),
        ({"shape": ()}, "a scalar; give frames as the network takes them"),
        ({"shape": (0, *SHAPE)}, "0 frames; give some samples"),
        ({"dtype": np.float32}, "float32; give raw pixels 0..255"),
        ({"dtype": np.int64}, "int64; give raw pixels 0..255"),
        ({"dtype": np.float32, "fill": np.nan}, "float32 with NaN; give raw pixels 0..255"),
    ],
)
def test_frames_of_the_wrong_kind(refused, changes, found):
    assert refused(MODEL, "--calibrate", frames(**changes)) == WANTED + found


def test_frames_that_are_no_array(refused):
    Path("frames.npy").write_text("hello")
    message = refused(MODEL, "--calibrate", "frames.npy")
    assert message.startswith("frames.npy: this is no .npy file of numbers; give uint8 frames")


def test_frames_with_code(refused):
    np.save("frames.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    message = refused(MODEL, "--calibrate", "frames.npy")
    assert message.startswith("frames.npy: this is no .npy file of numbers; give uint8 frames")
    assert not Path("it-ran").exists()


def test_frames_in_an_archive(refused):
    np.savez("frames.npz", np.zeros(3))
    assert "not a NpzFile; give a NumPy array" in refused(MODEL, "--calibrate", "frames.npz")


def test_frames_whose_header_promises_too_much(refused):
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 45, *SHAPE)}
    with Path("frames.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    assert "no .npy file of numbers" in refused(MODEL, "--calibrate", "frames.npy")


def test_array_beyond_the_device(refused):
    message = refused(MODEL, "--parallelism", "99999x99999")
    assert "choose a smaller --parallelism" in message


def test_mean_of_pixels(refused):
    assert "mean must lie in 0..1" in refused(MODEL, "--mean", "123.675")


def test_no_frames_file(refused):
    message = refused(MODEL, "--calibrate", "frames.npy")
    assert message.startswith("frames.npy: cannot be read: No such file or directory; give uint8")


def test_random_frames_warn(here, model, capfd):
    assert cli_compile.main([str(model), "--calibrate", "random", "--target", "numpy"]) == 0
    assert capfd.readouterr().err == (
        "warning: random calibration frames: the scales, and so the accuracy, are those of noise\n"
    )


# ---------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "text", ["0x64", "64x0", "0", "64", "-4x4", "4x-4", "axb", "4x4x3", "1.5x2", "", "x"]
)
def test_parallelism(refused, text):
    assert refused(MODEL, f"--parallelism={text}") == (
        "parallelism must be PINxPOUT with two positive integers, for example 64x64, or "
        f"PINxPOUTxPPX with 1, 2 or 4 pixels at a time, for example 64x64x2, not {text!r}"
    )


CASES = [
    (["--target", "gpu"], "unknown target 'gpu'; known: numpy, fpga, cost, all"),
    (["--device", "xc9"], "unknown device 'xc9'; known: ecp5-25f, ecp5-45f, ecp5-85f, xc7a35t"),
    (["--batch", "0"], "--batch takes 1 to 16 frames, not 0"),
    (["--batch", "17"], "--batch takes 1 to 16 frames, not 17"),
    (["--batch=-1"], "--batch takes 1 to 16 frames, not -1"),
    (["--clock", "0"], "the clock must be a positive number of MHz, not 0.0"),
    (["--clock=-5"], "the clock must be a positive number of MHz, not -5.0"),
    (["--clock", "nan"], "the clock must be a positive number of MHz, not nan"),
    (["--act-bits", "7"], "activations have 8 to 16 bits, not 7; choose another --act-bits"),
    (["--act-bits", "17"], "activations have 8 to 16 bits, not 17; choose another --act-bits"),
    (["--verify", "-1"], "--verify takes 1 frame or more, not -1"),
    (["--verify", "65"], "--verify 65 asks for more than the 64 calibration frames"),
    (["--target", "numpy", "--verify"], "--verify simulates Verilog, which target numpy has not"),
    (["--raw", "--mean", "0.5"], "--raw gives the network the pixels as they are"),
    (["--mean", "half"], "--mean takes a number, or one per channel with commas, not 'half'"),
    (["--mean", "1,2"], "mean must be one finite number, or one for each of the 1 channels"),
    (["--mean", "nan"], "mean must be one finite number, or one for each of the 1 channels"),
    (["--std", "0"], "std must be positive and of sane size, not 0.0"),
    (["--std=-1"], "std must be positive and of sane size, not -1.0"),
    (["--seed=-1"], "--seed takes 0 or more, not -1"),
    (["--sign-zero", "0"], "--sign-zero takes +1 or -1, not '0'"),
]


@pytest.mark.parametrize(("arguments", "message"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_options(refused, arguments, message):
    assert refused(MODEL, *arguments).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--act-bits", "twelve"], "'--act-bits'"),
        (["--clock", "fast"], "'--clock'"),
        (["--batch", "several"], "'--batch'"),
        (["--batch", "1.5"], "'--batch'"),
        (["--verify=some"], "'--verify'"),
        (["--colour"], "--colour"),
    ],
)
def test_options_of_the_wrong_type(usage, arguments, message):
    assert message in usage(MODEL, *arguments)


def plan_file(**changes) -> str:
    """A Plan of some network with a front, with changes that only a text can have."""
    program = random_program(3, frame=(1, 8, 8), widths=(8,), blocks=1)
    content = json.loads(make_plan(program, parallelism=(8, 8), front_out=8).to_json())
    Path("plan.json").write_text(json.dumps(content | changes))
    return "plan.json"


def test_a_batch_with_a_front(refused):
    """A front is a Plan's, which says what the batch is, too."""
    arguments = ["--plan", plan_file(), "--batch", "2"]
    assert refused(MODEL, *arguments) == "--plan says all that --batch says; give one of them"
    assert refused(MODEL, "--plan", plan_file(batch=2)) == (
        "Plan: front_out 8 needs batch 1, not 2: a front takes one frame at a time; choose "
        "front_out 0 or batch 1"
    )


FRONTS = {
    "front_out -4": ({"front_out": -4}, "front_out must be 0 or a positive integer, not -4"),
    "front_luts -1": ({"front_luts": -1}, "front_luts must be 0 or a positive integer, not -1"),
    "no multiple": ({"front_out": 6}, "lanes must divide front_out 6, not 4"),
    "too many LUTs": ({"front_luts": 9}, "front_luts must be 0 to front_out 8, not 9"),
    "LUTs of none": ({"front_out": 0, "front_luts": 1},
                     "front_luts must be 0 to front_out 0, not 1"),
    "three products": ({"front_packing": 3}, "front_packing must be 1 or 2, not 3"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FRONTS.values(), ids=FRONTS)
def test_no_front_of_that_kind(refused, changes, message):
    assert refused(MODEL, "--plan", plan_file(**changes)) == f"Plan: {message}"


# ------------------------------------------------------------------------------- the output folder


def test_output_holds_something_else(refused):
    Path("out").mkdir()
    Path("out", "thesis.tex").write_text("years of work")
    for force in ([], ["-f"]):
        assert refused(MODEL, "-o", "out", *force) == (
            "out holds something else, which r2b did not make and will not replace; "
            "choose another -o"
        )


def test_output_is_a_file(refused):
    Path("out").write_text("years of work")
    assert refused(MODEL, "-o", "out", "-f") == "out exists and is no folder; choose another -o"


def test_output_without_a_parent(refused):
    assert refused(MODEL, "-o", "a/b") == "a/b: there is no folder a; make it, or choose another -o"


def test_output_exists(refused, model):
    arguments = [model, "--calibrate", frames(), "--target", "numpy", "-o", "out"]
    assert cli_compile.main([str(a) for a in (*arguments, "-q")]) == 0
    assert refused(*arguments) == "out exists; -f replaces it, or choose another -o"
    Path("out", "mine.txt").write_text("goes with the folder")
    assert cli_compile.main([str(a) for a in (*arguments, "-f", "-q")]) == 0
    assert not Path("out", "mine.txt").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["frames.npy", "out", "tiny.pt"]


def test_output_is_the_current_folder(refused, monkeypatch):
    what = "is the current folder, or holds it, and would be replaced; choose another -o"
    Path("out").mkdir()
    monkeypatch.chdir("out")
    for place in (".", "..", "../out", Path.cwd()):
        assert refused(MODEL, "-o", place) == f"{place} {what}"


def test_output_not_readable(refused, monkeypatch):
    def iterdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    Path("out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        with pytest.raises(OutputError) as caught:
            output.check_output(Path("out"), force=False)
    assert str(caught.value) == "out cannot be read: Permission denied; choose another -o"


def test_output_not_writable(refused, monkeypatch):
    def mkdir(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    message = refused(MODEL, "-o", "out")
    assert message.endswith(
        "out cannot be written: Permission denied; choose another -o, or make room"
    )


@pytest.mark.parametrize("file", ["program.json", "plan.json", "report.json", output.MARKER])
def test_disk_full(refused, monkeypatch, model, file):
    original = Path.write_text

    def write_text(path, *arguments, **options):
        if path.name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    message = refused(model, "--calibrate", frames(), "-o", "out", "--parallelism", "4x4")
    assert message.endswith(
        "out cannot be written: No space left on device; choose another -o, or make room"
    )


def test_an_old_folder_survives_a_failure(refused, monkeypatch, model):
    arguments = [model, "--calibrate", frames(), "--target", "numpy", "-o", "out"]
    assert cli_compile.main([str(a) for a in (*arguments, "-q")]) == 0
    original = Path.rename

    def rename(path, target):
        if path.name.endswith(".tmp"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert "cannot be written: Input/output error" in refused(*arguments, "-f")


def test_interrupted(refused, monkeypatch, model):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiler, "write_report", interrupt)
    arguments = [model, "--calibrate", frames(), "--target", "numpy"]
    assert refused(*arguments, status=130) == "interrupted; nothing was written"


TERMINATED = """
import sys, time
from r2b import cli_compile, compiler

def wait(*arguments):
    print("ready", flush=True)
    time.sleep(300)

compiler.write_report = wait
sys.exit(cli_compile.main(sys.argv[1:]))
"""


def test_terminated(model):
    frames()
    before = tree()
    arguments = [str(model), "--calibrate", "frames.npy", "--target", "numpy", "-o", "out"]
    command = [sys.executable, "-c", TERMINATED, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert list(Path().glob(".out.*.tmp"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert tree() == before


def test_termination_is_as_before_afterwards(usage):
    before = signal.getsignal(signal.SIGTERM)
    usage(MODEL, "--colour")
    assert signal.getsignal(signal.SIGTERM) == before


# ------------------------------------------------------------------------------------ the machine


def test_no_compiler(refused, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    # before anything is read: a model that does not exist is not what is complained about
    message = refused("nothing.pt", "--verify")
    assert message.startswith("simulation needs a C++ compiler (apt install g++): no g++ or")


# ---------------------------------------------------------------------------------------- defects


def test_defect(refused, monkeypatch, model):
    def fail(*arguments, **options):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(compiler, "canonicalize", fail)
    message = refused(model, "--calibrate", frames(), status=70)
    assert message == (
        "this is a defect of r2b, please report it: ZeroDivisionError: by zero (-v shows where)"
    )


def test_the_library_raises_the_same(model):
    with pytest.raises(CheckpointError, match=r"^gone\.pt: there is no such file"):
        compiler.compile_model(Request(Path("gone.pt")), Options())
    assert verify.check_tools() is None
