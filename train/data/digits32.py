"""Scikit-learn's handwritten digits as 32x32 frames, made hard enough to tell methods apart.

As they are, the digits are too easy to tell methods apart. Here each frame shows its digit
somewhere in the image, at a weak contrast, behind squares that hide part of it, in noise. What
happens to an image depends on its number in the data set alone: it is the same for every method,
seed and epoch, and part of the benchmark.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor
from torch.nn import functional

from r2b.train.data.dataset import ArrayImages, DataSet
from r2b.train.loop import shift

SIZE = 32
NUM_TEST, NUM_VALIDATION = 797, 400
"""The other 600 are for training."""
# Part of the benchmark: no seed of a training run changes the split or the frames.
SEED = 2020

DIGIT_SIZE = 28
"""Pixels of a digit; it stands anywhere in the frame."""
CONTRAST = (0.5, 1.0)
"""Brightness of the strokes, drawn evenly between the two."""
NUM_BLOCKS, BLOCK_SIZE = 2, 8
"""Grey squares that hide what is behind them."""
NOISE = 0.2
"""Standard deviation of the noise on every pixel; 1 is white."""


def load() -> DataSet:
    """Load the data set from the scikit-learn package; nothing is downloaded."""
    pixels, classes = load_digits(return_X_y=True)
    images = spoil(np.asarray(pixels, np.float32).reshape(-1, 8, 8))
    labels = np.asarray(classes, np.int64)
    parts = [
        ArrayImages(images[torch.from_numpy(part)].numpy(), labels[part])
        for part in split_indices(labels)
    ]
    return DataSet("digits", 10, (1, SIZE, SIZE), *parts)


def split_indices(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return the indices of the train, validation and test part, with equal shares of classes."""
    rest, test = _split(np.arange(len(labels)), labels, NUM_TEST)
    rest, validation = _split(rest, labels, NUM_VALIDATION)
    return rest, validation, test


def _split(
    indices: NDArray[np.int64], labels: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rest, part = train_test_split(
        indices, test_size=count, stratify=labels[indices], random_state=SEED
    )
    return np.asarray(rest), np.asarray(part)


def spoil(digits: NDArray[np.float32]) -> Tensor:
    """Make the frames, uint8 ``N x 1 x 32 x 32``, from 8x8 images with values 0..16."""
    generator = Generator().manual_seed(SEED)
    count = len(digits)
    frames = _place(_strokes(digits, generator), generator)
    for _ in range(NUM_BLOCKS):
        grey = torch.rand((count, 1, 1, 1), generator=generator)
        frames = torch.where(_square(count, generator), grey, frames)
    noisy = frames + NOISE * torch.randn(frames.shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).round().to(torch.uint8)


def _strokes(digits: NDArray[np.float32], generator: Generator) -> Tensor:
    pixels = torch.from_numpy(digits)[:, None] / 16
    large = functional.interpolate(
        pixels, size=(DIGIT_SIZE, DIGIT_SIZE), mode="bilinear", align_corners=False
    )
    low, high = CONTRAST
    return large * (low + (high - low) * torch.rand((len(digits), 1, 1, 1), generator=generator))


def _place(digits: Tensor, generator: Generator) -> Tensor:
    room = SIZE - DIGIT_SIZE
    before = room // 2
    padded = functional.pad(digits, (before, room - before) * 2)
    return shift(padded, math.ceil(room / 2), generator)


def _square(count: int, generator: Generator) -> Tensor:
    """Masks ``N x 1 x 32 x 32`` of one square each."""
    corner = torch.randint(SIZE - BLOCK_SIZE + 1, (2, count, 1), generator=generator)
    inside = torch.arange(SIZE) - corner
    rows, columns = (inside >= 0) & (inside < BLOCK_SIZE)
    return rows[:, None, :, None] & columns[:, None, None, :]
