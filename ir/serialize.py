"""A Program as files: ``program.json`` (everything but arrays) and ``weights.npz`` (the arrays).

A record of :mod:`r2b.ir.program` is an object with its class under ``"type"``; an array is a
reference to a member of ``weights.npz``: ``{"array": name}``, or ``{"bits": name, "shape": ...}``
for the packed bits of binary weights. Equal Programs give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir import program as records
from r2b.ir.errors import Location
from r2b.ir.program import FORMAT_VERSION, Program, ProgramError

PROGRAM_FILE = "program.json"
WEIGHTS_FILE = "weights.npz"
WAY_OUT = "compile the model again with r2b-compile"

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

RECORDS: dict[str, type] = {
    record.__name__: record
    for record in (
        records.Window,
        records.FixedTensor,
        records.BinaryConv,
        records.RealConv,
        records.Pool,
        records.Identity,
        records.Pad,
        records.Concat,
        records.Flatten,
        records.MeanVector,
        records.Dense,
        records.Gate,
        records.Affine,
        records.Skip,
        records.Saturate,
        records.Multiply,
        records.SpatialScale,
        records.Table,
        records.SignSink,
        records.Stage,
        records.Head,
        Location,
    )
}
"""The classes that may stand in a file."""

PACKED = {("BinaryConv", "weight")}
"""Fields that hold bits and are stored eight to a byte."""


# ---------------------------------------------------------------------------------------- saving


def save(program: Program, folder: str | Path) -> None:
    """Write ``program.json`` and ``weights.npz`` into a folder, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    document = {"format": "r2b-program", "format_version": FORMAT_VERSION}
    document |= {item.name: _field(program, item.name, "", arrays) for item in fields(program)}
    weights = _npz(arrays)
    document["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / WEIGHTS_FILE).write_bytes(weights)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / PROGRAM_FILE).write_text(text + "\n", encoding="utf-8")


def _npz(arrays: Arrays) -> bytes:
    """Zip archive of .npy members, with a fixed date so that equal arrays give equal bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            file.writestr(info, member.getvalue())
    return archive.getvalue()


def _field(record: Any, name: str, path: str, arrays: Arrays) -> Any:
    value = getattr(record, name)
    place = f"{path}.{name}" if path else name
    if (type(record).__name__, name) in PACKED:
        arrays[place] = np.packbits(value)
        return {"bits": place, "shape": list(value.shape)}
    return _encode(value, place, arrays)


def _encode(value: Any, path: str, arrays: Arrays) -> Any:
    """Turn a value into what JSON holds; arrays go into `arrays` under their path."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path}
    if is_dataclass(value):
        # A stage's arrays are named after the stage, not after its place in the list.
        path = getattr(value, "name", path) if isinstance(value, records.Stage) else path
        encoded = {item.name: _field(value, item.name, path, arrays) for item in fields(value)}
        return {"type": type(value).__name__, **encoded}
    if isinstance(value, dict):
        return {key: _encode(item, f"{path}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(item, f"{path}.{index}", arrays) for index, item in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{path} holds a {type(value).__name__}, which a Program must not")


# --------------------------------------------------------------------------------------- loading


def load(folder: str | Path) -> Program:
    """Read what :func:`save` wrote.

    Raises
    ------
    ProgramError
        A file is missing, damaged or of another version.
    """
    folder = Path(folder)
    document = _read_document(folder / PROGRAM_FILE)
    arrays = _read_arrays(folder / WEIGHTS_FILE, document.get("weights_sha256"))
    try:
        values = {item.name: _decode(document[item.name], arrays) for item in fields(Program)}
        values["preprocessing"] = document["preprocessing"]
        return Program(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{folder / PROGRAM_FILE} is damaged ({_brief(error)}); {WAY_OUT}"
        raise ProgramError(message) from error


def _brief(error: Exception) -> str:
    return f"missing {error}" if isinstance(error, KeyError) else str(error)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProgramError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    except ValueError as error:
        raise ProgramError(f"{path} is damaged (no JSON: {error}); {WAY_OUT}") from error
    if not isinstance(document, dict) or document.get("format") != "r2b-program":
        raise ProgramError(f"{path} is no Program of r2b; {WAY_OUT}")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise ProgramError(
            f"{path} has format version {version!r}, this r2b reads {FORMAT_VERSION}; {WAY_OUT}"
        )
    return document


def _read_arrays(path: Path, checksum: object) -> Arrays:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path} cannot be read ({error.strerror}); {WAY_OUT}") from error
    if hashlib.sha256(data).hexdigest() != checksum:
        raise ProgramError(
            f"{path} is damaged or belongs to another {PROGRAM_FILE}: its SHA-256 differs from "
            f"the one written there; {WAY_OUT}"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Undo :func:`_encode`."""
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value or "bits" in value:
        return read_array(value, arrays)
    if "type" not in value:
        return {key: _decode(item, arrays) for key, item in value.items()}
    record = RECORDS.get(value["type"])
    if record is None:
        raise ValueError(f"there is no record {value['type']!r}")
    return record(**{key: _decode(value[key], arrays) for key in value if key != "type"})


def read_array(reference, arrays):
    """Array of a reference in ``program.json``: a member of ``weights.npz``, or its bits."""
    if "array" in reference:
        return arrays[reference["array"]]
    shape = reference["shape"]
    return np.unpackbits(arrays[reference["bits"]], count=int(np.prod(shape))).reshape(shape)
