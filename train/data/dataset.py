"""What every data set gives to training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Item = tuple[Tensor, int]
"""A uint8 image ``C x H x W`` and its class."""


@dataclass(frozen=True)
class DataSet:
    """Labelled images in three parts that share no image, except where a loader says otherwise.

    Parameters
    ----------
    name : str
        ``digits``, ``cifar100``, ``imagenet`` or ``folder``; names the augmentation too.
    num_classes : int
    input_shape : tuple of int
        ``(C, H, W)`` of every image.
    train, validation, test : Dataset
        For fitting, for choices, and for the final figure. Items are ``(image, label)``: a uint8
        tensor ``C x H x W`` and an int, 0 <= label < num_classes. Before each epoch, call
        :func:`set_epoch` on ``train``.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, int, int]
    train: Dataset[Item]
    validation: Dataset[Item]
    test: Dataset[Item]


class ArrayImages(Dataset[Item]):
    """Images in memory.

    Parameters
    ----------
    images : ndarray
        uint8, ``N x C x H x W``; copied.
    labels : ndarray
        int64, ``N``.

    Members
    -------
    images, labels : Tensor
        The same, for whoever wants all of them at once.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images = torch.from_numpy(images.copy())
        self.labels = torch.from_numpy(labels.copy())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Item:
        return self.images[index], int(self.labels[index])


@runtime_checkable
class _HasEpochs(Protocol):
    def set_epoch(self, seed: int, epoch: int) -> None: ...


def set_epoch(dataset: Dataset[Any], seed: int, epoch: int) -> None:
    """Tell a train part which epoch begins.

    The pixels of image ``index`` are then a function of ``(seed, epoch, index)`` alone: the order
    in which images are asked for, the number of workers and what happened before do not matter, so
    a resumed training sees the same pixels. Call it before ``iter(loader)``. Parts that do not
    depend on the epoch are left alone; Subset and ConcatDataset are looked into.

    Parameters
    ----------
    dataset : Dataset
    seed, epoch : int
        Both >= 0.
    """
    if isinstance(dataset, _HasEpochs):
        dataset.set_epoch(seed, epoch)
    for inner in (getattr(dataset, "dataset", None), *getattr(dataset, "datasets", ())):
        if isinstance(inner, Dataset):
            set_epoch(inner, seed, epoch)
