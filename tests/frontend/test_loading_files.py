"""Files that hold no network, files that are too much, and what a file says of its frames."""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zipfile

import pytest
import torch
from torch import nn

from r2b.frontend.loading import Request, load, parse_shape
from r2b.ir.errors import CheckpointError, UserError
from r2b.train import checkpoint


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def states():
    return nn.Linear(3, 2).state_dict()


def loaded(path, **options):
    return load(Request(path, **options), checkpoint.loaded)


def refusal(path, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        loaded(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


SAFETENSORS = struct.pack("<Q", 2) + b"{}" + bytes(64)
FORMATS = {
    "onnx": ("x.onnx", b"\x08\x07\x12\x07pytorch" + bytes(9), "this is an ONNX model; r2b reads"),
    "onnx by content": ("x.bin", b"\x08\x08\x12\x07pytorch", "this is an ONNX model; r2b reads"),
    "safetensors": ("x.safetensors", SAFETENSORS, "this is a safetensors file, which r2b does not"),
    "keras": ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file, as Keras writes (.h5)"),
    "tflite": ("x.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(9), "but a TensorFlow Lite model"),
    "gguf": ("x.gguf", b"GGUF\x03", "this is no PyTorch model but a GGUF model"),
    "npy": ("x.npy", b"\x93NUMPY\x01\x00", "a NumPy array; frames are given with --calibrate"),
    "npz": ("x.npz", zipped(**{"a.npy": b"x"}), "(it holds NumPy arrays)"),
    "keras archive": ("x.keras", zipped(**{"model.weights.h5": b"x"}), "(it is a Keras model)"),
    "gzip": ("x.pt.gz", gzip.compress(b"x"), "compressed with gzip: unpack it first"),
    "tar": ("x.tar", bytes(257) + b"ustar" + bytes(99), "a tar archive: unpack it first"),
    "xml": ("x.xml", b"<?xml version='1.0'?>", "perhaps an OpenVINO model"),
    "python": ("x.py", b"import torch\n", "this is Python source; give the file with the"),
    "text": ("x.txt", b"hello", "this is not a model file (it is no zip archive)"),
    "other archive": ("x.zip", zipped(folder__a=b"x"), "no model file (no data.pkl in it)"),
}


@pytest.mark.parametrize(("name", "content", "text"), FORMATS.values(), ids=FORMATS)
def test_other_formats_are_known(here, name, content, text):
    (here / name).write_bytes(content)
    assert text in refusal(here / name)


def test_torchscript(here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)), "x.pt")
    for trust in (False, True):
        assert "this is a TorchScript archive" in refusal(here / "x.pt", trust_pickle=trust)


def test_folders(here):
    for name, file, text in (
        ("plain", None, "this is a folder; r2b-compile takes"),
        ("out.r2b", ".r2b", "a folder that r2b-compile wrote, not the model it was made from"),
        ("tf", "saved_model.pb", "a TensorFlow SavedModel, which r2b cannot read"),
    ):
        (here / name).mkdir()
        if file:
            (here / name / file).touch()
        assert text in refusal(here / name)


def test_a_name_with_a_null_character(here):
    with pytest.raises(CheckpointError, match=r"the file's name cannot be used|there is no such"):
        loaded(here / "a\0b")


# ----------------------------------------------------------------------------------------- limits


def test_zip_bomb(here):
    with zipfile.ZipFile("x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 26))
    assert "unpacks to 1 files and 67,108,864 bytes" in refusal(here / "x.pt")


def test_two_members_of_one_name(here):
    with warnings.catch_warnings(), zipfile.ZipFile("x.pt", "w") as archive:
        warnings.simplefilter("ignore")
        for content in (b"a", b"b"):
            archive.writestr("archive/data.pkl", content)
    assert "holds two files of one name" in refusal(here / "x.pt")


def test_huge_file(here):
    torch.save(states(), "x.pt")
    with (here / "x.pt").open("r+b") as file:
        file.truncate(5 << 30)  # a hole: nothing is written
    assert refusal(here / "x.pt").startswith("the file has more than 4 GiB")


# ------------------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize(
    ("text", "shape"), [("3x32x32", (3, 32, 32)), ("784", (784,)), ("1X8X9", (1, 8, 9))]
)
def test_input_shape(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "3x32", "0x3x3", "3x-1x3", "axbxc", "1x1x1x1", "x", "²"])
def test_input_shape_that_is_none(text):
    with pytest.raises(UserError, match=r"^--input-shape takes CxHxW, or F for vectors"):
        parse_shape(text)


def test_input_shape_of_absurd_size():
    with pytest.raises(UserError, match=r"a frame has 16,777,216 values at most$"):
        parse_shape("99999x99999x3")


# ----------------------------------------------------------------------------------- --model too


def test_a_factory_is_no_use_where_the_file_holds_the_network(here):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.rand(2, 2),)), "x.pt2")
    assert "this is an exported program, which holds its network; leave --model away" in refusal(
        here / "x.pt2", factory="nets:make"
    )
    torch.save({"format": "r2b-checkpoint/9"}, "y.pt")
    assert "leave --model away" in refusal(here / "y.pt", factory="nets:make")
    assert "the file's dict lacks arch" in refusal(here / "y.pt")


def test_an_exported_program_comes_with_its_shape(here):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.rand(2, 2),)), "x.pt2")
    found = loaded(here / "x.pt2")
    assert (found.name, found.shape) == ("network", (2,))
