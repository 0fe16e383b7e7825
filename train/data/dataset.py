"""What every data set is: a name, its shape, and three parts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

Item = tuple[Tensor, int]
"""A frame, uint8 ``C x H x W``, and its class."""


@dataclass(frozen=True)
class DataSet:
    """Three pairwise disjoint parts of frames with their classes.

    Parameters
    ----------
    name : str
        Kind of the data, a name in :data:`r2b.train.recipe.RECIPES`.
    num_classes : int
        Classes are the integers from 0.
    input_shape : tuple of int
        Channels, height and width of a frame.
    train, validation, test : Dataset
        For fitting, for choices, and for the final figure. Items are a uint8 frame
        ``C x H x W`` and an int.
    """

    name: str
    num_classes: int
    input_shape: tuple[int, int, int]
    train: Dataset[Item]
    validation: Dataset[Item]
    test: Dataset[Item]
