"""Where calibration frames come from: a file, an array, random numbers, or the model itself."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir.errors import CalibrationError
from r2b.ir.quantize import Preprocessing

Frames = npt.NDArray[np.uint8]
Shape = tuple[int, ...]

RANDOM = "random"
RANDOM_FRAMES = 16
PIXEL_TOLERANCE = 0.05
"""How far from whole numbers pixels may lie that are computed back from a network's inputs."""
WAY_OUT = "give uint8 frames, N x C x H x W, written with numpy.save"


def calibration_frames(
    choice: Any,
    stored: Frames | None,
    shape: Shape,
    seed: int,
    warn: Callable[[str], None],
    preprocessing: Preprocessing,
) -> Frames:
    """Frames for a network that takes ``shape``, ``(C, H, W)`` or ``(F,)``.

    Parameters
    ----------
    choice : array, Path, str or None
        Frames, their file, ``"random"``, or None for the stored ones.
    stored : ndarray or None
        Frames that came with the model.
    shape : tuple of int
    seed : int
        Of random frames.
    warn : callable
    preprocessing : Preprocessing
        How frames of floats were made from pixels.

    Raises
    ------
    CalibrationError
        There are none, or they do not fit.
    """
    if isinstance(choice, str) and choice == RANDOM:
        warn("random calibration frames: the scales, and so the accuracy, are those of noise")
        return random_frames(shape, seed)
    if isinstance(choice, str | Path):
        return _read(Path(choice), shape)
    if choice is not None:
        return check_frames(_pixels(choice, preprocessing), shape)
    if stored is None:
        raise CalibrationError(
            "the model file holds no calibration frames; give some with --calibrate FRAMES.npy "
            f"(uint8, {_wanted(shape)}), or --calibrate random for a trial"
        )
    return check_frames(stored, shape)


def random_frames(shape: Shape, seed: int) -> Frames:
    """Noise."""
    return np.random.default_rng(seed).integers(0, 256, (RANDOM_FRAMES, *shape), np.uint8)


def frames_shape(choice: Any) -> Shape | None:
    """Shape of a frame in a file or an array of frames; None where there is none to be read."""
    if choice is None or (isinstance(choice, str) and choice == RANDOM):
        return None
    found: Any = load_array(Path(choice)) if isinstance(choice, str | Path) else choice
    shape = tuple(getattr(found, "shape", ()))
    return shape[1:] if len(shape) in (2, 4) else None


def _wanted(shape: Shape) -> str:
    return "N x F" if len(shape) == 1 else "N x C x H x W"


def check_frames(frames: object, shape: Shape) -> Frames:
    """Return calibration frames if they are uint8 ``N x shape`` with N >= 1.

    Raises
    ------
    CalibrationError
        With what was found and what is needed.
    """
    wanted = f"calibration frames must be uint8, N x {' x '.join(map(str, shape))}, N >= 1"
    if not isinstance(frames, np.ndarray):
        raise CalibrationError(f"{wanted}, not a {type(frames).__name__}; give a NumPy array")
    if np.issubdtype(frames.dtype, np.floating) and np.isnan(frames).any():
        raise CalibrationError(f"{wanted}, not {frames.dtype} with NaN; give raw pixels 0..255")
    if frames.dtype != np.uint8:
        raise CalibrationError(f"{wanted}, not {frames.dtype}; give raw pixels 0..255")
    if frames.shape[1:] != tuple(shape) or not frames.ndim:
        found = " x ".join(map(str, frames.shape)) or "a scalar"
        raise CalibrationError(f"{wanted}, not {found}; give frames as the network takes them")
    if len(frames) == 0:
        raise CalibrationError(f"{wanted}, not 0 frames; give some samples")
    return frames


def _pixels(frames: Any, preprocessing: Preprocessing) -> object:
    """Frames as pixels; floats, which a network receives, are computed back exactly or refused."""
    found: Any = frames.detach().cpu().numpy() if hasattr(frames, "detach") else frames
    if not isinstance(found, np.ndarray) or not np.issubdtype(found.dtype, np.floating):
        return found
    if found.ndim not in (2, 4) or not np.isfinite(found).all():
        return found
    factor, summand = preprocessing.affine(found.shape[1])
    spread = (1, -1, *[1] * (found.ndim - 2))
    pixels = (found.astype(np.float64) - summand.reshape(spread)) / factor.reshape(spread)
    whole = np.rint(pixels)
    if np.abs(pixels - whole).max(initial=0) > PIXEL_TOLERANCE or np.any(
        (whole < 0) | (whole > 255)
    ):
        raise CalibrationError(
            "calibration frames of floats must be pixels 0..255 as the network receives them, "
            "(x / 255 - mean) / std; these are not, for the mean and std that are given: give "
            "uint8 frames, the right mean and std, or calibration='random' for a trial"
        )
    return whole.astype(np.uint8)


def _read(path: Path, shape: Shape) -> Frames:
    try:
        return check_frames(load_array(path), shape)
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
