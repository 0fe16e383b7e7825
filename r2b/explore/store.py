"""The folder of an exploration: what it was asked, and every chunk of points that is done.

Files are written whole or not at all, so that a run that is killed goes on with ``--resume`` and
ends with the same bytes as one that was not.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r2b import __version__
from r2b.explore.evaluate import COLUMNS, Outcome
from r2b.ir import serialize
from r2b.ir.errors import OutputError
from r2b.ir.program import Program
from r2b.output import MARKER, WRITING

ASKED = "explore.json"
STATE = "state"
Asked = dict[str, Any]


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """The folder of an exploration.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / STATE

    def check(self, resume: bool) -> None:
        """Check that the folder may be used, before anything is loaded.

        Raises
        ------
        OutputError
            Something is there already, or is missing.
        """
        folder = self.folder
        if not folder.parent.is_dir():
            raise OutputError(
                f"{folder}: there is no folder {folder.parent}; make it, or choose another -o"
            )
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputError(f"{folder} exists and is no folder; choose another -o")
        # a run that was killed at once leaves no more than a temporary file
        if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
            return
        if not (folder / ASKED).is_file():
            raise OutputError(f"{folder} holds something else, no exploration; choose another -o")
        if not resume:
            raise OutputError(
                f"{folder} holds an exploration; --resume goes on with it, or choose another -o"
            )

    def begin(self, asked: Asked) -> None:
        """Begin, or go on with what was asked in the same way.

        Raises
        ------
        OutputError
            Something else was asked before; it is named.
        """
        with self.writing():
            self.folder.mkdir(exist_ok=True)
            if (self.folder / ASKED).exists():
                self._compare(asked)
            else:
                put(self.folder / ASKED, json.dumps(asked, indent=2, sort_keys=True) + "\n")
            self.state.mkdir(exist_ok=True)
            self._remove_temporary()
            marker = {"made by": "r2b-explore", "version": __version__}
            put(self.folder / MARKER, json.dumps(marker) + "\n")

    def _remove_temporary(self) -> None:
        """Remove what a killed run left half written."""
        for left in (*self.folder.glob(".*.tmp"), *self.state.glob(".*.tmp")):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)

    def _compare(self, asked: Asked) -> None:
        before = self._read(self.folder / ASKED)
        now = json.loads(json.dumps(asked))
        other = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if other:
            name = other[0]
            raise OutputError(
                f"{self.folder} was begun with another {name}: {_brief(before.get(name))}, now "
                f"{_brief(now.get(name))}; give the same, or choose another -o"
            )

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path} cannot be read: {error}; remove {self.folder} and begin again"
            ) from error

    @contextmanager
    def writing(self):
        """Turn what goes wrong when files are written into one message."""
        try:
            yield
        except OSError as error:
            named = str(error.filename or "").startswith(str(self.folder))
            if error.errno not in WRITING and not named:
                raise
            raise OutputError(
                f"{self.folder} cannot be written: {error.strerror or error}; make room, and go "
                "on with --resume"
            ) from error

    # --------------------------------------------------------------------------------- Program

    def program(self, make: Callable[[], Program]) -> Program:
        """The Program that is explored; made once, since quantizing a large network takes long."""
        if (self.state / serialize.PROGRAM_FILE).exists():
            return serialize.load(self.state)
        program = make()
        with self.writing():
            beside = self.state / f".{uuid.uuid4().hex}.tmp"
            serialize.save(program, beside)
            (beside / serialize.WEIGHTS_FILE).replace(self.state / serialize.WEIGHTS_FILE)
            (beside / serialize.PROGRAM_FILE).replace(self.state / serialize.PROGRAM_FILE)
            beside.rmdir()
        return serialize.load(self.state)  # as it is read when it is resumed

    # ---------------------------------------------------------------------------------- chunks

    def chunk(self, number: int) -> Outcome | None:
        """What a chunk gave, if it is done."""
        path = self.state / f"{number:05d}.json"
        if not path.exists():
            return None
        found = self._read(path)
        rows = [dict(zip(COLUMNS, values, strict=True)) for values in found["rows"]]
        return Outcome(rows, found["excluded"])

    def keep(self, number: int, outcome: Outcome) -> None:
        """Keep what a chunk gave."""
        rows = [[row[name] for name in COLUMNS] for row in outcome.rows]
        content = {"rows": rows, "excluded": outcome.excluded}
        with self.writing():
            put(self.state / f"{number:05d}.json", json.dumps(content) + "\n")

    def measured(self, name: str) -> dict[str, Any] | None:
        """What synthesis gave for a Plan, if it is done."""
        path = self.state / f"synth-{name}.json"
        return self._read(path) if path.exists() else None

    def keep_measured(self, name: str, found: dict[str, Any]) -> None:
        """Keep what synthesis gave."""
        with self.writing():
            put(self.state / f"synth-{name}.json", json.dumps(found, sort_keys=True) + "\n")


def _brief(value: object) -> str:
    text = json.dumps(value) if value is not None else "none"
    return text if len(text) <= 60 else f"{text[:57]}..."
