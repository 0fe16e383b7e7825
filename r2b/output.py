"""The output folder: complete or not at all, and never in the place of something else."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from r2b import __version__
from r2b.ir.errors import OutputError

MARKER = ".r2b"
"""A file in every folder that r2b made; only such a folder is ever replaced."""

WRITING = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS,
}  # fmt: skip


def check_output(path: Path, force: bool) -> None:
    """Check that an output folder may be made at ``path``.

    Raises
    ------
    OutputError
        Something else is there, or the place for it is not.
    """
    try:
        _check_place(path, force)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read: {error.strerror or error}; choose another -o"
        ) from error


def _check_place(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"{path}: there is no folder {path.parent}; make it, or choose another -o"
        )
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} exists and is no folder; choose another -o")
    if Path.cwd().is_relative_to(path.resolve()):
        raise OutputError(
            f"{path} is the current folder, or holds it, and would be replaced; choose another -o"
        )
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / MARKER).is_file():
        raise OutputError(
            f"{path} holds something else, which r2b did not make and will not replace; "
            "choose another -o"
        )
    if not force:
        raise OutputError(f"{path} exists; -f replaces it, or choose another -o")


@contextmanager
def output_folder(path: Path, force: bool) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its place when the block ends well.

    Raises
    ------
    OutputError
        The folder cannot be written; nothing is left of it.
    """
    path = Path(path.absolute())
    check_output(path, force)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        marker = {"made by": "r2b-compile", "version": __version__}
        (temporary / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        _put(temporary, path)
    except OSError as error:
        if not _concerns(error, temporary):
            raise
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; choose another -o, or make room"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether an error is one of writing: it names our folder, or is of that kind."""
    return error.errno in WRITING or str(error.filename or "").startswith(str(folder))


def _put(temporary: Path, path: Path) -> None:
    """Rename; what was there is kept until the new folder stands in its place."""
    if not path.exists():
        temporary.rename(path)
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
    path.rename(old)
    try:
        temporary.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
