"""The data sets, by what ``--data`` calls them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator, Tensor

from r2b.ir.errors import UserError
from r2b.train.data import digits32
from r2b.train.data.dataset import DataSet

__all__ = ["DataSet", "augmentation", "load", "mixup"]

Augmentation = Callable[[Tensor, Generator], Tensor]


def load(spec: str) -> DataSet:
    """Load the data set that ``--data`` names."""
    if spec == "digits":
        return digits32.load()
    raise UserError(f"there is no data set {spec!r}; known is: digits")


def augmentation(name: str, phase: int) -> Augmentation:
    """Return what is done to the training frames of a data set in a phase."""
    return digits32.augment


def mixup(
    images: Tensor, labels: Tensor, num_classes: int, alpha: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Mix pairs of frames."""
    raise NotImplementedError
