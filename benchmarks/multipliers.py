"""What a product of the MAC array costs: in a DSP block, two in one, and made of LUTs.

    python benchmarks/multipliers.py --output multipliers.md

Dot products alone, synthesized with the commands of benchmarks/synthesis.py; their operands are
registered as in the array, the adder tree over the lanes is a part of them. LUT4 on ECP5 (a CCU2C
counts twice), LUT6 on Xilinx.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from amaranth.back import verilog
from amaranth.lib import wiring
from rich.console import Console
from rich.table import Table

from r2b.explore.yosys import synthesize, totals
from r2b.hw.dot import IntegerDot
from r2b.hw.multipliers import LutDot, PackedDot
from r2b.hw.packing import widest_operand

TOP = "dot"
LANES, W_WIDTH = 8, 8
FAMILIES = ("ecp5", "xc7", "xcup")
KINDS = {"one per DSP": (IntegerDot, 1), "two per DSP": (PackedDot, 2), "LUTs": (LutDot, 1)}


def measure(kind: str, family: str, a_width: int) -> dict[str, float]:
    """Cells per product."""
    make, results = KINDS[kind]
    dot: wiring.Component = make(LANES, a_width, W_WIDTH)
    ports = [getattr(dot, name) for name in dot.signature.members]
    text = verilog.convert(dot, name=TOP, ports=ports, emit_src=False, strip_internal_attrs=True)
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / f"{TOP}.v"
        source.write_text(text)
        found = totals(synthesize(source, family, Path(work), top=TOP))
    return {name: found[name] / (LANES * results) for name in ("dsp", "lut", "ff")}


def main(
    output: Annotated[Path | None, typer.Option(help="write the table here, as Markdown")] = None,
) -> None:
    """Print cells per product of every kind on every family."""
    head = ["family", "operand", "product", "DSP", "LUT", "FF"]
    rows = []
    for family in FAMILIES:
        for a_width in (9, 12):
            for kind in KINDS:
                if kind == "two per DSP" and a_width > widest_operand(family, W_WIDTH):
                    continue
                found = measure(kind, family, a_width)
                cells = (f"{found['dsp']:g}", f"{found['lut']:.1f}", f"{found['ff']:.1f}")
                rows.append([family, f"{a_width} x {W_WIDTH}", kind, *cells])
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
    if output is not None:
        lines = [head, ["---"] * len(head), *rows]
        output.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    typer.run(main)
