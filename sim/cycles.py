"""Recorded cycles: a file that a CI job compares with, so that no frame gets slower unseen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r2b.ir.errors import UserError
from r2b.sim.files import write_whole
from r2b.sim.harness import HEAD
from r2b.sim.job import FrameCycles

FORMAT = "r2b-cycles"
VERSION = 1


def slowest(stages: Sequence[str], frames: Sequence[FrameCycles]) -> dict[str, Any]:
    """Cycles of the slowest frame, all stages, and the most cycles of each stage in any frame."""
    names = (*stages, HEAD)
    most = {name: max(sum(frame.stages[n]) for frame in frames) for n, name in enumerate(names)}
    return {"frame": max(sum(map(sum, frame.stages)) for frame in frames), "stages": most}


def write_cycles(path: Path, measured: dict[str, Any]) -> None:
    """Record cycles."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **measured}, indent=1)
    write_whole(path, f"{text}\n".encode())


def read_cycles(path: Path) -> dict[str, Any]:
    """Recorded cycles; UserError where the file is missing or is something else."""
    way_out = "write one with r2b-sim --record-cycles"
    try:
        content = json.loads(path.read_text())
        known = content["format"] == FORMAT and content["version"] == VERSION
        recorded = {"frame": int(content["frame"]), "stages": dict(content["stages"])}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {way_out}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} does not hold recorded cycles; {way_out}") from None
    if not known:
        raise UserError(f"{path} is of another version; {way_out}")
    return recorded


def slower(recorded: dict[str, Any], measured: dict[str, Any]) -> str | None:
    """What takes more cycles than recorded, or None."""
    if measured["frame"] <= recorded["frame"]:
        return None
    old = recorded["stages"]
    grown = [
        f"{name} {old[name]} -> {now}"
        for name, now in measured["stages"].items()
        if name in old and now > old[name]
    ]
    where = f"; slower: {', '.join(grown)}" if grown else ""
    return f"a frame takes {measured['frame']} cycles, {recorded['frame']} are recorded{where}"
