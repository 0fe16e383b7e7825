"""A whole network of the paper through every step: time, memory, bits, cycles.

    python benchmarks/scale.py real-to-binary-224 --act-bits 9
    python benchmarks/scale.py real-to-binary-32 --frames 4 --steps compile,verilog

Steps, each in a process of its own: ``compile`` (r2b-compile to a Program, calibrated on crops of
two photographs), ``verilog`` (Plan with streamed weights, Verilog), ``build`` (Verilator and C++),
``simulate`` (frames in Verilator; every stored tensor, sign map and logit compared with the
Program, cycles of every stage compared with the prediction). A step uses what the ones before it
left in the folder. Compiled figures are measured on this machine; cycles are simulated and, where
it says so, analytic.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pictures import crops, untrained
from rich.console import Console
from rich.table import Table
from tools import BUILD, COMPILE, measure

from r2b.backends.cost.cycles import predict_cycles
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.backends.target import Source, emit_accelerator
from r2b.ir.serialize import load
from r2b.sim.harness import Simulator, read_compiled
from r2b.sim.verify import verify
from r2b.train import checkpoint

STEPS = ("compile", "verilog", "build", "simulate")
CALIBRATION = 16
VERILOG = "import sys; sys.path.insert(0, sys.argv[1]); import scale; scale.write(*sys.argv[2:])"
SIMULATE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import scale; scale.simulate(*sys.argv[2:])"
)


def write(folder: str, device: str, parallelism: str) -> None:
    """Plan with streamed weights, Verilog, testbench."""
    program = load(Path(folder))
    shape = parse_parallelism(parallelism)
    plan = make_plan(program, device, parallelism=shape, weights="stream")
    frames = crops(program.input_shape[1], 1, seed=3)
    emit_accelerator(Source(program, plan, frames), Path(folder))
    size = (Path(folder) / "rtl" / "r2b_top.v").stat().st_size
    print(
        f"{size / 2**20:.1f} MiB of Verilog, {plan.lanes} lanes, {plan.mac_out * plan.lanes} MACs"
    )


def simulate(folder: str, count: str) -> None:
    """Frames in Verilator against the Program: bits, speed, cycles of every stage."""
    compiled = read_compiled(Path(folder))
    program, plan = compiled.program, compiled.plan
    frames = crops(program.input_shape[1], int(count), seed=3)
    done = verify(Simulator.of_folder(Path(folder)), program, plan, frames)
    bits = sum(done.report.compared_bits.values())
    print(f"{done.report.total:,} of {bits:,} bits differ; {len(done.report.mismatches)} misplaced")
    rate = done.cycles / done.seconds
    print(f"{done.cycles:,} cycles in {done.seconds:.1f} s, {rate:,.0f} cycles/s")
    predicted = predict_cycles(program, plan)
    names = [*(stage.name for stage in program.stages), program.head.name]
    table = Table("stage", "cycles, analytic", "simulated", "difference", "waiting")
    for name, entries in zip(
        names, zip(*(f.stages for f in done.frames), strict=True), strict=True
    ):
        active, waiting = np.max(entries, axis=0)
        wanted = predicted.active(name)
        table.add_row(name, f"{wanted:,}", f"{active:,}", f"{active - wanted:,}", f"{waiting:,}")
    active = max(frame.active for frame in done.frames)
    table.add_row("frame", f"{predicted.frame:,}", f"{active:,}", f"{active - predicted.frame:,}")
    Console(width=120).print(table)


def prepare(arch: str, folder: Path) -> Path:
    """Write a checkpoint of the untrained network, with calibration frames."""
    network = untrained(arch)
    path = folder / f"{arch}.pt"
    frames = crops(network.input_shape[1], CALIBRATION, seed=2)
    checkpoint.save(path, arch=arch, config={}, state_dict=network.state_dict(), calibration=frames)
    return path


def main(
    arch: Annotated[str, typer.Argument(help="a network of the zoo that takes 3 channels")],
    act_bits: Annotated[int, typer.Option(help="bits of a stored value")] = 12,
    device: Annotated[str, typer.Option()] = "xc7z020",
    parallelism: Annotated[str, typer.Option()] = "64x64",
    frames: Annotated[int, typer.Option(help="frames to simulate")] = 1,
    steps: Annotated[str, typer.Option(help="some of the steps")] = ",".join(STEPS),
    output: Annotated[Path, typer.Option("-o", help="folder")] = Path("build/scale"),
) -> None:
    """Print a row per step, and what each one said."""
    output.mkdir(parents=True, exist_ok=True)
    here, work = str(Path(__file__).parent), output / f"{arch}-{act_bits}.r2b"
    folder, table = str(work), Table("step", "wall s", "processor s", "peak MiB", "")
    options = ("--target", "numpy", "-q", "-f", "--act-bits", str(act_bits), "-o", folder)
    commands = {
        "compile": lambda: (COMPILE, str(prepare(arch, output)), *options),
        "verilog": lambda: (VERILOG, here, folder, device, parallelism),
        "build": lambda: (BUILD, folder),
        "simulate": lambda: (SIMULATE, here, folder, str(frames)),
    }
    for step in steps.split(","):
        if step not in commands:
            sys.exit(f"there is no step {step!r}; the steps are {', '.join(STEPS)}")
        code, *arguments = commands[step]()
        wall, used, peak, said = measure(code, *arguments, cache=str(output / "cache"))
        first, _, rest = said.partition("\n")
        table.add_row(step, f"{wall:.1f}", f"{used:.1f}", f"{peak:,.0f}", first)
        print(rest)
    Console(width=120).print(f"{arch}, {act_bits} bits, {device}, {parallelism}", table)


if __name__ == "__main__":
    typer.run(main)
