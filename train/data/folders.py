"""Images in one folder per class: ImageNet, and anybody's own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from r2b.frontend.loading_files import listed
from r2b.train.data.dataset import DataSet, Item
from r2b.train.data.errors import DataError
from r2b.train.data.images import SUFFIXES, central_box, random_box, read_image, resized
from r2b.train.data.randomness import seed_of
from r2b.train.data.splits import hold_out

IMAGENET_SIZE, IMAGENET_CLASSES = 224, 1000
IMAGENET_VALIDATION_SHARE = 0.02
"""Of each class in train/: about 26 of ImageNet's 1,300."""
MIN_SIZE, MAX_SIZE = 8, 1024
"""Of a folder's images as the network gets them."""

IMAGENET_LAYOUT = (
    "imagenet:DIR wants DIR/train/<class>/*.JPEG and DIR/val/<class>/*.JPEG, each class's folder "
    "named by its WordNet number, such as n01440764; nothing is downloaded"
)
FOLDER_LAYOUT = (
    "folder:DIR wants DIR/train/<class>/*.JPEG and DIR/val/<class>/*.JPEG, and may have "
    "DIR/test/<class>/*.JPEG, with the same classes in each; nothing is downloaded"
)
_WORDNET = re.compile(r"n\d{8}", re.ASCII)

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Files:
    """Image files of one part.

    Parameters
    ----------
    root : Path
    names : ndarray
        Bytes, ``N``: paths below ``root``, by class and then by name. An array and not a list:
        a million texts would be copied into each worker process as their reference counts change.
    labels : ndarray
        int64, ``N``.
    """

    root: Path
    names: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.root / os.fsdecode(bytes(self.names[index])), int(self.labels[index])

    def subset(self, indices: NDArray[np.int64]) -> Files:
        """Give some of them, in this order."""
        return Files(self.root, self.names[indices], self.labels[indices])


class EvaluationImages(Dataset[Item]):
    """Decoded when asked for: the central part of each image, scaled to ``size x size``.

    The square in the middle that spans 224 / 256 of the shorter side, bilinear with antialiasing:
    the usual resize to 256 and centre crop of 224 in one step.

    Parameters
    ----------
    files : Files
    size : int
    """

    def __init__(self, files: Files, size: int) -> None:
        self._files, self._size = files, size

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        path, label = self._files[index]
        image = read_image(path)
        return resized(image, central_box(*image.size), self._size), label


class TrainImages(Dataset[Item]):
    """Decoded when asked for: a random crop of each image, scaled to ``size x size``.

    The crop has 8 to 100 % of the area and 3/4 to 4/3 as width over height. It is a function of
    ``(seed, epoch, index)``, see :meth:`set_epoch`. Flips and colours are for the batch:
    :func:`r2b.train.data.augment.augmentation`.

    Parameters
    ----------
    files : Files
    size : int
    """

    def __init__(self, files: Files, size: int) -> None:
        self._files, self._size = files, size
        # shared, so that worker processes that live on see the next epoch too
        self._epoch = torch.zeros(2, dtype=torch.int64).share_memory_()

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Choose the crops; call it before ``iter(loader)``.

        Parameters
        ----------
        seed, epoch : int
            Both >= 0; until the first call both are 0.
        """
        if min(seed, epoch) < 0:
            raise ValueError(f"seed and epoch must be 0 or more, not {seed} and {epoch}")
        self._epoch[:] = torch.tensor([seed, epoch])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        path, label = self._files[index]
        image = read_image(path)
        seed, epoch = self._epoch.tolist()
        # a subset may hand in a NumPy integer, a sampler a negative one
        number = int(index) % len(self)
        return resized(
            image, random_box(*image.size, seed_of(seed, epoch, number)), self._size
        ), label


# ---------------------------------------------------------------------------------------- data sets


def load_imagenet(directory: Path, warn: Warn) -> DataSet:
    """Load ImageNet, or some of its classes.

    ``val/`` is the test part, as everybody reports it; :data:`IMAGENET_VALIDATION_SHARE` of each
    class in ``train/`` is the validation part, chosen once and for all.

    Parameters
    ----------
    directory : Path
        With ``train/`` and ``val/``.
    warn : callable
        Is told if there are not 1,000 classes, or files that are no images.

    Raises
    ------
    DataError
        The folders are not as they should be.
    """
    layout = IMAGENET_LAYOUT
    classes = _classes(directory, "train", layout)
    foreign = [name for name in classes if not _WORDNET.fullmatch(name)]
    if foreign:
        raise DataError(
            f"{directory / 'train'}: folders that are no class of ImageNet ({listed(foreign)}); "
            f"images of other classes are read with folder:DIR; {layout}"
        )
    if len(classes) != IMAGENET_CLASSES:
        warn(f"{directory / 'train'} has {len(classes):,} classes, ImageNet has 1,000")
    train = _files(directory, "train", classes, layout, warn, least=2)
    test = _files(directory, "val", classes, layout, warn)
    kept, held = hold_out(train.labels, IMAGENET_VALIDATION_SHARE)
    return _data_set(
        "imagenet", classes, IMAGENET_SIZE, train.subset(kept), train.subset(held), test
    )


def load_folder(directory: Path, size: int, warn: Warn) -> DataSet:
    """Load images of any classes.

    ``train/`` and ``val/`` are the train and the validation part. ``test/`` is the test part; where
    there is none, the validation part is, and a warning says so.

    Parameters
    ----------
    directory : Path
        With ``train/``, ``val/`` and perhaps ``test/``.
    size : int
        Height and width that images are scaled to.
    warn : callable
        Is told about a missing test part, and about files that are no images.

    Raises
    ------
    DataError
        The folders are not as they should be.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DataError(
            f"folder:DIR@SIZE: SIZE must be {MIN_SIZE} to {MAX_SIZE}, not {size}; it is the height "
            "and width of the network's input in pixels"
        )
    layout = FOLDER_LAYOUT
    classes = _classes(directory, "train", layout)
    train, test = (_files(directory, part, classes, layout, warn) for part in ("train", "val"))
    validation = test
    if (directory / "test").is_dir():
        test = _files(directory, "test", classes, layout, warn)
    else:
        warn(
            f"{directory} has no test/, so val/ is used for choices and for the final figure, "
            "which will look better than it is"
        )
    return _data_set("folder", classes, size, train, validation, test)


