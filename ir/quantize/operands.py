"""What a contraction reads: the frame, a stored tensor or a sign map, and its real meaning."""

from __future__ import annotations

from dataclasses import dataclass

from r2b.ir.quantize.encode import FloatArray, Interval

FRAME = "frame"


@dataclass(frozen=True)
class Operand:
    """A value between stages: ``real = factor[c] * integer + summand[c]``.

    Parameters
    ----------
    name : str
        Its name in the Program.
    factor, summand : float64 [C]
    interval : Interval
        Values that the integer can take.
    size : tuple of int
        Height and width.
    """

    name: str
    factor: FloatArray
    summand: FloatArray
    interval: Interval
    size: tuple[int, int]
