"""What a model file is, found out by looking: nothing in it is run, nothing huge is unpacked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from r2b.ir.errors import CheckpointError

WAY_OUT = (
    "r2b-compile takes a checkpoint of its own, a program of torch.export.save() (.pt2), or a "
    "state_dict with --model PACKAGE.MODULE:FACTORY"
)
DAMAGED = "copy the file again, or save it again"
EXPORT_HINT = "torch.export.save(torch.export.export(model, (frames,)), 'model.pt2')"

MAX_FILE = 4 << 30
"""Bytes of a file that is read."""
MAX_RATIO, MAX_SLACK = 16, 16 << 20
"""An archive unpacks to ``MAX_RATIO`` times its size and ``MAX_SLACK`` bytes at most."""
MAX_MEMBERS = 100_000
MAX_LISTED = 3

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The number with which ``torch.save`` began before its files were zip archives, pickled."""

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (.h5)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x93NUMPY", "a NumPy array; frames are given with --calibrate"),
    (0, b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
    (0, b"<?xml", "an XML document, perhaps an OpenVINO model"),
)
"""Place and bytes by which formats are known that hold no PyTorch model."""


class FileKind(Enum):
    """What a model file is, by its bytes."""

    SAVED = "an archive of torch.save"
    EXPORTED = "an archive of torch.export"
    LEGACY = "in the format that torch.save had before PyTorch 1.6"
    PICKLE = "a bare Python pickle"


@dataclass(frozen=True)
class ModelFile:
    """A file that was looked at.

    Parameters
    ----------
    kind : FileKind
    data : bytes
    """

    kind: FileKind
    data: bytes


def open_file(path: Path) -> ModelFile:
    """Read a file whose kind r2b knows.

    Raises
    ------
    CheckpointError
        There is none, it is damaged, or it is of another kind: that is named, with the way out.
    """
    try:
        data = _read(path)
    except OSError as error:
        raise CheckpointError(f"the file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"the file's name cannot be used: {error}") from error
    if data.startswith(_ZIP):
        return ModelFile(_archive_kind(data), data)
    return ModelFile(FileKind.LEGACY if data.startswith(_LEGACY) else FileKind.PICKLE, data)


def _read(path: Path) -> bytes:
    if not path.exists():
        raise CheckpointError(f"there is no such file; {WAY_OUT}")
    if path.is_dir():
        raise CheckpointError(f"this is {_folder_text(path)}; {WAY_OUT}")
    if not path.is_file():
        raise CheckpointError(f"this is not a regular file; {WAY_OUT}")
    with path.open("rb") as file:
        # first its beginning: whatever else the file is, it may be huge
        start = file.read(512)
        _check_start(start, path.suffix)
        if path.stat().st_size > MAX_FILE:
            raise CheckpointError(
                f"the file has more than {MAX_FILE >> 30} GiB, no binary network does; {WAY_OUT}"
            )
        return start + file.read()


def _folder_text(path: Path) -> str:
    if (path / ".r2b").is_file():
        return "a folder that r2b-compile wrote, not the model it was made from"
    if (path / "saved_model.pb").is_file():
        return "a TensorFlow SavedModel, which r2b cannot read"
    return "a folder"


def _check_start(start: bytes, suffix: str) -> None:
    if not start:
        raise CheckpointError(f"the file is empty; {WAY_OUT}")
    if start.startswith((_ZIP, b"\x80")):
        return
    for offset, magic, text in _FOREIGN:
        if start[offset:].startswith(magic):
            raise CheckpointError(f"this is no PyTorch model but {text}; {WAY_OUT}")
    if _is_safetensors(start):
        raise CheckpointError(
            "this is a safetensors file, which r2b does not read; write its tensors as a "
            "state_dict: torch.save(safetensors.torch.load_file(FILE), 'model.pt'), and name the "
            "network with --model PACKAGE.MODULE:FACTORY"
        )
    if suffix == ".onnx" or (start[0] == 8 and start[2:3] in (b"\x12", b"\x1a", b":")):
        raise CheckpointError(
            f"this is an ONNX model; r2b reads PyTorch's own programs: {EXPORT_HINT} in the code "
            "that made it"
        )
    if suffix == ".py":
        raise CheckpointError(
            "this is Python source; give the file with the parameters, and name the network with "
            "--model PACKAGE.MODULE:FACTORY"
        )
    raise CheckpointError(f"this is not a model file (it is no zip archive); {WAY_OUT}")


def _is_safetensors(start: bytes) -> bool:
    """Whether a header's length and then a JSON object begin the file."""
    return start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") < (100 << 20)


# ---------------------------------------------------------------------------------------- archives


def _archive_kind(data: bytes) -> FileKind:
    members = check_archive(data)
    if "constants.pkl" in members:
        raise CheckpointError(
            "this is a TorchScript archive, which holds code of its own; r2b reads the module it "
            f"was made from: {EXPORT_HINT}"
        )
    if "archive_format" in members or "serialized_exported_program.json" in members:
        return FileKind.EXPORTED
    if "data.pkl" in members:
        return FileKind.SAVED
    raise CheckpointError(f"this zip archive is no model file ({_other_text(members)}); {WAY_OUT}")


def _other_text(members: set[str]) -> str:
    if "model.weights.h5" in members:
        return "it is a Keras model"
    if members and all(name.endswith(".npy") for name in members):
        return "it holds NumPy arrays"
    return "no data.pkl in it"


def check_archive(data: bytes) -> set[str]:
    """Give the names in a zip archive, without its folder; every byte was checked.

    Raises
    ------
    CheckpointError
        It is damaged, or unpacks to much more than it is.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_size(entries, len(data))
            damaged = archive.testzip()
            names = {entry.filename for entry in entries}
    except CheckpointError:
        raise
    # zipfile raises many kinds on damaged bytes: BadZipFile, NotImplementedError, zlib.error, ...
    except Exception as error:
        raise CheckpointError(f"the zip archive is truncated or damaged; {DAMAGED}") from error
    if damaged is not None:
        raise CheckpointError(f"the zip archive is damaged in {damaged!r}; {DAMAGED}")
    if len(names) < len(entries):
        raise CheckpointError(f"the zip archive holds two files of one name; {DAMAGED}")
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    inside = len(tops) == 1 and "" not in tops
    return {name.partition("/")[2] if inside else name for name in names}


def _check_size(entries: Sequence[zipfile.ZipInfo], size: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_MEMBERS or total > MAX_RATIO * size + MAX_SLACK:
        raise CheckpointError(
            f"the zip archive of {size:,} bytes unpacks to {len(entries):,} files and {total:,} "
            f"bytes, which no file of PyTorch does; it was not unpacked; {DAMAGED}"
        )


def listed(names: Sequence[str], most: int = MAX_LISTED) -> str:
    """Join the first names, and say how many more there are."""
    text = ", ".join(names[:most])
    rest = len(names) - most
    return f"{text} and {rest} more" if rest > 0 else text
