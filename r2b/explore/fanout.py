"""Drivers of many loads copied, each for a part of them, as vendor tools do.

A net is one tree of wires. Where nextpnr's router takes a wire away from a tree of thousands of
loads it routes them all again, and with several such nets it does not come to an end; a driver near
its loads is faster, too. Loads that are next to each other by name share a copy.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from itertools import pairwise
from typing import Any

MOST = 128
"""Loads of a driver."""
COPIED = ("TRELLIS_FF", "LUT4")
"""Cells that are copied: those with one output that any wire takes."""
INSIDE = {"PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1")}
"""Pins that take only the LUT beside them."""
Load = tuple[str, str, int]
"""Cell, pin, place in it."""


def spread_loads(module: dict[str, Any], most: int = MOST) -> int:
    """Change a flattened module of yosys's JSON; how many cells were added."""
    cells: dict[str, dict[str, Any]] = module["cells"]
    driver, loads = _nets(cells)
    fresh = 1 + max((bit for bit in [*driver, *loads] if isinstance(bit, int)), default=0)
    added = 0
    for bit, name in driver.items():
        parts = _parts(cells, name, loads[bit], most)
        for number, part in enumerate(parts[1:], 1):
            twin = copy.deepcopy(cells[name])
            (pin,) = (p for p, way in twin["port_directions"].items() if way == "output")
            twin["connections"][pin] = [fresh]
            cells[f"{name}$copy{number}"] = twin
            for cell, load, place in part:
                cells[cell]["connections"][load][place] = fresh
            fresh, added = fresh + 1, added + 1
    return added


def _nets(cells: dict[str, dict[str, Any]]) -> tuple[dict[int, str], dict[int, list[Load]]]:
    """Driver and loads of every net."""
    driver: dict[int, str] = {}
    loads: dict[int, list[Load]] = defaultdict(list)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for place, bit in enumerate(bits):
                if not isinstance(bit, int):
                    continue
                if cell["port_directions"][pin] == "output":
                    driver[bit] = name
                else:
                    loads[bit].append((name, pin, place))
    return driver, loads


def _parts(cells: dict[str, Any], name: str, loads: list[Load], most: int) -> list[list[Load]]:
    """The loads in equal parts; all in one where their driver is not to be copied."""
    inside = any(pin in INSIDE.get(cells[cell]["type"], ()) for cell, pin, _ in loads)
    if len(loads) <= most or cells[name]["type"] not in COPIED or inside:
        return [loads]
    count = -(-len(loads) // most)
    ordered = sorted(loads, key=lambda load: _order(load[0]))
    bounds = [len(ordered) * part // count for part in range(count + 1)]
    return [ordered[a:b] for a, b in pairwise(bounds)]


def _order(name: str) -> list[tuple[int, str]]:
    """Numbers in a name count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


__all__ = ["spread_loads"]
