"""Files that stand whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from r2b.ir.errors import OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it; what is no regular file is written to as it is.

    Raises
    ------
    OutputError
        The file cannot be written; what was there stays.
    """
    try:
        # not through a link: the link would be replaced, not what it shows
        place = path.resolve()
        if place.exists() and not place.is_file():
            place.write_bytes(content)
            return
        part = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            part.write_bytes(content)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