def _data_set(
    name: str, classes: Sequence[str], size: int, train: Files, validation: Files, test: Files
) -> DataSet:
    return DataSet(
        name,
        len(classes),
        (3, size, size),
        TrainImages(train, size),
        EvaluationImages(validation, size),
        EvaluationImages(test, size),
    )


# ------------------------------------------------------------------------------------------ listing


def _classes(directory: Path, part: str, layout: str) -> list[str]:
    """Names of the classes, sorted; a class's place is its label."""
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder; {layout}")
    folder = directory / part
    if not folder.is_dir():
        raise DataError(f"{directory} has no folder {part}; {layout}")
    entries = _entries(folder)
    classes = [entry.name for entry in entries if entry.is_dir()]
    if not classes:
        raise DataError(f"{folder} holds {_instead(entries)}, no folder per class; {layout}")
    if len(classes) < 2:
        raise DataError(f"{folder} holds one class, {classes[0]}; two are needed; {layout}")
    return classes


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, without hidden things."""
    try:
        with os.scandir(folder) as found:
            visible = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return sorted(visible, key=lambda entry: entry.name)


def _instead(entries: Sequence[os.DirEntry[str]]) -> str:
    if any(entry.name.endswith(".tar") for entry in entries):
        return "tar archives that are still to be unpacked"
    if any(_is_image(entry) for entry in entries):
        return "images that are still to be sorted"
    return "nothing" if not entries else "other files"


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and entry.is_file()


def _files(
    directory: Path, part: str, classes: Sequence[str], layout: str, warn: Warn, least: int = 1
) -> Files:
    """List the images of one part, with the classes that the train part has."""
    found = _classes(directory, part, layout)
    if found != classes:
        raise DataError(f"{directory / part}: {_difference(found, classes)}; {layout}")
    names: list[bytes] = []
    counts: list[int] = []
    others: list[str] = []
    for name in classes:
        entries = _entries(directory / part / name)
        images = [os.fsencode(f"{name}/{entry.name}") for entry in entries if _is_image(entry)]
        others += [f"{name}/{entry.name}" for entry in entries if not _is_image(entry)]
        if len(images) < least:
            raise DataError(
                f"{directory / part / name} holds {len(images)} images, {least} at least are "
                f"needed ({', '.join(SUFFIXES)}); {layout}"
            )
        names += images
        counts.append(len(images))
    if others:
        warn(f"{directory / part} holds things that are no images, not used: {listed(others)}")
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return Files(directory / part, np.array(names), labels)


def _difference(found: Sequence[str], classes: Sequence[str]) -> str:
    missing = sorted(set(classes) - set(found))
    if missing:
        return f"there is no folder for {listed(missing)}, as in train"
    return f"folders that train does not have ({listed(sorted(set(found) - set(classes)))})"
