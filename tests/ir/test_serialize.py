import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from r2b.ir import program as records
from r2b.ir.errors import Location
from r2b.ir.program import ProgramError, identical
from r2b.ir.serialize import RECORDS, load, save

# Run in other processes too, where the seed of hashes differs.
SOURCE = """
import numpy as np
from r2b.ir.errors import Location
from r2b.ir.program import *

def vector(*values):
    return np.array(values, np.int64)

def sample():
    window = Window((3, 3), (2, 1), (1, 0, 1, 2), (1, 2))
    mean = MeanVector("a", 21845, 16, vector(3, -4), vector(5, 1 << 39), 7)
    dense = Dense(np.array([[1, -128]], np.int8), vector(9), vector(-(1 << 47)), 40)
    gate = Gate(mean, dense, dense, vector(1), vector(-2), 16, "hardsigmoid")
    affine = Affine(vector(-3), np.array([[1], [2]]), np.array([[3], [4]]), 1, gated=True)
    bits = np.random.default_rng(0).integers(0, 2, (1, 5, 3, 3), dtype=np.uint8)
    weight = np.full((1, 1, 3, 3), -7, np.int8)
    parts = (
        BinaryConv("s", bits, window, 1, -1),
        RealConv("frame", weight, window, vector(128), Window((2, 2)), 1, 8),
        Pool("a", window, "max"),
        Identity("a"),
        Pad("a", (1, 0, 2, 0), vector(-3)),
        Concat(("a", "s")),
        Flatten("a"),
    )
    steps = (
        affine, Skip("a"), Multiply("a", 3), SpatialScale(bits[0].astype(np.int64), 2),
        Table(vector(1, 2, 3), -1), Saturate(-8, 7),
    )
    stages = tuple(
        Stage(
            f"stage.{i}", Location("m.conv", "m.py:3"), part, (1, 2, 3), gate,
            steps, window, "a",
            (SignSink("s", vector(2), vector(1)),), "a",
        )
        for i, part in enumerate(parts)
    )
    head = Head("head", Location(), mean, np.array([[1, 2]], np.int8), vector(3))
    tensors = {name: FixedTensor((1, 2, 3), np.array([0.1])) for name in ("z", "a")}
    settings = {"mean": [0.5], "std": 1.0, "raw": False}
    return Program(
        "sample", (1, 8, 8), 12, tensors, {"s": (1, 2, 3)}, stages, head, 0.1 + 0.2, settings
    )
"""
_namespace: dict = {}
exec(SOURCE, _namespace)
sample = _namespace["sample"]


def test_load_gives_what_was_saved(tmp_path):
    save(sample(), tmp_path)
    assert identical(load(tmp_path), sample())


def test_identical_sees_every_difference():
    first = sample()
    assert identical(first, sample())
    assert not identical(first, replace(first, act_bits=11))
    stage = replace(first.stages[0], signs=())
    assert not identical(first, replace(first, stages=(stage, *first.stages[1:])))
    head = replace(first.head, bias=first.head.bias.astype(np.int32))
    assert not identical(first, replace(first, head=head))


def test_bytes_do_not_depend_on_hashes(tmp_path):
    code = SOURCE + "\nimport sys\nfrom r2b.ir.serialize import save\nsave(sample(), sys.argv[1])"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], env=environment, check=True)
    for name in ("program.json", "weights.npz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_every_record_may_stand_in_a_file():
    found = {
        name
        for name, item in vars(records).items()
        if isinstance(item, type) and hasattr(item, "__dataclass_fields__")
    }
    assert found - {"Program"} == set(RECORDS) | {Location.__name__}


def test_document_has_what_other_tools_read(tmp_path):
    save(sample(), tmp_path)
    document = json.loads((tmp_path / "program.json").read_text())
    assert document["input_shape"] == [1, 8, 8]
    assert document["logit_scale"] == 0.1 + 0.2
    assert document["format_version"] == 2
    assert document["act_bits"] == 12


def _edit(folder, change):
    path = folder / "program.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(format_version=1),
            "has format version 1, this r2b reads 2; compile the",
        ),
        (lambda d: d.update(format="x"), "is no Program of r2b; compile the model again"),
        (lambda d: d.pop("stages"), r"is damaged \(missing 'stages'\); compile the model again"),
        (lambda d: d["head"].update(type="Tail"), r"is damaged \(there is no record 'Tail'\)"),
        (lambda d: d["head"].pop("bias"), "is damaged"),
        (lambda d: d["head"]["bias"].update(array="gone"), "is damaged"),
        (lambda d: d["stages"][0].update(extra=1), "is damaged"),
        (lambda d: d.update(weights_sha256="0"), "is damaged or belongs to another program.json"),
    ],
)
def test_wrong_documents(tmp_path, change, message):
    save(sample(), tmp_path)
    _edit(tmp_path, change)
    with pytest.raises(ProgramError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["program.json", "weights.npz"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_damaged_files(tmp_path, name, damage):
    save(sample(), tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"\xff" + data[1:])
    with pytest.raises(ProgramError, match=rf"{name} (is damaged|cannot be read)"):
        load(tmp_path)
