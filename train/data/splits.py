"""A fixed part of the training images for validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 2020
"""The split is part of the data set: no seed of a training run changes it."""

Indices = NDArray[np.int64]


def hold_out(labels: Indices, fraction: float) -> tuple[Indices, Indices]:
    """Split images into a train and a validation part, class by class.

    Of a class with n images, ``min(max(round(fraction * n), 1), n - 1)`` go to validation, chosen
    by a permutation with :data:`SPLIT_SEED`.

    Parameters
    ----------
    labels : ndarray
        int64, ``N``; at least two images of each class.
    fraction : float
        Share of the validation part.

    Returns
    -------
    train, validation : ndarray
        Indices, each sorted; disjoint, and together all.
    """
    # RandomState's numbers are fixed for all versions of NumPy, those of default_rng are not
    random = np.random.RandomState(SPLIT_SEED)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    chosen = [_choose(random.permutation(part), fraction) for part in np.split(order, starts)]
    validation = np.sort(np.concatenate(chosen))
    train = np.setdiff1d(np.arange(len(labels)), validation, assume_unique=True)
    return train, validation


def _choose(indices: Indices, fraction: float) -> Indices:
    count = min(max(round(fraction * len(indices)), 1), len(indices) - 1)
    return indices[:count]
