"""Counts a synthesized netlist's cells, and says to which component each belongs.

A cell belongs to the component whose name its output net still has; a LUT without one, to that of
most of the cells it drives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from r2b.explore.yosys import resource_of

PREFIXES = (
    ("core.binary.array", "binary array"), ("core.real.array", "real array"),
    ("core.binary.weights", "weights"), ("core.real.weights", "weights"),
    ("core.feeder", "weights"), ("core.binary", "binary loops"), ("core.real", "real loops"),
    ("core.epilogue", "epilogue"), ("core.sinks", "sinks"), ("core.vector", "vector"),
    ("core.frame", "frame"), ("core.line", "frame"), ("core.pool", "pool"),
    ("core.features", "maps"), ("core.signs", "maps"), ("core.feature", "maps"),
    ("core.skip", "maps"), ("core.multiply", "maps"), ("core.sign_", "maps"),
    ("core.operands", "maps"), ("core.masked", "maps"), ("core.count", "maps"),
    ("core", "control"), ("", "shell"),
)  # fmt: skip
"""Beginning of a name -> component; the first that fits."""


def component(name: str) -> str:
    """Component of a hierarchical name."""
    plain = name.replace("\\", "").removeprefix("$flatten").removeprefix("$techmap")
    plain = plain.replace("core.front.", "core.", 1)  # a front's are those of its parts
    return next(found for prefix, found in PREFIXES if plain.startswith(prefix))


def count(
    netlist: dict[str, Any], top: str = "r2b_top", owner: Callable[[str], str] = component
) -> dict[str, dict[str, int]]:
    """Component -> resource -> number, of yosys's JSON; ``owner`` tells a name's component."""
    module = netlist["modules"][top]
    owners = _Owners(module, owner)
    found: dict[str, Counter[str]] = {}
    for name, cell in module["cells"].items():
        counted = resource_of(cell["type"])
        if counted:
            found.setdefault(owners.of(name), Counter())[counted[0]] += counted[1]
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}


class _Owners:
    """Which component each cell belongs to."""

    def __init__(self, module: dict[str, Any], owner: Callable[[str], str]) -> None:
        self.cells: dict[str, Any] = module["cells"]
        names: dict[int, str] = {}
        for name, net in module["netnames"].items():
            if not net.get("hide_name") and "." in name:
                for bit in net["bits"]:  # the deepest name is the driver's
                    names[bit] = max(names.get(bit, ""), name, key=_depth)
        self.found: dict[str, str] = {}
        for name, cell in self.cells.items():
            named = [names[bit] for bit in _bits(cell, "output") if bit in names]
            if named:
                self.found[name] = owner(max(named, key=_depth))
            elif name.startswith(("core.", "registers.", "output.")):
                self.found[name] = owner(name)
        self._follow()

    def of(self, name: str) -> str:
        """Component of a cell; the shell where nothing says more."""
        return self.found.get(name, "shell")

    def _follow(self) -> None:
        """Cells without a name go to most of those they drive, from the registers backwards."""
        readers: dict[int, list[str]] = {}
        for name, cell in self.cells.items():
            for bit in _bits(cell, "input"):
                readers.setdefault(bit, []).append(name)
        open_ = [name for name in self.cells if name not in self.found]
        while open_:
            votes = {
                name: Counter(
                    self.found[user]
                    for bit in _bits(self.cells[name], "output")
                    for user in readers.get(bit, [])
                    if user in self.found
                )
                for name in open_
            }
            chosen = {name: vote.most_common(1)[0][0] for name, vote in votes.items() if vote}
            if not chosen:
                return
            self.found |= chosen
            open_ = [name for name in open_ if name not in chosen]


def _bits(cell: dict[str, Any], direction: str) -> list[int]:
    """Nets at a cell's inputs or outputs."""
    directions = cell["port_directions"]
    return [
        bit
        for port, bits in cell["connections"].items()
        if directions[port] == direction
        for bit in bits
        if isinstance(bit, int)
    ]


def _depth(name: str) -> int:
    return name.count(".")
