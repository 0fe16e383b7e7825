"""Arrays alone, side by side in one netlist: what their sizes cost without the rest around."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import netlist
from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Module, Signal, Value

from r2b.backends.fpga.emit import ASSERTION, GUARD
from r2b.backends.fpga.modules import shared
from r2b.explore.yosys import NETLIST, synthesize
from r2b.hw.array import ArrayParams
from r2b.hw.devices import LUT_INPUTS
from r2b.hw.pixels import make_array

TOP = "board"
PORTS = ("i", "shift", "shift_data", "drain", "o")


def binary(
    p_in: int, p_out: int, group: int, acc: int, depth: int, word: int, px: int = 1
) -> ArrayParams:
    """An XNOR array; ``depth`` sums of ``acc`` bits, ``word`` bits of weights at a time."""
    words = -(-p_in * p_out // word)
    return ArrayParams(True, p_in, p_out, group, 1, 1, acc, depth, word, words, 8, px=px)


def real(lanes: int, p_out: int, a_width: int, acc: int, depth: int, word: int) -> ArrayParams:
    """A MAC array with weights of 8 bits."""
    words = -(-8 * lanes * p_out // word)
    return ArrayParams(False, lanes, p_out, lanes, a_width, 8, acc, depth, word, words, 8)


ARRAYS: dict[str, tuple[ArrayParams, ...]] = {
    "ecp5": (
        binary(16, 16, 4, 9, 16, 32), binary(32, 8, 4, 11, 32, 32), binary(64, 8, 4, 12, 16, 64),
        binary(64, 16, 8, 11, 32, 64), real(4, 8, 12, 24, 32, 32), real(8, 8, 12, 26, 16, 64),
        real(2, 8, 9, 22, 64, 32),
    ),
    "xc7": (
        binary(16, 16, 4, 9, 32, 32), binary(32, 8, 4, 11, 64, 32), binary(64, 8, 4, 12, 32, 64),
        binary(64, 16, 8, 11, 64, 64), real(4, 8, 12, 24, 64, 32), real(8, 8, 12, 26, 64, 64),
        real(2, 8, 9, 22, 32, 32),
    ),
}  # fmt: skip

OTHERS: dict[str, tuple[ArrayParams, ...]] = {
    "ecp5": (
        replace(real(4, 8, 9, 22, 32, 32), luts=8), replace(real(8, 8, 12, 26, 16, 64), luts=4),
        replace(real(2, 16, 9, 22, 32, 32), luts=16),
    ),
    "xc7": (
        replace(real(4, 8, 9, 22, 64, 32), packed=True),
        replace(real(8, 8, 10, 24, 64, 64), packed=True),
        replace(real(4, 8, 9, 22, 64, 32), luts=8), replace(real(8, 8, 12, 26, 64, 64), luts=4),
    ),
}  # fmt: skip
"""MAC arrays with two products per DSP block, and with none."""


PIXEL_ARRAYS: dict[str, tuple[ArrayParams, ...]] = {
    "ecp5": (
        binary(16, 16, 4, 9, 16, 32, 2), binary(64, 8, 4, 12, 32, 64, 2),
        binary(32, 8, 4, 13, 16, 32, 4),
    ),
    "xc7": (
        binary(16, 16, 4, 9, 32, 32, 2), binary(64, 8, 4, 12, 64, 64, 2),
        binary(32, 8, 4, 13, 32, 32, 4),
    ),
}  # fmt: skip
"""Arrays of several pixels."""


class Board(Elaboratable):
    """Arrays whose ports are the board's."""

    def __init__(self, arrays: tuple[ArrayParams, ...]) -> None:
        self.arrays = [make_array(params) for params in arrays]
        self.ports = {
            (index, name): Signal(Value.cast(getattr(array, name)).shape(), name=f"{name}_{index}")
            for index, array in enumerate(self.arrays)
            for name in PORTS
        }

    def elaborate(self, platform) -> Module:
        """Wires."""
        m = Module()
        for index, array in enumerate(self.arrays):
            m.submodules[f"array_{index}"] = array
        for (index, name), port in self.ports.items():
            inner = Value.cast(getattr(self.arrays[index], name))
            m.d.comb += port.eq(inner) if name == "o" else inner.eq(port)
        return m


def measure(family: str, arrays: tuple[ArrayParams, ...]) -> dict[str, dict[str, int]]:
    """Resources of each array, by its number."""
    board = Board(tuple(replace(array, lut=LUT_INPUTS[family]) for array in arrays))
    ports = list(board.ports.values())
    text = verilog.convert(board, name=TOP, ports=ports, emit_src=False, strip_internal_attrs=True)
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / f"{TOP}.v"
        source.write_text(ASSERTION.sub(GUARD, shared(text)))
        synthesize(source, family, Path(work), top=TOP, named=True)
        content = json.loads((Path(work) / NETLIST).read_text())
    counts = netlist.count(content, TOP, owner=lambda name: name.lstrip("\\").split(".")[0])
    return {
        name.removeprefix("array_"): found for name, found in counts.items() if "array_" in name
    }
