"""Memory contents in RTLIL, written at once.

Amaranth makes an object of every bit of every memory and puts the bits together again; for the 13
million bits of a large network's ROMs that is half of the time of writing Verilog, and most of its
memory. The text is the same, but for large memories that are written before they are read: their
zeros would be a line per word, over which yosys's Verilog reader takes minutes (80,000 words: more
than 3 minutes; without them 3 seconds).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil

CLEARED = 1024
"""Words up to which a memory that is written begins with zeros, as Amaranth has it."""


@contextmanager
def whole_contents() -> Iterator[None]:
    """Write memory contents as whole constants while Verilog is made."""
    before = rtlil.ModuleEmitter.emit_memory
    rtlil.ModuleEmitter.emit_memory = _emit_memory
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = before


def _emit_memory(self: Any, cell_idx: int, cell: Any) -> None:
    """Do what ``ModuleEmitter.emit_memory`` of Amaranth 0.5 does."""
    written = self.memories[cell_idx].num_write_ports > 0
    if written and cell.depth > CLEARED and not any(cell.init):
        return
    self.builder.cell(
        "$meminit_v2",
        ports={
            "ADDR": self.sigspec(),
            "DATA": _constant(cell.init, cell.width),
            "EN": _constant([-1], cell.width),
        },
        parameters={
            "MEMID": self.memories[cell_idx].memid,
            "ABITS": 0,
            "WIDTH": cell.width,
            "WORDS": cell.depth,
            "PRIORITY": 0,
        },
        src_loc=cell.src_loc,
    )


def _constant(rows: Any, width: int) -> str:
    """RTLIL text of the rows, the first one in the lowest bits."""
    if not width or not rows:
        return "{  }"
    mask = (1 << width) - 1
    bits = "".join(format(row & mask, f"0{width}b") for row in reversed(rows))
    return f"{len(bits)}'{bits}"
