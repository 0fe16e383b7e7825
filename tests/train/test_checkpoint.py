"""Model files: round trip, atomic writing, and one message for every file that is refused."""

import io
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.frontend import loading_files
from r2b.ir.errors import CheckpointError
from r2b.train import checkpoint
from r2b.train.zoo import ARCHITECTURES, build

ARCH = "real-to-binary-digits"
CONFIG = {"widths": [8, 16]}
WAY_OUT = "r2b reads r2b-checkpoint/1 files, written with r2b.train.checkpoint.save()"
KNOWN = ", ".join(sorted(ARCHITECTURES))
FILES = loading_files.WAY_OUT
SAVE_FROM = "save it from the network that arch and config name"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build(ARCH, CONFIG).eval()


@pytest.fixture
def content(model):
    """A good file's dict, for each test to spoil."""
    return {
        "format": "r2b-checkpoint/1",
        "arch": ARCH,
        "config": dict(CONFIG),
        "state_dict": dict(model.state_dict()),
        "calibration": torch.zeros(2, 1, 16, 16, dtype=torch.uint8),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def save(path, model, **changes):
    calibration = np.arange(512, dtype=np.uint32).astype(np.uint8).reshape(2, 1, 16, 16)
    arguments = {
        "arch": ARCH,
        "config": CONFIG,
        "state_dict": model.state_dict(),
        "calibration": calibration,
    }
    checkpoint.save(path, **(arguments | changes))
    return calibration


def refused(path, text):
    """Check the whole text of the refusal; ``text`` is what follows the path."""
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{path}: {text}')}$"):
        checkpoint.load(path)


class Marker:
    """An object whose unpickling makes a folder: the stand-in for hostile code."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


# Good files


def test_round_trip(path, model):
    calibration = save(path, model)
    loaded = checkpoint.load(path)
    assert loaded.arch == ARCH
    assert loaded.config == CONFIG
    assert loaded.state_dict.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict[k], v) for k, v in model.state_dict().items())
    assert loaded.calibration is not None
    assert loaded.calibration.dtype == np.uint8
    assert np.array_equal(loaded.calibration, calibration)


def test_calibration_may_be_none_or_absent(path, model, content):
    save(path, model, calibration=None)
    assert checkpoint.load(path).calibration is None
    del content["calibration"]
    torch.save(content, path)
    assert checkpoint.load(path).calibration is None


def test_module_equals_the_saved_one_and_is_in_eval_mode(path, model):
    save(path, model)
    restored = checkpoint.module(checkpoint.load(path))
    x = torch.rand(3, 1, 16, 16)
    assert not any(part.training for part in restored.modules())
    assert torch.equal(restored(x), model(x))


def test_module_shares_no_memory_with_the_checkpoint(path, model):
    save(path, model)
    loaded = checkpoint.load(path)
    restored = checkpoint.module(loaded)
    torch.nn.init.zeros_(restored.get_parameter("head.linear.weight"))
    assert torch.equal(loaded.state_dict["head.linear.weight"], model.head.linear.weight)


def test_loading_draws_no_random_numbers(path, model):
    save(path, model)
    state = torch.get_rng_state()
    checkpoint.module(checkpoint.load(path))
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_content_gives_equal_bytes(tmp_path, model):
    for name in ("a.pt", "another name.pt"):
        save(tmp_path / name, model)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another name.pt").read_bytes()


# Writing


def test_save_replaces_the_file_and_leaves_nothing_else(path, model):
    path.write_text("older")
    save(path, model)
    checkpoint.load(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_a_failed_write_leaves_the_older_file(path, model, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    path.write_text("older")
    monkeypatch.setattr("pathlib.Path.replace", fail)
    text = f"{path} cannot be written: No space left on device"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        save(path, model)
    assert path.read_text() == "older"
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_save_into_a_missing_folder(tmp_path, model):
    path = tmp_path / "missing" / "model.pt"
    text = f"{path} cannot be written: No such file or directory"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        save(path, model)


def test_save_onto_a_folder(tmp_path, model):
    text = f"{tmp_path} cannot be written: it is a folder"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        save(tmp_path, model)


def test_save_refuses_what_load_would_refuse(path, model):
    text = f"{path} was not written: there is no network 'resnet' in the zoo; known are: {KNOWN}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        save(path, model, arch="resnet")
    assert not path.exists()


def test_save_refuses_float_calibration(path, model):
    text = f"{path} was not written: calibration must be a uint8 array N x C x H x W, not float32"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        save(path, model, calibration=np.zeros((1, 1, 16, 16), np.float32))


# Files that are no model files


def test_missing_file(path):
    refused(path, f"there is no such file; {FILES}")


def test_folder(tmp_path):
    refused(tmp_path, f"this is a folder; {FILES}")


def test_name_too_long(tmp_path):
    refused(tmp_path / ("x" * 300), "the file cannot be read: File name too long")


def test_empty_file(path):
    path.write_bytes(b"")
    refused(path, f"the file is empty; {FILES}")


@pytest.mark.parametrize("data", [b"x", b"PK", b"hello, world", b"PK\x05\x06" + bytes(18)])
def test_not_a_model_file(path, data):
    path.write_bytes(data)
    refused(path, f"this is not a model file (it is no zip archive); {FILES}")


def test_zip_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/readme.txt", "hello")
    refused(path, f"this zip archive is no model file (no data.pkl in it); {FILES}")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_file(path, model, share):
    save(path, model)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "the zip archive is truncated or damaged; copy the file again, or save it again")


def test_flipped_bit_in_a_weight(path, model):
    save(path, model)
    weight = model.state_dict()["head.linear.weight"].numpy().tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(weight)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged in 'archive/data/\d+'; copy the file"):
        checkpoint.load(path)


def not_run(path, start):
    """Check a refusal of something that only running code could rebuild."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {start}")
    assert "save the parameters alone" in text
    assert "--trust-pickle" in text


