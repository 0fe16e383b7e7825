"""CIFAR-100 in its real format, a few images of it: read, refused, compared."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from r2b.train.data import cifar100, load
from r2b.train.data.archives import read_members
from r2b.train.data.augment import augmentation, mixup
from r2b.train.data.errors import DataError
from tests.train.data.test_plain_pickles import touch
from tests.train.data.writers import (
    FINE,
    FOLDER,
    cifar100_files,
    cifar100_tables,
    python2_pickle,
    write_archive,
    write_cifar100,
)

LAYOUT = (
    "cifar100:DIR wants cifar-100-python.tar.gz (the python version, MD5 "
    "eb9058c3a382ffc7106e4002c42a8d85) in DIR, or the folder cifar-100-python in it with the files "
    "train, test and meta; nothing is downloaded"
)
TABLES = cifar100_tables()
FILES = cifar100_files()


def failure(place) -> str:
    with pytest.raises(DataError) as caught:
        load(f"cifar100:{place}", warn=lambda text: None)
    return str(caught.value)


def write_folder(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


# ------------------------------------------------------------------------------------------ loading


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_cifar100(folder, FILES)
    return folder


@pytest.fixture(scope="module")
def data(archived):
    return load(f"cifar100:{archived}", warn=lambda text: None)


def test_what_it_is(data):
    assert (data.name, data.num_classes, data.input_shape) == ("cifar100", 100, (3, 32, 32))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [200, 100, 100]


def test_items(data):
    image, label = data.test[7]
    assert (image.dtype, label, type(label)) == (torch.uint8, 7, int)
    pixels = TABLES["test"][b"data"][7].reshape(3, 32, 32)  # red, green, blue; rows
    np.testing.assert_array_equal(image.numpy(), pixels)


def test_train_and_validation_share_nothing_and_lose_nothing(data):
    pixels = torch.cat([data.train.images, data.validation.images]).reshape(300, -1).numpy()
    labels = torch.cat([data.train.labels, data.validation.labels]).numpy()
    found = {row.tobytes(): label for row, label in zip(pixels, labels, strict=True)}
    table = TABLES["train"]
    wanted = zip(table[b"data"], table[b"fine_labels"], strict=True)
    assert found == {row.tobytes(): label for row, label in wanted}
    assert data.validation.labels.bincount().tolist() == [1] * FINE


def test_a_few_batches_to_training(data):
    loader = DataLoader(data.train, 16, generator=torch.Generator().manual_seed(1), shuffle=True)
    generator = torch.Generator().manual_seed(2)
    change = augmentation(data.name, stage=1)
    for images, labels in loader:
        changed = change(images / 255, generator)
        mixed, probabilities = mixup(changed, labels, data.num_classes, 0.2, generator)
        assert mixed.shape == images.shape
        assert probabilities.shape == (len(images), 100)


@pytest.mark.parametrize("place", ["archive", "folder", "parent", "dotted"])
def test_every_place(tmp_path, place, data):
    match place:
        case "archive":
            found = write_cifar100(tmp_path, FILES)
        case "dotted":
            members = [(f"./{FOLDER}/{name}", content) for name, content in FILES.items()]
            found = write_archive(tmp_path / f"{FOLDER}.tar.gz", members)
        case _:
            write_folder(tmp_path / FOLDER, FILES)
            found = tmp_path if place == "parent" else tmp_path / FOLDER
    other = load(f"cifar100:{found}", warn=lambda text: None)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(other, part).images, getattr(data, part).images)
        assert torch.equal(getattr(other, part).labels, getattr(data, part).labels)


def test_pickled_again_by_python_3(tmp_path, data):
    write_cifar100(tmp_path, {name: pickle.dumps(table, 2) for name, table in TABLES.items()})
    other = load(f"cifar100:{tmp_path}", warn=lambda text: None)
    assert torch.equal(other.train.images, data.train.images)


def test_nothing_is_unpacked_to_disk(archived, data):
    assert [path.name for path in archived.iterdir()] == [f"{FOLDER}.tar.gz"]


# ---------------------------------------------------------------------------------------- checksums


def test_another_archive_is_warned_about(archived):
    warnings = []
    load(f"cifar100:{archived}", warn=warnings.append)
    path = archived / f"{FOLDER}.tar.gz"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert warnings == [
        f"{path} is not the published file of CIFAR-100: its MD5 is {md5}, not "
        "eb9058c3a382ffc7106e4002c42a8d85; it is used if its structure is that of CIFAR-100"
    ]


def test_other_files_are_warned_about(tmp_path):
    write_folder(tmp_path / FOLDER, FILES)
    with pytest.warns(UserWarning) as caught:
        load(f"cifar100:{tmp_path}")
    published = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path / FOLDER / name} is not the published file of CIFAR-100: its MD5 is "
        f"{hashlib.md5(FILES[name]).hexdigest()}, not {md5}; it is used if its structure is that "
        "of CIFAR-100"
        for name, md5 in published.items()
    ]


def test_known_checksums_are_confirmed(archived, tmp_path, monkeypatch):
    path = archived / f"{FOLDER}.tar.gz"
    monkeypatch.setattr(cifar100, "ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    for name, content in FILES.items():
        monkeypatch.setitem(cifar100.FILE_MD5, name, hashlib.md5(content).hexdigest())
    write_folder(tmp_path / FOLDER, FILES)
    warnings = []
    load(f"cifar100:{archived}", warn=warnings.append)
    load(f"cifar100:{tmp_path}", warn=warnings.append)
    assert warnings == []


# ------------------------------------------------------------------------------------------- places


def test_no_folder(tmp_path):
    place = tmp_path / "nowhere"
    assert failure(place) == f"{place} does not exist; {LAYOUT}"


def test_an_empty_folder(tmp_path):
    assert failure(tmp_path) == f"{tmp_path} holds neither; {LAYOUT}"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_without_one_file(tmp_path, name):
    write_folder(tmp_path / FOLDER, {key: FILES[key] for key in FILES if key != name})
    path = tmp_path / FOLDER / name
    assert failure(tmp_path) == f"{path}: cannot be read: No such file or directory; {LAYOUT}"


def test_a_huge_file(tmp_path):
    write_folder(tmp_path / FOLDER, FILES)
    path = tmp_path / FOLDER / "train"
    with path.open("r+b") as file:
        file.truncate((512 << 20) + 1)  # a hole
    assert failure(tmp_path) == f"{path}: has more than 536,870,912 bytes; {LAYOUT}"


# ----------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_archive(tmp_path, archived, share):
    data = (archived / f"{FOLDER}.tar.gz").read_bytes()
    path = tmp_path / f"{FOLDER}.tar.gz"
    path.write_bytes(data[: int(share * len(data))])
    assert failure(tmp_path) == (
        f"{path}: the archive is truncated or damaged; copy the file again; {LAYOUT}"
    )


def test_damaged_archive(tmp_path, archived):
    data = bytearray((archived / f"{FOLDER}.tar.gz").read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / f"{FOLDER}.tar.gz"
    path.write_bytes(data)
    assert failure(tmp_path) == (
        f"{path}: the archive is truncated or damaged; copy the file again; {LAYOUT}"
    )


def test_damaged_checksum_far_behind_the_members(tmp_path, archived):
    plain = gzip.decompress((archived / f"{FOLDER}.tar.gz").read_bytes())
    data = bytearray(gzip.compress(plain + bytes(4 << 20), 1))
    path = tmp_path / f"{FOLDER}.tar.gz"
    path.write_bytes(data)
    load(f"cifar100:{tmp_path}", warn=lambda text: None)
    data[-8] ^= 1
    path.write_bytes(data)
    assert failure(tmp_path) == (
        f"{path}: the archive is truncated or damaged; copy the file again; {LAYOUT}"
    )


@pytest.mark.parametrize(
    # a compressed text holds the time: as a test's name it would differ from worker to worker
    "content",
    [b"no archive", gzip.compress(b"no archive" * 100)],
    ids=["plain", "compressed"],
)
def test_no_archive(tmp_path, content):
    path = tmp_path / f"{FOLDER}.tar.gz"
    path.write_bytes(content)
    assert failure(tmp_path) == (
        f"{path}: the archive is truncated or damaged; copy the file again; {LAYOUT}"
    )


def test_missing_members(tmp_path):
    path = write_cifar100(tmp_path, {"test": FILES["test"]})
    assert failure(tmp_path) == (
        f"{path}: the archive holds no {FOLDER}/train, no {FOLDER}/meta; {LAYOUT}"
    )


def tricky(tmp_path, change):
    """An archive with one more member, changed."""
    member = tarfile.TarInfo(f"{FOLDER}/more")
    change(member)
    path = write_cifar100(tmp_path, FILES)
    plain = io.BytesIO(gzip.decompress(path.read_bytes()))
    with tarfile.open(fileobj=plain, mode="a") as archive:
        archive.addfile(member)
    path.write_bytes(gzip.compress(plain.getvalue(), 1))
    return path


TRICKS = {
    "the path '../evil' leads out of it": {"name": "../evil"},
    f"the path '{FOLDER}/../../evil' leads out of it": {"name": f"{FOLDER}/../../evil"},
    "the path '/tmp/evil' leads out of it": {"name": "/tmp/evil"},
    f"'{FOLDER}/more' is neither a plain file nor a folder": {
        "type": tarfile.SYMTYPE,
        "linkname": "/etc/passwd",
    },
    f"'{FOLDER}/link' is neither a plain file nor a folder": {
        "name": f"{FOLDER}/link",
        "type": tarfile.LNKTYPE,
        "linkname": f"{FOLDER}/train",
    },
    f"'{FOLDER}/device' is neither a plain file nor a folder": {
        "name": f"{FOLDER}/device",
        "type": tarfile.CHRTYPE,
    },
    f"it holds '{FOLDER}/train' twice": {"name": f"{FOLDER}/train"},
}


@pytest.mark.parametrize("text", TRICKS)
def test_tricks_with_paths(tmp_path, text):
    path = tricky(
        tmp_path, lambda member: [setattr(member, *item) for item in TRICKS[text].items()]
    )
    assert failure(tmp_path) == f"{path}: the archive was not read: {text}; {LAYOUT}"


def test_an_archive_that_explodes(tmp_path):
    path = write_archive(tmp_path / "bomb.tar.gz", [("zeros", bytes(3 << 20)), ("a", b"1")])
    assert path.stat().st_size < 30_000
    with pytest.raises(DataError) as caught:
        read_members(path, ["a"], limit=2 << 20)
    assert str(caught.value) == (
        "the archive was not read: it unpacks to more than 2,097,152 bytes"
    )
    assert read_members(path, ["a"], limit=4 << 20) == {"a": b"1"}


# ----------------------------------------------------------------------------------------- contents


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_that_runs_code(tmp_path, name):
    marker = tmp_path / "marker"
    payload = pickle.dumps({b"data": touch(marker)}, 2)
    path = write_cifar100(tmp_path, {**FILES, name: payload})
    assert failure(tmp_path) == (
        f"{path}, {name}: the pickle holds the name __builtin__.eval, which no data set needs; "
        f"nothing in it was run; {LAYOUT}"
    )
    assert not marker.exists()


def test_a_truncated_pickle(tmp_path):
    path = write_cifar100(tmp_path, {**FILES, "test": FILES["test"][:5000]})
    assert failure(tmp_path) == (f"{path}, test: the pickle is truncated or damaged; {LAYOUT}")


LABELS = TABLES["train"][b"fine_labels"]
PIXELS = TABLES["train"][b"data"]
WRONG = {
    "width": ("train", b"data", PIXELS[:, :3071], "data must be uint8, N x 3072, not 300 x 3071"),
    "flat": ("train", b"data", PIXELS.reshape(-1), "data must be uint8, N x 3072, not 921600"),
    "list": ("train", b"data", [1], "data must be uint8, N x 3072, not 1"),
    "none": ("test", b"data", PIXELS[:0], "data must be uint8, N x 3072, N >= 1, not 0 x 3072"),
    "missing": ("train", b"data", None, "it has no data"),
    "no labels": ("test", b"fine_labels", None, "it has no fine_labels"),
    "short": (
        "train", b"fine_labels", LABELS[1:],
        "fine_labels must be a list of 300 whole numbers from 0 to 99, not 299",
    ),
    "high": (
        "train", b"fine_labels", [100, *LABELS[1:]],
        "fine_labels must be a list of 300 whole numbers from 0 to 99; one is 100",
    ),
    "low": (
        "test", b"fine_labels", [-1, *LABELS[1:100]],
        "fine_labels must be a list of 100 whole numbers from 0 to 99; one is -1",
    ),
    "text": (
        "train", b"coarse_labels", [b"3", *LABELS[1:]],
        "coarse_labels must be a list of 300 whole numbers from 0 to 19; one is a bytes",
    ),
    "coarse": (
        "train", b"coarse_labels", LABELS,
        "coarse_labels must be a list of 300 whole numbers from 0 to 19; one is 20",
    ),
    "array": (
        "train", b"fine_labels", np.array(LABELS, np.uint8),
        "fine_labels must be a list of 300 whole numbers from 0 to 99, not 300",
    ),
    "number": (
        "train", b"fine_labels", 5,
        "fine_labels must be a list of 300 whole numbers from 0 to 99, not a int",
    ),
    "names": (
        "train", b"filenames", [b"a"], "filenames must be a list of 300 texts, not 1",
    ),
    "no texts": (
        "test", b"filenames", [1] * 100, "filenames must be a list of 100 texts; one is none",
    ),
    "batch": ("train", b"batch_label", 1, "batch_label must be a text"),
    "class": (
        "train", b"fine_labels", [1 if label == 7 else label for label in LABELS],
        "class 7 has 0 images, each needs 2 at least",
    ),
    "classes": (
        "meta", b"fine_label_names", [b"a"] * 10,
        "fine_label_names must be a list of 100 texts, not 10",
    ),
    "no classes": ("meta", b"coarse_label_names", None, "it has no coarse_label_names"),
}  # fmt: skip
"""File, key, what it holds instead (None: nothing), what the error says."""


@pytest.mark.parametrize("case", WRONG)
def test_wrong_structure(tmp_path, case):
    name, key, value, text = WRONG[case]
    table = {**TABLES[name], key: value}
    if value is None:
        del table[key]
    files = {**FILES, name: python2_pickle(table)}
    write_folder(tmp_path / FOLDER, files)
    place = tmp_path / FOLDER
    assert failure(tmp_path) == f"{place}, {name}: this is not CIFAR-100: {text}; {LAYOUT}"


def test_pixels_of_another_type(tmp_path):
    table = {**TABLES["train"], b"data": PIXELS.astype(np.int64)}
    write_folder(tmp_path / FOLDER, {**FILES, "train": python2_pickle(table)})
    assert failure(tmp_path) == (
        f"{tmp_path / FOLDER}, train: the pickle holds an array that is not of bytes (its type is "
        f"'i8'), which no data set needs; nothing in it was run; {LAYOUT}"
    )
