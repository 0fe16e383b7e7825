"""A compiled network as a function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2b.ir.errors import CalibrationError
from r2b.ir.execute import logits
from r2b.ir.program import Program


@dataclass(frozen=True)
class Reference:
    """``logits = reference(frames)``: exactly what the Program, and so the accelerator, gives.

    Parameters
    ----------
    program : Program
    """

    program: Program

    def __call__(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Compute the logits, int32 N x classes.

        Parameters
        ----------
        frames : uint8 array N x C x H x W, or N x F for a network of vectors
            Raw pixels.

        Raises
        ------
        CalibrationError
            The frames are of another kind.
        """
        shape = tuple(self.program.input_shape)
        found: object = np.asarray(frames)
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
            raise CalibrationError(
                f"frames must be uint8, raw pixels 0..255, not {getattr(found, 'dtype', '?')}"
            )
        if found.ndim == 2 and shape[1:] == (1, 1):
            found = found.reshape(*found.shape, 1, 1)
        if found.shape[1:] != shape:
            wanted = " x ".join(map(str, shape))
            given = " x ".join(map(str, found.shape)) or "a scalar"
            raise CalibrationError(f"frames must be N x {wanted}, not {given}")
        return logits(self.program, found)
