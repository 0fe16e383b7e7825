"""Wall time and peak memory of r2b-compile and of the Verilator build; simulated cycles per second.

    python benchmarks/tools.py examples/digits/digits.pt examples/digits/test_frames.npy

Whole processes, as the operating system counts them: wall seconds, processor seconds and the
largest single process. The build starts from an empty cache.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

COMPILE = "from r2b.cli_compile import main; raise SystemExit(main())"
BUILD = """
import sys
from pathlib import Path
from r2b.sim.harness import Simulator
Simulator.of_folder(Path(sys.argv[1]))
"""
RUN = """
import sys, numpy as np
from pathlib import Path
from r2b.sim.harness import Simulator
result = Simulator.of_folder(Path(sys.argv[1])).simulate(np.load(sys.argv[2]))
print(f"{len(result.logits)} frames, {result.cycles:,} cycles, {result.rate:,.0f} cycles/s")
"""


def measure(code: str, *arguments: str, cache: str) -> tuple[float, float, float, str]:
    """Wall seconds, processor seconds, peak MiB and output of a Python process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    # a process between us and it, so that the peak is its own and not an earlier one's
    probe = (
        "import resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True);"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "print(peak); print(done.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=True, env=os.environ | {"R2B_CACHE": cache},
    )  # fmt: skip
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak, _, output = done.stdout.partition("\n")
    return wall, used, int(peak) / 1024, output.strip()


def main(
    model: Annotated[Path, typer.Argument(help="checkpoint")],
    frames: Annotated[Path, typer.Argument(help="frames, .npy")],
) -> None:
    """Print a row per tool."""
    table = Table("step", "wall s", "processor s", "peak MiB", "")
    with tempfile.TemporaryDirectory() as work:
        folder = str(Path(work) / "model.r2b")
        steps = {
            "r2b-compile --target fpga": (COMPILE, str(model), "-q", "-o", folder),
            "Verilator and C++ build": (BUILD, folder),
            "simulation": (RUN, folder, str(frames)),
        }
        for name, (code, *arguments) in steps.items():
            wall, used, peak, output = measure(code, *arguments, cache=str(Path(work) / "cache"))
            table.add_row(name, f"{wall:.1f}", f"{used:.1f}", f"{peak:,.0f}", output)
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
