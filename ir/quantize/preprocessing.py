"""What a network receives for a frame, and what calibration frames must be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2b.ir.errors import CalibrationError

MIN_STD = 1e-6
"""Smallest standard deviation; its inverse is the largest."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Preprocessing:
    """The network receives ``(x / 255 - mean) / std`` for a pixel x, or x itself if ``raw``.

    Parameters
    ----------
    mean, std : float or tuple of float
        One value, or one per channel.
    raw : bool
    """

    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    raw: bool = False

    def affine(self, channels: int) -> tuple[FloatArray, FloatArray]:
        """Factor and summand per channel that turn a pixel into what the network receives."""
        if self.raw:
            return np.ones(channels), np.zeros(channels)
        mean, std = (self._per_channel(name, channels) for name in ("mean", "std"))
        if np.any((std < MIN_STD) | (std > 1 / MIN_STD)):
            raise CalibrationError(f"std must be positive and of sane size, not {self.std}")
        if np.any((mean < 0) | (mean > 1)):
            raise CalibrationError(
                f"mean must lie in 0..1, where x / 255 does, not {self.mean}; a mean of pixels in "
                "0..255 is to be divided by 255 (std too)"
            )
        return 1 / (255 * std), -mean / std

    def _per_channel(self, name: str, channels: int) -> FloatArray:
        values = np.atleast_1d(np.asarray(getattr(self, name), dtype=np.float64))
        if values.shape not in ((1,), (channels,)) or not np.all(np.isfinite(values)):
            raise CalibrationError(
                f"{name} must be one finite number, or one for each of the {channels} channels of "
                f"a frame, not {getattr(self, name)}"
            )
        return np.broadcast_to(values, (channels,)).copy()

    def apply(self, frames: npt.NDArray[np.uint8]) -> FloatArray:
        """Turn frames N x C x H x W into what the network receives."""
        factor, summand = self.affine(frames.shape[1])
        return frames * factor[:, None, None] + summand[:, None, None]

    def to_dict(self) -> dict[str, float | bool | list[float]]:
        """Describe it for ``program.json``."""
        return {"mean": _plain(self.mean), "std": _plain(self.std), "raw": self.raw}


def _plain(value: float | tuple[float, ...]) -> float | list[float]:
    return [float(item) for item in value] if isinstance(value, tuple) else float(value)


def check_frames(frames: object, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return calibration frames if they are uint8 N x C x H x W with N >= 1.

    ``shape`` is C, H, W, or F for a network of vectors, whose frames are N x F x 1 x 1; they may
    be given as N x F.

    Raises
    ------
    CalibrationError
        With what was found and what is needed.
    """
    shape = (*shape, 1, 1)[:3]
    if isinstance(frames, np.ndarray) and frames.ndim == 2 and shape[1:] == (1, 1):
        frames = frames[:, :, None, None]
    wanted = f"calibration frames must be uint8, N x {' x '.join(map(str, shape))}, N >= 1"
    if not isinstance(frames, np.ndarray):
        raise CalibrationError(f"{wanted}, not a {type(frames).__name__}; give a NumPy array")
    if np.issubdtype(frames.dtype, np.floating) and np.isnan(frames).any():
        raise CalibrationError(f"{wanted}, not {frames.dtype} with NaN; give raw pixels 0..255")
    if frames.dtype != np.uint8:
        raise CalibrationError(f"{wanted}, not {frames.dtype}; give raw pixels 0..255")
    if frames.ndim != 4 or frames.shape[1:] != shape:
        found = " x ".join(map(str, frames.shape)) or "a scalar"
        raise CalibrationError(f"{wanted}, not {found}; give frames as the network takes them")
    if len(frames) == 0:
        raise CalibrationError(f"{wanted}, not 0 frames; give some samples")
    return frames
