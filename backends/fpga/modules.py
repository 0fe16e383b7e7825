"""Writes modules that differ in their names alone once: all elements of an array are one module.

Instances keep their names, so that no hierarchical name changes; what they are instances of is the
first of the equal modules.
"""

from __future__ import annotations

import re

MODULE = re.compile(
    r"^(?P<attributes>(?:\(\*[^\n]*\n)*)module (?P<name>\S+?) ?\((?P<rest>.*?^endmodule\n\n?)",
    re.MULTILINE | re.DOTALL,
)
INSTANCE = re.compile(r"^( *)(\\\S+)(  \S+ +\()$", re.MULTILINE)
NUMBERED = re.compile(r"(?<=:dump_module\$)\d+")
"""Of a register that yosys writes for simulators; local to its module, counted in the file."""


def shared(text: str) -> str:
    """The Verilog with one module of each kind, in the order of the first ones."""
    text = MODULE.sub(lambda found: _renumbered(found[0]), text)
    while True:
        names = _equal(text)
        if all(name == first for name, first in names.items()):
            return text
        text = MODULE.sub(lambda found, names=names: _kept(found, names), text)


def _renumbered(module: str) -> str:
    numbers: dict[str, int] = {}
    return NUMBERED.sub(lambda found: str(numbers.setdefault(found[0], len(numbers))), module)


def _equal(text: str) -> dict[str, str]:
    """Name of every module -> that of the first one like it."""
    firsts: dict[str, str] = {}
    return {
        found["name"]: firsts.setdefault(found["attributes"] + found["rest"], found["name"])
        for found in MODULE.finditer(text)
    }


def _kept(found: re.Match[str], names: dict[str, str]) -> str:
    """A module with instances of what is kept; nothing if another one is kept for it."""
    if names[found["name"]] != found["name"]:
        return ""
    return INSTANCE.sub(lambda line: line[1] + names.get(line[2], line[2]) + line[3], found[0])


__all__ = ["shared"]
