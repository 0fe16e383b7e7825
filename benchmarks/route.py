"""Places and routes an emitted accelerator on an ECP5: its clock, and frames per second at it.

    r2b-compile examples/digits/digits.pt --target numpy -o build/digits.r2b
    python benchmarks/route.py build/digits.r2b
    python benchmarks/route.py build/digits.r2b --parallelism 16x16 --set mac_out=4 --keep build/pnr

LUT, FF, block RAM and DSP are the accelerator's own, as yosys maps it; nextpnr routes it inside a
wrapper that shifts its ports through two pins (r2b/explore/synth.py). Frames per second: the routed
clock over the predicted cycles from frame to frame. A quarter of the device takes five minutes, all
of it half an hour. ``--keep`` leaves the netlists and nextpnr's report.json in a folder.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from r2b.backends.cost.hardware import cost
from r2b.backends.cost.resources import Count, Resources
from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.explore.synth import NEXTPNR, SIZES, SPEED, route
from r2b.explore.yosys import command_of, synthesize, totals
from r2b.hw.devices import DEVICES
from r2b.hw.plan import Plan
from r2b.ir.serialize import load


def main(
    folder: Annotated[Path, typer.Argument(help="a folder of r2b-compile; its Program is used")],
    device: Annotated[str, typer.Option(help=" or ".join(SIZES))] = "ecp5-85f",
    parallelism: Annotated[str | None, typer.Option(help="PINxPOUT; default: the device's")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of a Plan")] = None,
    speed: Annotated[int, typer.Option(min=6, max=8, help="speed grade")] = SPEED,
    seed: Annotated[int, typer.Option(help="of nextpnr's placer")] = 1,
    keep: Annotated[Path | None, typer.Option(help="work here, and leave everything")] = None,
) -> None:
    """Print area, clock, frames per second, and the slowest path."""
    if device not in SIZES or command_of(NEXTPNR) is None:
        raise typer.BadParameter(f"one of {', '.join(SIZES)}, with {NEXTPNR[-1]} installed")
    program = load(folder)
    shape = parse_parallelism(parallelism) if parallelism else None
    plan = make_plan(program, device, parallelism=shape, **_values(changes or []))
    with tempfile.TemporaryDirectory() as temporary:
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        source = emit_verilog(program, plan, work)
        cells = totals(synthesize(source, DEVICES[device].family, work, named=True))
        clock = route(work, source, plan, speed, seed)
        seconds = time.perf_counter() - begin
        path = _slowest(work / "report.json")
    _print(plan, cells, clock, cost(program, plan).interval, seconds)
    print("\n".join(path))


def _values(changes: list[str]) -> dict[str, Any]:
    """Changes of a Plan; what looks like a number is one."""
    pairs = (change.split("=", 1) for change in changes)
    return {name: int(value) if value.isdigit() else value for name, value in pairs}


def _print(plan: Plan, cells: dict[str, int], clock: float, interval: int, seconds: float) -> None:
    found = dict(Resources("ecp5", True, (), {"": Count(**cells)}).needs())
    table = Table("device", "array", "MACs", *found, "MHz", "cycles", "FPS", "s")
    row = [plan.device, f"{plan.p_in}x{plan.p_out}", plan.lanes * plan.mac_out, *found.values()]
    row += [f"{clock:.1f}", interval, f"{clock * 1e6 / interval:,.0f}", f"{seconds:.0f}"]
    table.add_row(*map(str, row))
    Console(width=120).print(table)


def _slowest(report: Path) -> list[str]:
    """The slowest path from register to register: time, delay, kind, and where it goes."""
    paths = json.loads(report.read_text())["critical_paths"]
    inside = [path["path"] for path in paths if path["from"] == path["to"]]
    lines, now = [], 0.0
    for step in max(inside, key=lambda steps: sum(step["delay"] for step in steps), default=[]):
        now += step["delay"]
        place = f"{step['to']['cell']}.{step['to']['port']}"
        lines.append(f"{now:6.2f} {step['delay']:5.2f} {step['type']:8} {place}")
    return lines


if __name__ == "__main__":
    typer.run(main)
