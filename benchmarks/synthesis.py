"""Synthesizes the emitted top level with yosys: LUT, FF, block RAM, DSP; fails on a latch.

    r2b-compile examples/digits/digits.pt --target numpy -o build/digits.r2b
    python benchmarks/synthesis.py build/digits.r2b --device ecp5-85f --device xc7z020

Figures are synthesized, not placed. One device takes minutes. With ``--elements`` the elements of
the XNOR array stay modules and are mapped once: less time and memory, and a few percent more LUTs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.explore.yosys import synthesize, totals
from r2b.hw.devices import DEVICES
from r2b.ir.serialize import load


def main(
    folder: Annotated[Path, typer.Argument(help="a folder of r2b-compile; its Program is used")],
    device: Annotated[list[str], typer.Option(help="device, may be repeated")],
    parallelism: Annotated[str | None, typer.Option(help="PINxPOUT; default: the device's")] = None,
    elements: Annotated[bool, typer.Option(help="map one element of the XNOR array only")] = False,
) -> None:
    """Print a row per device."""
    program = load(folder)
    table = Table("device", "array", "lanes", "MACs", *map(str.upper, totals({})), "yosys s")
    for name in device:
        shape = parse_parallelism(parallelism) if parallelism else None
        plan = make_plan(program, name, parallelism=shape)
        with tempfile.TemporaryDirectory() as work:
            source = emit_verilog(program, plan, work)
            begin = time.perf_counter()
            family = DEVICES[name].family
            cells = synthesize(source, family, Path(work), elements=elements)
        counts = totals(cells).values()
        row = [name, f"{plan.p_in}x{plan.p_out}", plan.lanes, plan.lanes * plan.mac_out, *counts]
        table.add_row(*map(str, row), f"{time.perf_counter() - begin:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
