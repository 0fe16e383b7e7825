"""The files of a training run: written whole or not at all, read without running anything."""

from __future__ import annotations

import io
import json
import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import torch

from r2b.ir.errors import TrainingError


def put(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path``: after a crash it is the old file or the new one.

    Raises
    ------
    OSError
        It cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes) -> None:
    """Do as :func:`put`.

    Raises
    ------
    TrainingError
        It cannot be written.
    """
    try:
        put(path, data)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror or error}; make room, "
            "and go on with --resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the renaming last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote.

    Raises
    ------
    TrainingError
        The file is broken or not there.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write plain data with tensors; equal content gives equal bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write(path, buffer.getvalue())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what :func:`write_tensors` wrote, to the CPU; no code in it is run.

    Raises
    ------
    TrainingError
        The file is broken or not there.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        brief = " ".join(str(error).split())
        raise TrainingError(f"{path} cannot be read: {brief:.200}") from error


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