def test_raw_pickle_is_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(Marker(tmp_path / "marker")))
    not_run(
        path,
        "the file is a bare Python pickle, which can run code when it is read, so it was not read;",
    )
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("place", ["root", "config", "state_dict", "calibration"])
@pytest.mark.parametrize("archive", [True, False])
def test_code_in_the_file_is_not_run(path, tmp_path, content, place, archive):
    marker = Marker(tmp_path / "marker")
    if place == "root":
        content = marker
    elif place == "calibration":
        content["calibration"] = marker
    else:
        content[place]["x"] = marker
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    names = "posix.mkdir" if archive else "it is in the format that torch.save had before"
    not_run(path, f"the file holds objects that only running code could rebuild ({names}")
    assert not (tmp_path / "marker").exists()


def test_the_marker_works(tmp_path):
    """Without this, the tests above could pass because the stand-in is harmless."""
    pickle.loads(pickle.dumps(Marker(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_pickled_module(path, model):
    torch.save(model, path)
    not_run(
        path,
        "the file holds a whole pickled nn.Module, which only running code could rebuild (",
    )


def test_torchscript(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(torch.nn.Linear(2, 2), torch.rand(1, 2))
        torch.jit.save(traced, path)
    refused(
        path,
        "this is a TorchScript archive, which holds code of its own; r2b reads the module it was "
        f"made from: {loading_files.EXPORT_HINT}",
    )


def test_exported_program(tmp_path):
    path = tmp_path / "model.pt2"
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(program, path)
    refused(path, f"this is a program of torch.export, no checkpoint; {WAY_OUT}")


def test_bare_state_dict(path, model):
    torch.save(model.state_dict(), path)
    refused(
        path,
        f"this is a bare state_dict, which does not say which network it belongs to; {WAY_OUT}",
    )


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(3), "text", None])
def test_no_dict(path, value):
    torch.save(value, path)
    refused(path, f"the file holds a {type(value).__name__}, no dict; {WAY_OUT}")


# Dicts that are wrong


@pytest.mark.parametrize("key", checkpoint.REQUIRED_KEYS)
def test_missing_key(path, content, key):
    del content[key]
    torch.save(content, path)
    refused(path, f"the file's dict lacks {key}; {WAY_OUT}")


def test_empty_dict(path):
    torch.save({}, path)
    refused(path, f"the file's dict lacks format, arch, config and 1 more; {WAY_OUT}")


def set_config(content, **changes):
    content["config"].update(changes)


def set_entry(content, key, value):
    content["state_dict"][key] = value


def set_calibration(content, *shape, dtype=torch.uint8):
    content["calibration"] = torch.zeros(shape, dtype=dtype)


def refusal_of_the_zoo(config):
    """What the zoo says of a config, which names all its options."""
    with pytest.raises(CheckpointError, match=r"has no option 'depth'; its options are: \w+") as no:
        build(ARCH, config)
    return str(no.value)


STATE = f"the state_dict does not fit the network {ARCH}: it "
CALIBRATION = "calibration must be a uint8 tensor N x 1 x 16 x 16, N >= 1, not "
NO_FRAMES = "; store raw frames, or None"
BIAS = "head.linear.bias"

SPOILED = {
    "newer format": (
        lambda c: c.update(format="r2b-checkpoint/2"),
        f"the file's format is 'r2b-checkpoint/2'; {WAY_OUT}, so save it again, or update r2b if "
        "the file is newer",
    ),
    "arch no string": (lambda c: c.update(arch=3), f"arch must be a string, not int; {WAY_OUT}"),
    "unknown arch": (
        lambda c: c.update(arch="resnet"),
        f"there is no network 'resnet' in the zoo; known are: {KNOWN}",
    ),
    "config no dict": (
        lambda c: c.update(config=[1]),
        f"config must be a dict with strings as keys; {WAY_OUT}",
    ),
    "config with numbers as keys": (
        lambda c: c.update(config={1: 2}),
        f"config must be a dict with strings as keys; {WAY_OUT}",
    ),
    "config with an unknown option": (
        lambda c: set_config(c, depth=18),
        refusal_of_the_zoo({"depth": 18}),
    ),
    "config out of range": (
        lambda c: set_config(c, widths=[10**12, 8]),
        f"the config does not fit {ARCH}: "
        "widths[0] must be an integer from 1 to 8192, not 1000000000000",
    ),
    "config of another network": (
        lambda c: set_config(c, num_classes=7),
        f"{STATE}has head.linear.weight of shape 10 x 16 where it must be 7 x 16, "
        f"has {BIAS} of shape 10 where it must be 7; {SAVE_FROM}",
    ),
    "state_dict no dict": (
        lambda c: c.update(state_dict=[]),
        f"state_dict must be a dict, not list; {WAY_OUT}",
    ),
    "state_dict lacks an entry": (
        lambda c: c["state_dict"].pop(BIAS),
        f"{STATE}lacks {BIAS}; {SAVE_FROM}",
    ),
    "state_dict with one entry too many": (
        lambda c: set_entry(c, "alpha", torch.zeros(1)),
        f"{STATE}has alpha, which the network does not know; {SAVE_FROM}",
    ),
    "state_dict of a wrapped network": (
        lambda c: c.update(state_dict={f"module.{k}": v for k, v in c["state_dict"].items()}),
        f"{STATE}lacks stem.conv.weight, stem.norm.weight, stem.norm.bias and 48 more, "
        "has module.stem.conv.weight, module.stem.norm.weight, module.stem.norm.bias and 48 more, "
        f"which the network does not know; {SAVE_FROM}",
    ),
    "wrong shape": (
        lambda c: set_entry(c, BIAS, torch.zeros(2, 5)),
        f"{STATE}has {BIAS} of shape 2 x 5 where it must be 10; {SAVE_FROM}",
    ),
    "wrong dtype": (
        lambda c: set_entry(c, BIAS, torch.zeros(10, dtype=torch.float16)),
        f"{STATE}has {BIAS} in float16 where it must be float32; {SAVE_FROM}",
    ),
    "no tensor": (
        lambda c: set_entry(c, BIAS, [0.0] * 10),
        f"{STATE}has a list as {BIAS}, no tensor; {SAVE_FROM}",
    ),
    "sparse tensor": (
        lambda c: set_entry(c, BIAS, torch.zeros(10).to_sparse()),
        f"{STATE}has no plain dense tensor as {BIAS}; {SAVE_FROM}",
    ),
    "tensor without data": (
        lambda c: set_entry(c, BIAS, torch.zeros(10, device="meta")),
        f"{STATE}has no plain dense tensor as {BIAS}; {SAVE_FROM}",
    ),
    "not finite": (
        lambda c: set_entry(c, BIAS, torch.full((10,), torch.nan)),
        f"{STATE}has {BIAS} with values that are not finite; {SAVE_FROM}",
    ),
    "calibration no tensor": (
        lambda c: c.update(calibration=[1]),
        f"{CALIBRATION}a list{NO_FRAMES}",
    ),
    "calibration of floats": (
        lambda c: set_calibration(c, 2, 1, 16, 16, dtype=torch.float32),
        f"{CALIBRATION}float32 2 x 1 x 16 x 16{NO_FRAMES}",
    ),
    "calibration without channels": (
        lambda c: set_calibration(c, 2, 16, 16),
        f"{CALIBRATION}uint8 2 x 16 x 16{NO_FRAMES}",
    ),
    "calibration of another size": (
        lambda c: set_calibration(c, 2, 1, 8, 8),
        f"{CALIBRATION}uint8 2 x 1 x 8 x 8{NO_FRAMES}",
    ),
    "calibration of no frames": (
        lambda c: set_calibration(c, 0, 1, 16, 16),
        f"{CALIBRATION}uint8 0 x 1 x 16 x 16{NO_FRAMES}",
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize(("spoil", "text"), SPOILED.values(), ids=SPOILED)
def test_spoiled(path, content, spoil, text):
    spoil(content)
    torch.save(content, path)
    refused(path, text)


# Any bytes: an error of ours or a checkpoint, never anything else


@pytest.fixture(scope="module")
def good_bytes(model):
    buffer = io.BytesIO()
    content = {"format": "r2b-checkpoint/1", "arch": ARCH, "config": CONFIG}
    torch.save(content | {"state_dict": model.state_dict(), "calibration": None}, buffer)
    return buffer.getvalue()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damaged_bytes_never_escape(tmp_path_factory, good_bytes, data):
    damaged = bytearray(good_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "model.pt"
    path.write_bytes(damaged)
    try:
        checkpoint.load(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
