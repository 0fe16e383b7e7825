"""Data sets of a few images in the formats of the real ones."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = "cifar-100-python"
FINE, COARSE = 100, 20


# ------------------------------------------------------------------------------ pickles of Python 2


def python2_pickle(value) -> bytes:
    """Pickle as Python 2 with NumPy 1 did, protocol 2: its texts are bytes, opcodes U and T."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value) -> bytes:
    match value:
        case dict():
            items = b"".join(_pickled(part) for item in value.items() for part in item)
            return b"}q\x01(" + items + b"u"
        case list():
            return b"]q\x02(" + b"".join(map(_pickled, value)) + b"e"
        case bytes() if len(value) < 256:
            return b"U" + bytes([len(value)]) + value + b"q\x03"
        case bytes():
            return b"T" + struct.pack("<i", len(value)) + value
        case int() if 0 <= value < 256:
            return b"K" + bytes([value])
        case int():
            return b"J" + struct.pack("<i", value)
        case np.ndarray():
            return _pickled_array(value)
    raise TypeError(type(value))


def _pickled_array(array) -> bytes:
    kind = array.dtype.str[1:].encode()
    order = array.dtype.str[:1].encode()
    shape = b"(" + b"".join(map(_pickled, array.shape)) + b"t"
    dtype = (
        b"cnumpy\ndtype\nq\x07" + _pickled(kind) + b"K\x00K\x01\x87R"
        b"(K\x03" + _pickled(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + dtype + b"\x89" + _pickled(array.tobytes()) + b"tb"
    )


# ---------------------------------------------------------------------------------------- CIFAR-100


def cifar100_part(count: int, seed: int) -> dict[bytes, object]:
    """Images whose classes come round in turn."""
    random = np.random.default_rng(seed)
    labels = [index % FINE for index in range(count)]
    return {
        b"data": random.integers(0, 256, (count, 3072), np.uint8),
        b"batch_label": b"training batch 1 of 1",
        b"fine_labels": labels,
        b"coarse_labels": [label % COARSE for label in labels],
        b"filenames": [b"picture_s_%06d.png" % index for index in range(count)],
    }


def cifar100_tables() -> dict[str, dict[bytes, object]]:
    return {
        "train": cifar100_part(3 * FINE, seed=1),
        "test": cifar100_part(FINE, seed=2),
        "meta": {
            b"fine_label_names": [b"fine %d" % index for index in range(FINE)],
            b"coarse_label_names": [b"coarse %d" % index for index in range(COARSE)],
        },
    }


def cifar100_files() -> dict[str, bytes]:
    return {name: python2_pickle(table) for name, table in cifar100_tables().items()}


def write_archive(path: Path, members) -> Path:
    """A .tar.gz of ``(name, content)`` pairs, after its folder as in the original."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_cifar100(folder: Path, files: dict[str, bytes]) -> Path:
    """The archive under its own name."""
    members = [(f"{FOLDER}/{name}", content) for name, content in files.items()]
    members.append((f"{FOLDER}/file.txt~", b""))  # the original has it too
    return write_archive(folder / f"{FOLDER}.tar.gz", members)


# ----------------------------------------------------------------------------------------- pictures


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Soft colours."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BILINEAR)


def write_pictures(root: Path, classes, counts, suffix: str = "JPEG") -> Path:
    """Folders ``part/class``; ``counts`` says how many pictures a class has in each part."""
    seed = 0
    for part, count in counts.items():
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                seed += 1
                image = picture(90 + 7 * index, 70 + 11 * index, seed)
                image.save(root / part / name / f"{name}_{index}.{suffix}")
    return root
