"""Programs of ``torch.export.save`` (``.pt2``), read without running anything in them.

``torch.export.load`` trusts its file: it unpickles payloads, evaluates sizes as Python, imports
what a tree's context names, and puts names into source code that it runs. So the file is not given
to it. The archive is taken apart here; every text in it has to fit a rule
(:mod:`r2b.frontend.loading_rules`), payloads have to be plain tensors of the size they claim, and
only what passed is put into a new archive, which PyTorch reads.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram

from r2b.frontend.loading_files import EXPORT_HINT, listed
from r2b.frontend.loading_program import check_program, program_shape
from r2b.frontend.loading_rules import RuleError, clean_program
from r2b.ir.errors import CheckpointError

_WAY_OUT = f"export the model again with this PyTorch: {EXPORT_HINT}"
MAX_JSON = 64 << 20
MAX_EXPANDED = 1 << 24
"""Elements of a tensor that has fewer in the file."""

_PAYLOADS = (("data/weights", "weights", "weight"), ("data/constants", "constants", "tensor"))
"""Folder, name of its table, and how its payloads are called."""

_ITEM_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
"""Bytes of an element by PyTorch's number of its type: integers, floating point, truth values."""


def load_exported(data: bytes) -> ExportedProgram:
    """Read an archive of ``torch.export.save``, checked by ``check_archive`` before.

    Raises
    ------
    CheckpointError
        It is damaged, of another version, or holds what r2b does not read; nothing was run.
    """
    try:
        clean = _clean(_members(data))
    except RuleError as error:
        raise CheckpointError(
            f"the exported program holds {error}; nothing in it was run; {_WAY_OUT}"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"the exported program is incomplete; {_WAY_OUT}") from error
    program = _load(clean)
    try:
        with _quiet():
            check_program(program, program_shape(program))
    except CheckpointError:
        raise
    # what is wrong with a damaged program, PyTorch says in many ways
    except Exception as error:
        raise CheckpointError(
            f"the exported program does not fit itself: {_brief(error)}; {_WAY_OUT}"
        ) from error
    return program


def _members(data: bytes) -> dict[str, bytes]:
    """Content of the files of the archive, without its folder."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "serialized_exported_program.json" in names:
            raise CheckpointError(
                f"this is an exported program in a format that PyTorch has given up; {_WAY_OUT}"
            )
        return {name.partition("/")[2]: archive.read(name) for name in names}


def _clean(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Everything PyTorch needs of an archive, checked; the rest is left out."""
    if members["archive_format"] != b"pt2":
        raise RuleError("another format than pt2")
    if members.get("byteorder", b"little") != b"little":
        raise RuleError("numbers of another byte order")
    model = _model_name(members)
    program = clean_program(_json(members[f"models/{model}.json"]))
    clean = {
        "models/model.json": json.dumps(program).encode(),
        "data/sample_inputs/model.pt": b"",  # of no use here
    }
    _check_samples(members[f"data/sample_inputs/{model}.pt"])
    for folder, table, prefix in _PAYLOADS:
        config = _json(members[f"{folder}/{model}_{table}_config.json"])
        _check_payloads(config, members, folder, prefix)
        clean[f"{folder}/model_{table}_config.json"] = json.dumps(config).encode()
        paths = {entry["path_name"] for entry in config["config"].values()}
        clean |= {f"{folder}/{path}": members[f"{folder}/{path}"] for path in paths}
    names = ("archive_format", "archive_version", "byteorder", ".data/version")
    return clean | {name: members[name] for name in names if name in members}


def _check_samples(data: bytes) -> None:
    """Refuse sample inputs that are more than tensors, although they are not read."""
    try:
        if data:
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise RuleError("sample inputs that only running code could rebuild") from error


def _model_name(members: Mapping[str, bytes]) -> str:
    compiled = [name for name in members if name.startswith("data/aotinductor/")]
    if compiled:
        raise RuleError("machine code of AOTInductor")
    found = [match[1] for name in members if (match := re.fullmatch(r"models/(\w+)\.json", name))]
    if len(found) != 1:
        raise RuleError(f"{len(found)} programs where one is read")
    return found[0]


def _json(text: bytes) -> Any:
    if len(text) > MAX_JSON:
        raise RuleError(f"a table of {len(text):,} bytes")
    return json.loads(text)


def _check_payloads(config: Any, members: Mapping[str, bytes], folder: str, prefix: str) -> None:
    pickled = sorted(
        str(name)
        for name, entry in config["config"].items()
        if entry["use_pickle"] is not False
        or re.fullmatch(rf"{prefix}_\d+", entry["path_name"]) is None
    )
    if pickled:
        raise RuleError(
            f"pickled objects ({listed(pickled)}), which only running code could rebuild"
        )
    for name, entry in config["config"].items():
        if not re.fullmatch(r"[\w.]+", name):
            raise RuleError(f"a tensor called {name!r:.60}")
        _check_tensor(name, entry["tensor_meta"], len(members[f"{folder}/{entry['path_name']}"]))


def _check_tensor(name: str, meta: Any, held: int) -> None:
    """Check that a tensor lies inside its payload, and is not much larger than it."""
    itemsize = _ITEM_SIZES.get(meta["dtype"])
    if itemsize is None or meta["layout"] != 7 or meta["device"]["type"] != "cpu":
        raise RuleError(f"{name}, which is no plain dense tensor on the CPU")
    sizes = [_integer(size) for size in meta["sizes"]]
    strides = [_integer(stride) for stride in meta["strides"]]
    count = 1
    for size in sizes:
        count *= size
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if count == 0:
        raise RuleError(f"{name}, which has no values")
    end = (_integer(meta["storage_offset"]) + last + 1) * itemsize
    if end > held or count > max(held // itemsize, MAX_EXPANDED) or len(sizes) > 16:
        raise RuleError(f"{name}, which is larger than what the file has of it")


def _integer(entry: Any) -> int:
    value = entry["as_int"]
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise RuleError(f"the size {value!r:.40}")
    return value


def _load(members: Mapping[str, bytes]) -> ExportedProgram:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"model/{name}", content)
    buffer.seek(0)
    try:
        with _quiet():
            return torch.export.load(buffer)
    # a program of another version, or a damaged one: PyTorch says so in many ways
    except Exception as error:
        raise CheckpointError(
            f"PyTorch cannot read the exported program: {_brief(error)}; {_WAY_OUT}"
        ) from error


def _brief(error: Exception) -> str:
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's own log of an error, which the user gets from us, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
