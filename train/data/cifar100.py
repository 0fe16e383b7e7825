"""CIFAR-100 as its authors publish it: ``cifar-100-python.tar.gz``, or the folder in it.

The test part is the file ``test``. A tenth of each class in ``train`` is the validation part,
chosen once and for all (:mod:`r2b.train.data.splits`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r2b.train.data.archives import read_members
from r2b.train.data.dataset import ArrayImages, DataSet
from r2b.train.data.errors import DataError
from r2b.train.data.plain_pickles import read_table
from r2b.train.data.splits import hold_out

ARCHIVE = "cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"
FILES = ("train", "test", "meta")
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
FILE_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
"""Checksums of the published files."""

NUM_CLASSES, NUM_COARSE = 100, 20
SHAPE = (3, 32, 32)
VALIDATION_SHARE = 0.1
MAX_BYTES = 512 << 20
"""Of an unpacked archive, and of a file; the published archive unpacks to 187 MB."""

LAYOUT = (
    f"cifar100:DIR wants {ARCHIVE} (the python version, MD5 {ARCHIVE_MD5}) in DIR, or the folder "
    f"{FOLDER} in it with the files {', '.join(FILES[:-1])} and {FILES[-1]}; nothing is downloaded"
)
"""What to put where."""

Warn = Callable[[str], None]


@dataclass(frozen=True)
class _Part:
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_cifar100(directory: Path, warn: Warn) -> DataSet:
    """Load CIFAR-100.

    Parameters
    ----------
    directory : Path
        The folder with the archive or with the unpacked folder, the unpacked folder itself, or the
        archive.
    warn : callable
        Is told if the files are not the published ones; they may be used all the same.

    Raises
    ------
    DataError
        Files are missing or damaged, or hold anything but CIFAR-100.
    """
    place, files = _read(directory, warn)
    tables = {name: _table(place, name, files[name]) for name in FILES}
    _check_names(f"{place}, meta", tables["meta"])
    train = _part(f"{place}, train", tables["train"], least=2)
    test = _part(f"{place}, test", tables["test"], least=0)
    kept, held = hold_out(train.labels, VALIDATION_SHARE)
    return DataSet(
        "cifar100",
        NUM_CLASSES,
        SHAPE,
        ArrayImages(train.images[kept], train.labels[kept]),
        ArrayImages(train.images[held], train.labels[held]),
        ArrayImages(test.images, test.labels),
    )


# -------------------------------------------------------------------------------------------- files


def _read(directory: Path, warn: Warn) -> tuple[Path, dict[str, bytes]]:
    """Find the files; give the place of them, and their content."""
    for archive in (directory, directory / ARCHIVE):
        if archive.is_file():
            return archive, _read_archive(archive, warn)
    for folder in (directory / FOLDER, directory):
        if any((folder / name).is_file() for name in FILES):
            return folder, _read_folder(folder, warn)
    what = "holds neither" if directory.is_dir() else "does not exist"
    raise DataError(f"{directory} {what}; {LAYOUT}")


def _read_archive(path: Path, warn: Warn) -> dict[str, bytes]:
    try:
        found = _md5_of_file(path)
        members = read_members(path, [f"{FOLDER}/{name}" for name in FILES], MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; {LAYOUT}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}; {LAYOUT}") from error
    _compare(path, found, ARCHIVE_MD5, warn)
    return {name: members[f"{FOLDER}/{name}"] for name in FILES}


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _read_folder(folder: Path, warn: Warn) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in FILES:
        path = folder / name
        try:
            if path.stat().st_size > MAX_BYTES:
                raise DataError(f"{path}: has more than {MAX_BYTES:,} bytes; {LAYOUT}")
            files[name] = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path}: cannot be read: {reason}; {LAYOUT}") from error
        digest = hashlib.md5(files[name], usedforsecurity=False).hexdigest()
        _compare(path, digest, FILE_MD5[name], warn)
    return files


def _compare(path: Path, found: str, published: str, warn: Warn) -> None:
    if found != published:
        warn(
            f"{path} is not the published file of CIFAR-100: its MD5 is {found}, not {published}; "
            "it is used if its structure is that of CIFAR-100"
        )


# ---------------------------------------------------------------------------------------- structure


def _table(place: Path, name: str, data: bytes) -> dict[bytes, object]:
    try:
        return read_table(data)
    except DataError as error:
        raise DataError(f"{place}, {name}: {error}; {LAYOUT}") from error


def _part(where: str, table: dict[bytes, object], least: int) -> _Part:
    """Check one of the two parts, and give it."""
    images = _field(where, table, b"data")
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != 3072:
        raise _wrong(where, f"data must be uint8, N x 3072, not {_shape_text(images)}")
    if len(images) == 0:
        raise _wrong(where, "data must be uint8, N x 3072, N >= 1, not 0 x 3072")
    labels = _labels(where, table, b"fine_labels", len(images), NUM_CLASSES)
    _labels(where, table, b"coarse_labels", len(images), NUM_COARSE)
    _texts(where, table, b"filenames", len(images))
    if not isinstance(_field(where, table, b"batch_label"), bytes):
        raise _wrong(where, "batch_label must be a text")
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    if counts.min() < least:
        few = int(counts.argmin())
        raise _wrong(where, f"class {few} has {counts[few]} images, each needs {least} at least")
    return _Part(images.reshape(-1, *SHAPE), labels)


def _check_names(where: str, table: dict[bytes, object]) -> None:
    _texts(where, table, b"fine_label_names", NUM_CLASSES)
    _texts(where, table, b"coarse_label_names", NUM_COARSE)


def _field(where: str, table: dict[bytes, object], key: bytes) -> Any:
    if key not in table:
        raise _wrong(where, f"it has no {key.decode()}")
    return table[key]


def _labels(
    where: str, table: dict[bytes, object], key: bytes, count: int, classes: int
) -> NDArray[np.int64]:
    found = _field(where, table, key)
    rule = f"{key.decode()} must be a list of {count:,} whole numbers from 0 to {classes - 1}"
    if not isinstance(found, list) or len(found) != count:
        raise _wrong(where, f"{rule}, not {_shape_text(found)}")
    for value in found:
        if type(value) is not int or not 0 <= value < classes:
            shown = f"{value:d}" if type(value) is int else f"a {type(value).__name__}"
            raise _wrong(where, f"{rule}; one is {shown:.30}")
    return np.array(found, np.int64)


def _texts(where: str, table: dict[bytes, object], key: bytes, count: int) -> None:
    found = _field(where, table, key)
    rule = f"{key.decode()} must be a list of {count:,} texts"
    if not isinstance(found, list) or len(found) != count:
        raise _wrong(where, f"{rule}, not {_shape_text(found)}")
    if not all(isinstance(text, bytes | str) for text in found):
        raise _wrong(where, f"{rule}; one is none")


def _shape_text(value: object) -> str:
    if isinstance(value, np.ndarray):
        return " x ".join(map(str, value.shape)) or "a scalar"
    if isinstance(value, list):
        return f"{len(value):,}"
    return f"a {type(value).__name__}"


def _wrong(where: str, text: str) -> DataError:
    return DataError(f"{where}: this is not CIFAR-100: {text}; {LAYOUT}")
