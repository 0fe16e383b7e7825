"""A whole network of the paper through every step: time, memory, bits, cycles.

    python benchmarks/scale.py real-to-binary-224 --act-bits 9
    python benchmarks/scale.py real-to-binary-32 --frames 4 --steps compile,verilog
    python benchmarks/scale.py real-to-binary-32 --parallelism 64x64x2 --set weight_word=256

Steps, each in a process of its own: ``compile`` (r2b-compile to a Program, calibrated on crops of
two photographs), ``verilog`` (Plan with streamed weights, Verilog), ``build`` (Verilator and C++),
``simulate`` (frames in Verilator; every stored tensor, sign map and logit compared with the
Program, cycles of every stage compared with the prediction). A step uses what the ones before it
left in the folder. Compiled figures are measured on this machine; cycles are simulated and, where
it says so, analytic.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pictures import crops, untrained
from rich.console import Console
from rich.table import Table
from tools import BUILD, COMPILE, measure

from r2b.backends.cost.cycles import Cycles, predict_cycles
from r2b.backends.cost.hardware import cost
from r2b.backends.fpga.planner import make_plan, parse_parallelism
from r2b.backends.target import Source, emit_accelerator
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.plan import Plan
from r2b.ir.program import BinaryConv, Program
from r2b.ir.serialize import load
from r2b.sim.harness import FrameCycles, Simulator, read_compiled
from r2b.sim.verify import verify
from r2b.train import checkpoint

STEPS = ("compile", "verilog", "build", "simulate")
CALIBRATION = 16
SPELLED = {"true": True, "false": False}
VERILOG = "import sys; sys.path.insert(0, sys.argv[1]); import scale; scale.write(*sys.argv[2:])"
SIMULATE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import scale; scale.simulate(*sys.argv[2:])"
)


def write(folder: str, device: str, parallelism: str, *settings: str) -> None:
    """Plan with streamed weights and other settings, Verilog, testbench."""
    program = load(Path(folder))
    shape = parse_parallelism(parallelism)
    changes: dict[str, Any] = {"weights": "stream"}
    for name, _, value in (text.partition("=") for text in settings):
        changes[name] = SPELLED.get(value, int(value) if value.isdigit() else value)
    if "weight_word" in changes:  # one bus
        changes["mac_weight_word"] = changes["weight_word"]
    plan = make_plan(program, device, parallelism=shape, **changes)
    frames = crops(program.input_shape[1], 1, seed=3)
    emit_accelerator(Source(program, plan, frames), Path(folder))
    size = (Path(folder) / "rtl" / "r2b_top.v").stat().st_size
    front = f", {plan.front_out * plan.lanes} in front" if plan.front_out else ""
    print(
        f"{size / 2**20:.1f} MiB of Verilog, {plan.lanes} lanes, {plan.mac_out * plan.lanes} MACs"
        f"{front}, "
        f"{plan.weight_word} bits per cycle, vector unit {plan.vector}"
    )


def simulate(folder: str, count: str, stalls: str) -> None:
    """Frames in Verilator against the Program: bits, speed, cycles of every stage."""
    compiled = read_compiled(Path(folder))
    program, plan = compiled.program, compiled.plan
    frames = crops(program.input_shape[1], int(count), seed=3)
    seed = int(stalls) if stalls else None
    done = verify(Simulator.of_folder(Path(folder)), program, plan, frames, stalls=seed)
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
    active, waiting = (
        max(sum(pair[kind] for pair in frame.stages) for frame in done.frames) for kind in (0, 1)
    )
    whole = "frame" if plan.batch == 1 else f"batch of {plan.batch} frames"
    table.add_row(whole, f"{predicted.frame:,}", f"{active:,}", f"{active - predicted.frame:,}",
                  f"{waiting:,}")  # fmt: skip
    Console(width=120).print(table)
    print(shares(program, plan, predicted))
    if seed is None and len(done.frames) > plan.batch:
        print(periods(program, plan, done.frames))
    print(bounds(program, plan, predicted))


def periods(program: Program, plan: Plan, frames: list[FrameCycles]) -> str:
    """Cycles from every frame's or batch's end to the next one's, per frame."""
    ends = [frame.done for frame in frames[:: plan.batch]]
    wanted = [batch.last for batch in predict_frames(ProgramGeometry(program, plan), len(ends))]
    rows = []
    for name, cycles in (("analytic", wanted), ("simulated", ends)):
        steps = (after - before for before, after in pairwise(cycles))
        rows.append(f"{name} " + ", ".join(f"{step / plan.batch:,.2f}" for step in steps))
    later = cost(program, plan)
    rate = ", ".join(f"{later.fps(clock):,.0f} at {clock} MHz" for clock in (150, 250))
    return (
        f"cycles per frame, end to end: {'; '.join(rows)}; in the long run {later.interval:,}, "
        f"frames/s: {rate}"
    )


def bounds(program: Program, plan: Plan, predicted: Cycles) -> str:
    """What no order of the stages can beat: of this hardware, and with a stage at a time on each
    engine.
    """
    cycles = {stage.name: predicted.active(stage.name) for stage in program.stages}
    first = cycles[program.stages[0].name]
    binary = sum(cycles[s.name] for s in program.stages if isinstance(s.contraction, BinaryConv))
    others = predicted.frame - binary
    back = f"max(first convolution, all others) = {max(first, predicted.frame - first):,}"
    return (
        f"bounds: {f'{back}, ' if plan.front_out else ''}max(first convolution + shortcuts + head, "
        f"binary stages) = {max(others, binary):,}"
    )


def shares(program: Program, plan: Plan, predicted: Cycles) -> str:
    """Cycles by kind of stage, and what the XNOR array makes of its own against all nine taps."""
    cycles: Counter[str] = Counter()
    for stage in program.stages:
        cycles[type(stage.contraction).__name__] += predicted.active(stage.name)
    first = predicted.active(program.stages[0].name)
    work = sum(
        s.contraction.weight.size * s.shape[1] * s.shape[2]
        for s in program.stages
        if isinstance(s.contraction, BinaryConv)
    )
    lanes = plan.p_in * plan.p_out * plan.p_px
    return (
        f"first convolution {first:,}, binary {cycles['BinaryConv']:,}, shortcuts "
        f"{cycles['RealConv'] - first:,}, head {predicted.active(program.head.name):,}; XNOR array "
        f"{work / lanes / cycles['BinaryConv']:.1%} of its lanes (all taps counted)"
    )


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
    stalls: Annotated[int | None, typer.Option(help="seed of random stalls of all streams")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the Plan")
    ] = None,
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
        "verilog": lambda: (VERILOG, here, folder, device, parallelism, *(settings or ())),
        "build": lambda: (BUILD, folder),
        "simulate": lambda: (
            SIMULATE,
            here,
            folder,
            str(frames),
            "" if stalls is None else str(stalls),
        ),
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
