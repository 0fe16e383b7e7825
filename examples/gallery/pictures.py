"""Frames for the gallery: scanned digits, enlarged, tinted and set side by side.

The digits are those that scikit-learn carries, so nothing is downloaded. A colour picture has a
tint and a background for each digit; a large one is a mosaic of them.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

LARGEST_CELL = 56
"""Pixels of one digit in a mosaic at most."""


def pictures(count, shape, seed=0):
    """Draw ``count`` frames of ``shape`` C x H x W, uint8."""
    rng = np.random.default_rng([seed, count, *shape])
    digits = load_digits().images.astype(np.float32) / 16
    channels, height, width = shape
    rows, cols = -(-height // LARGEST_CELL), -(-width // LARGEST_CELL)
    chosen = rng.integers(0, len(digits), (count, rows, cols))
    size = (-(-height // rows), -(-width // cols))
    cells = torch.from_numpy(digits[chosen]).reshape(-1, 1, 8, 8)
    cells = interpolate(cells, size, mode="bilinear").numpy().reshape(count, rows, cols, 1, *size)
    if channels > 1:
        ink, ground = (_colours(rng, (count, rows, cols, channels)) for _ in range(2))
        cells = ground + (ink - ground) * cells
    mosaic = cells.transpose(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * size[0], -1)
    noise = rng.normal(0, 0.02, (count, *shape))
    return np.rint(255 * np.clip(mosaic[..., :height, :width] + noise, 0, 1)).astype(np.uint8)


def _colours(rng, shape):
    return rng.uniform(0, 1, (*shape, 1, 1)).astype(np.float32)
