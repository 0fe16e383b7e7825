"""Data sets for training, from files that the user has: nothing is downloaded.

``load("cifar100:DIR")`` gives a :class:`DataSet`; :func:`augmentation` and :func:`mixup` change its
batches.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

from r2b.train.data.augment import augmentation, mixup
from r2b.train.data.cifar100 import LAYOUT as CIFAR100_LAYOUT
from r2b.train.data.cifar100 import load_cifar100
from r2b.train.data.dataset import ArrayImages, DataSet, Item, set_epoch
from r2b.train.data.errors import DataError
from r2b.train.data.folders import (
    FOLDER_LAYOUT,
    IMAGENET_LAYOUT,
    IMAGENET_SIZE,
    load_folder,
    load_imagenet,
)

__all__ = [
    "ArrayImages",
    "DataError",
    "DataSet",
    "Item",
    "augmentation",
    "load",
    "mixup",
    "set_epoch",
]

Warn = Callable[[str], None]

SPECS = "digits, cifar100:DIR, imagenet:DIR, folder:DIR and folder:DIR@SIZE"
"""What :func:`load` takes."""


def load(spec: str, warn: Warn | None = None) -> DataSet:
    """Load a data set.

    Parameters
    ----------
    spec : str
        ``digits``, ``cifar100:DIR``, ``imagenet:DIR``, ``folder:DIR`` or ``folder:DIR@SIZE``: the
        last scales images to ``SIZE x SIZE`` instead of 224 x 224.
    warn : callable, optional
        Is told what the user should know of data that are used; ``warnings.warn`` if left out.

    Raises
    ------
    DataError
        There is no such data set, or its files are missing or not as they should be; the text says
        what to put where.
    """
    name, colon, place = spec.partition(":")
    if name == "digits" and not colon:
        # scikit-learn takes seconds to import, and only this needs it
        digits: DataSet = importlib.import_module("r2b.train.data.digits32").load()
        return digits
    if name == "digits":
        raise DataError(f"{spec!r}: digits takes no folder, they come with scikit-learn")
    if name not in _LOADERS:
        raise DataError(f"there is no data set {name!r}; supported are {SPECS}")
    loader, layout = _LOADERS[name]
    if not place:
        raise DataError(f"{spec!r} names no folder; {layout}")
    try:
        return loader(place, warn or _warn)
    except OSError as error:
        raise DataError(f"{spec!r}: cannot be read: {error.strerror or error}; {layout}") from error


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _cifar100(place: str, warn: Warn) -> DataSet:
    return load_cifar100(_path(place), warn)


def _imagenet(place: str, warn: Warn) -> DataSet:
    return load_imagenet(_path(place), warn)


def _folder(place: str, warn: Warn) -> DataSet:
    directory, at, size = place.rpartition("@")
    # only digits: a folder's name may hold the sign
    if at and size.isascii() and size.isdigit():
        if not directory:
            raise DataError(f"{'folder:' + place!r} names no folder; {FOLDER_LAYOUT}")
        return load_folder(_path(directory), int(size), warn)
    return load_folder(_path(place), IMAGENET_SIZE, warn)


def _path(text: str) -> Path:
    """Give the path; the shell leaves a ~ behind a colon alone."""
    return Path.home() / text[2:] if text.startswith("~/") else Path(text)


_LOADERS: dict[str, tuple[Callable[[str, Warn], DataSet], str]] = {
    "cifar100": (_cifar100, CIFAR100_LAYOUT),
    "imagenet": (_imagenet, IMAGENET_LAYOUT),
    "folder": (_folder, FOLDER_LAYOUT),
}
