"""Three hundred damaged and hostile files: one message each; no hang, nothing in them is run."""

from __future__ import annotations

import faulthandler
import io
import json
import os
import pickle
import random
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from r2b.frontend.loading import Request, load
from r2b.ir.errors import UserError
from r2b.train import checkpoint, zoo

FILES = 300
SECONDS = 20
"""For one file; the slowest takes less than one."""
ARCH, TINY = "real-to-binary-digits", {"widths": [8], "blocks": [1]}


class Marker:
    """Makes a folder when it is unpickled: the stand-in for hostile code."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Small(nn.Module):
    """What is exported, scripted and pickled."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.sign(self.conv(x)).mean((2, 3)))


def saved(content: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Small().eval(), (torch.rand(2, 1, 6, 6),)), buffer)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Small().eval(), torch.rand(2, 1, 6, 6)), buffer)
    return buffer.getvalue()


def seeds(marker: Path) -> list[bytes]:
    """Good files of every kind, and hostile ones."""
    torch.manual_seed(0)
    network = zoo.build(ARCH, TINY)
    content = {
        "format": checkpoint.FORMAT,
        "arch": ARCH,
        "config": TINY,
        "state_dict": network.state_dict(),
        "calibration": torch.zeros(2, 1, 16, 16, dtype=torch.uint8),
    }
    hostile = {**Small().state_dict(), "extra": Marker(marker)}
    return [
        saved(content),
        saved({"state_dict": Small().state_dict()}),
        saved(Small().state_dict(), _use_new_zipfile_serialization=False),
        saved(Small()),
        exported(),
        scripted(),
        saved(hostile),
        saved(hostile, _use_new_zipfile_serialization=False),
        pickle.dumps(Marker(marker)),
    ]


# ---------------------------------------------------------------------------------- how to damage


def flip(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    return data[: draw.randrange(len(data))]


def insert(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + draw.randbytes(draw.randint(1, 64)) + data[place:]


def overwrite(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    place, count = draw.randrange(len(data)), draw.randint(4, 400)
    return data[:place] + draw.choice((b"\xff", b"\0")) * count + data[place + count :]


def read(data: bytes) -> dict[str, bytes] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # it is no archive, or was damaged before
        return None


def written(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def change_member(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Damage inside a member, so that the archive's own checksums are right."""
    members = read(data)
    if members is None:
        return flip(data, draw, others)
    name = draw.choice([name for name, content in members.items() if content])
    members[name] = draw.choice((flip, cut, insert))(members[name], draw, others)
    return written(members)


def swap_members(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Members exchanged, left out, or taken from another file."""
    members = read(data)
    other = read(draw.choice(others))
    if members is None or other is None:
        return cut(data, draw, others)
    one, two = draw.choice(list(members)), draw.choice(list(other))
    if draw.random() < 0.3:
        del members[one]
    else:
        members[one] = other[two]
    return written(members)


def leaves(value: object) -> list[tuple[dict | list, object]]:
    """Place of every text and number in a table."""
    if not isinstance(value, dict | list):
        return []
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    deeper = [leaf for place in places for leaf in leaves(value[place])]
    return deeper + [
        (value, place) for place in places if not isinstance(value[place], dict | list)
    ]


def change_text(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Another value for one word or number of a table of an exported program."""
    members = read(data) or {}
    tables = [name for name in members if name.endswith(".json")]
    name = draw.choice(tables or [""])
    table = json.loads(members.get(name, b"{}"))
    found = leaves(table)
    if not found:
        return change_member(data, draw, others)
    where, place = draw.choice(found)
    other, there = draw.choice(found)
    values = ("", "__import__('os')", -1, 0, 10**10, None, [], "x", other[there], other[there])
    where[place] = draw.choice(values)
    members[name] = json.dumps(table).encode()
    return written(members)


DAMAGES: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (
    flip, cut, insert, overwrite, change_member, change_member, swap_members, change_text,
    change_text,
)  # fmt: skip
"""Most leave an archive whole, so that what is behind its checksums is met."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise after some seconds; where even that does not come through, end with a traceback."""

    def late(number, frame):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """A module that the user may name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fuzzed.py").write_text(
        "from torch import nn\n"
        "class Small(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)\n"
    )
    return "fuzzed:Small"


def outcome(path: Path, factory: str) -> str:
    """What the loader says of a file: nothing if it takes it, with a factory or without."""
    said = ""
    for name in (None, factory):
        try:
            with limited(SECONDS):
                loaded = load(Request(path, name), checkpoint.loaded)
        except UserError as error:
            said = str(error)
            assert said.startswith(f"{path}: ")
            assert len(said) < 2000
            continue
        frames = loaded.frames
        assert frames is None or frames.dtype == np.uint8
        return ""
    return said


def test_the_good_files_are_told_apart_and_the_hostile_ones_refused(tmp_path, factory):
    texts: list[str] = []
    for number, data in enumerate(seeds(tmp_path / "ran")):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data)
        texts.append(outcome(path, factory))
    assert [bool(text) for text in texts] == [False] * 3 + [True] + [False] + [True] * 4
    assert not (tmp_path / "ran").exists()
    pickle.loads(seeds(tmp_path / "ran")[-1])
    assert (tmp_path / "ran").exists()


def test_damaged_files_give_one_message_and_run_nothing(tmp_path, factory, capfd):
    good = seeds(tmp_path / "ran")
    draw = random.Random(3)
    taken = 0
    for number in range(FILES):
        data = draw.choice(DAMAGES)(good[number % len(good)], draw, good)
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data)
        try:
            taken += not outcome(path, factory)
        except Exception as error:
            raise AssertionError(f"file {number}: {error!r}") from error
        path.unlink()
    assert not (tmp_path / "ran").exists()
    # most are refused, but the damages are not all so crude that nothing is left
    assert 10 < taken < FILES // 2
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
