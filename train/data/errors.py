"""The error of this package."""

from __future__ import annotations

from r2b.ir.errors import UserError


class DataError(UserError):
    """A data set is missing or cannot be used: what was found, and what to put where.

    Parameters
    ----------
    text : str
        One line. What PyTorch's DataLoader puts before it when a worker process raised it (that it
        was caught, and a traceback) is left out.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition(f"{__name__}.DataError: ")[2].strip())
