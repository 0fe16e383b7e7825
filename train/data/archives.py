"""Members of a .tar.gz archive, read in memory: nothing is written to disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from r2b.train.data.errors import DataError

DAMAGED = "copy the file again"


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Refused(Exception):
    """The archive is not what it should be; the text says why."""


class _Limited(io.RawIOBase):
    """A stream that ends with an error after a number of bytes: against archives that explode."""

    def __init__(self, stream: _Readable, limit: int) -> None:
        self._stream, self._left, self._limit = stream, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(min(len(buffer), self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise _Refused(f"it unpacks to more than {self._limit:,} bytes")
        buffer[: len(data)] = data
        return len(data)


def read_members(path: Path, names: Collection[str], limit: int) -> dict[str, bytes]:
    """Read members of a .tar.gz archive by their names.

    Parameters
    ----------
    path : Path
    names : collection of str
        What is wanted; other plain members are passed over.
    limit : int
        Bytes to which the archive may unpack in all.

    Raises
    ------
    DataError
        It cannot be read, is damaged, lacks a member, holds one twice, or holds a member that is
        no plain file or folder or whose path leads out of the archive.
    """
    try:
        with gzip.open(path) as stream:
            limited = io.BufferedReader(_Limited(stream, limit))
            with tarfile.open(fileobj=limited, mode="r|") as archive:
                found = _read(archive, names)
            _drain(limited)
    except _Refused as error:
        raise DataError(f"the archive was not read: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise DataError(f"the archive is truncated or damaged; {DAMAGED}") from error
    except OSError as error:
        raise DataError(f"the archive cannot be read: {error.strerror or error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"the archive holds no {', no '.join(missing)}")
    return found


def _read(archive: tarfile.TarFile, names: Collection[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for member in archive:
        name = _checked_name(member)
        if name in found:
            raise _Refused(f"it holds {name!r:.100} twice")
        file = archive.extractfile(member) if name in names else None
        if file is not None:
            found[name] = file.read()
    return found


def _checked_name(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise _Refused(f"the path {member.name!r:.100} leads out of it")
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        raise _Refused(f"{member.name!r:.100} is neither a plain file nor a folder")
    return str(path)  # without a leading ./


def _drain(stream: _Readable) -> None:
    """Read to the end, where gzip's checksum stands."""
    while stream.read(1 << 20):
        pass
