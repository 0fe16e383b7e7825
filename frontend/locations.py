"""Where an operation stands in the user's model: module path and source line."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import fx

from r2b.ir.errors import Location

# the tracer's frames and ours are not the user's code
_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def location_of(node: fx.Node) -> Location:
    """Innermost module and source line of a node."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return Location(plain_path(paths[-1]) if paths else "", _source(node.stack_trace or ""))


def plain_path(path: str) -> str:
    """Path without the numbers that tell repeated calls of one module apart."""
    return path.partition("@")[0].removeprefix("L['self'].").removeprefix("L__self__.")


def _source(trace: str) -> str:
    """``file:line`` of the innermost frame of the user's code in the text of a stack."""
    for line in reversed(trace.splitlines()):
        if line.strip().startswith('File "'):
            file, number, *_ = line.strip().removeprefix('File "').replace('"', "").split(", ")
            found = source_of_frame(file, int(number.removeprefix("line ")))
            if found:
                return found
    return ""


def source_of_frame(file: str, line: int) -> str:
    """``file:line`` without a path of this machine; empty for PyTorch's code and the frontend's."""
    if file.startswith(_FOREIGN) or file.startswith("<"):
        return ""
    path, here = Path(file), Path.cwd()
    shown = path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name
    return f"{shown}:{line}"
