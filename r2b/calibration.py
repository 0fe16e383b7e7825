"""Where calibration frames come from: a file, random numbers, or the checkpoint itself."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r2b.ir.errors import CalibrationError
from r2b.ir.quantize.preprocessing import check_frames

Frames = npt.NDArray[np.uint8]

RANDOM = "random"
RANDOM_FRAMES = 16
WAY_OUT = "give uint8 frames, N x C x H x W, written with numpy.save"


def calibration_frames(
    choice: str | None,
    stored: Frames | None,
    shape: tuple[int, int, int],
    seed: int,
    warn: Callable[[str], None],
) -> Frames:
    """Frames for a network that takes ``shape``.

    Raises
    ------
    CalibrationError
        There are none, or they do not fit.
    """
    if choice == RANDOM:
        warn("random calibration frames: the scales, and so the accuracy, are those of noise")
        return np.random.default_rng(seed).integers(0, 256, (RANDOM_FRAMES, *shape), np.uint8)
    if choice is not None:
        return _read(Path(choice), shape)
    if stored is None:
        raise CalibrationError(
            "the model file holds no calibration frames; give some with --calibrate FRAMES.npy "
            "(uint8, N x C x H x W), or --calibrate random for a trial"
        )
    return check_frames(stored, tuple(shape))


def _read(path: Path, shape: tuple[int, int, int]) -> Frames:
    try:
        return check_frames(load_array(path), tuple(shape))
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None


def load_array(path: Path) -> object:
    """Content of an .npy file; a pickle in it is not read."""
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise CalibrationError(f"cannot be read: {error.strerror or error}; {WAY_OUT}") from error
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"this is no .npy file of numbers; {WAY_OUT}") from error
