"""Scikit-learn's handwritten digits as 16x16 uint8 frames, in three fixed parts.

The test part is for the final figure only. Choices are made by fitting the train part and looking
at the validation part; once they are made, the final network is fitted to both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional

NUM_TEST = 450
NUM_VALIDATION = 200
# The split is part of the benchmark: no seed of a training run changes it.
SPLIT_SEED = 2020


@dataclass(frozen=True)
class Frames:
    """Images with their classes.

    Parameters
    ----------
    images : ndarray
        uint8, ``N x 1 x 16 x 16``.
    labels : ndarray
        int64, ``N``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """The three parts of the data set, pairwise disjoint, with equal shares of each class.

    Parameters
    ----------
    train, validation, test : Frames
        For fitting, for choices, and for the final figure.
    """

    train: Frames
    validation: Frames
    test: Frames

    @property
    def development(self) -> Frames:
        """Everything but the test part."""
        return Frames(
            np.concatenate([self.train.images, self.validation.images]),
            np.concatenate([self.train.labels, self.validation.labels]),
        )


def upscale(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Make uint8 frames ``N x 1 x 16 x 16`` from 8x8 images with values 0..16."""
    pixels = torch.from_numpy(images)[:, None] * (255 / 16)
    large = functional.interpolate(pixels, size=(16, 16), mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).numpy()


def split_indices(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of the train, validation and test part."""
    rest, test = _split(np.arange(len(labels)), labels, NUM_TEST)
    train, validation = _split(rest, labels, NUM_VALIDATION)
    return train, validation, test


def _split(
    indices: NDArray[np.int64], labels: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rest, part = train_test_split(
        indices, test_size=count, stratify=labels[indices], random_state=SPLIT_SEED
    )
    return np.asarray(rest), np.asarray(part)


def load() -> Digits:
    """Load the data set from the scikit-learn package; nothing is downloaded."""
    pixels, classes = load_digits(return_X_y=True)
    images = upscale(np.asarray(pixels, np.float64).reshape(-1, 8, 8))
    labels = np.asarray(classes, np.int64)
    train, validation, test = (Frames(images[part], labels[part]) for part in split_indices(labels))
    return Digits(train, validation, test)
