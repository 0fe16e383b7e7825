"""A cache of built folders by content: written whole or not at all, checked when it is read.

``<cache>/<kind>/<key>/`` holds the files of one build and their SHA-256 in ``manifest.json``. A
folder whose files differ from its manifest counts as absent and is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from r2b.ir.errors import OutputError

MANIFEST = "manifest.json"
VARIABLE = "R2B_CACHE"


def cache_folder() -> Path:
    """``R2B_CACHE``, or ``r2b`` in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "r2b"


def content_key(*parts: str | bytes) -> str:
    """Key of some content: changes with any part and with the border between two parts."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()[:32]


def cached(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder of ``key``, and whether it was there already.

    Parameters
    ----------
    kind, key : str
        Group of builds, content key.
    make : callable
        Fills an empty folder; what it leaves there is kept. Only one process at a time runs it for
        a key.

    Raises
    ------
    OutputError
        The cache folder cannot be written.
    """
    folder = cache_folder() / kind / key
    if _sound(folder):
        return folder, True
    with _writable(folder.parent), _locked(folder.with_suffix(".lock")):
        if _sound(folder):
            return folder, True
        part = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=folder.parent))
        try:
            make(part)
            (part / MANIFEST).write_text(json.dumps(_manifest(part), indent=1, sort_keys=True))
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder, False


def _manifest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _sound(folder: Path) -> bool:
    """Whether a folder is complete and unchanged."""
    try:
        return json.loads((folder / MANIFEST).read_text()) == _manifest(folder)
    except (OSError, ValueError):
        return False


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a folder; OutputError where that, or writing in the block, is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except OSError as error:
        raise OutputError(
            f"the cache folder {folder} cannot be written ({error.strerror or error}); set"
            f" {VARIABLE} to another folder, or make room"
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
