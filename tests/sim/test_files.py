"""Files that stand whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from r2b.ir.errors import OutputError
from r2b.sim.cycles import write_cycles
from r2b.sim.files import write_whole
from r2b.sim.junit import Case, write_junit


def junit(path: Path) -> None:
    write_junit(path, "suite", [Case("one"), Case("two", "why")], 1.5)


def cycles(path: Path) -> None:
    write_cycles(path, {"frame": 3, "stages": {}})


@pytest.mark.parametrize("write", [junit, cycles])
def test_full_disk_leaves_what_was_there(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.write_bytes

    def write_bytes(path: Path, content: bytes) -> int:
        original(path, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "file"
    file.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(OutputError, match=r"file cannot be written: No space left on device$"):
            write(file)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
    write(file)
    assert len(file.read_text()) > 10


def test_links_and_pipes_stay(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_text("old")
    link.symlink_to(file)
    write_whole(link, b"new")
    assert link.is_symlink() and file.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"through")
    assert os.read(reader, 100) == b"through" and pipe.is_fifo()
    os.close(reader)
