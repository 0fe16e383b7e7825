"""Compile the shipped network, simulate it on the whole test split, and compare.

Run ``python examples/digits/demo.py --help`` for the options; ``make demo`` runs it in a virtual
environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich import box
from rich.table import Table

from r2b import cli_compile
from r2b.console import BAD_INPUT, DIFFERENT, Reporter, exit_statuses
from r2b.sim.harness import Simulator
from r2b.train import checkpoint

HERE = Path(__file__).resolve().parent
Logits = npt.NDArray[np.int32]
Frames = npt.NDArray[np.uint8]


def compile_network(output: Path, reporter: Reporter) -> None:
    """Run ``r2b-compile`` with verification; end with its status unless all is equal."""
    arguments = [str(HERE / "digits.pt"), "--target", "fpga", "--verify", "-f", "-o", str(output)]
    reporter.show("$ r2b-compile " + " ".join(arguments))
    status = cli_compile.main(arguments)
    if status:
        raise typer.Exit(status)


def pytorch_classes(frames: Frames) -> npt.NDArray[np.int64]:
    """Classes that the float network chooses."""
    network = checkpoint.module(checkpoint.load(HERE / "digits.pt"))
    with torch.no_grad():
        logits = network(torch.from_numpy(frames).float() / 255)
    return logits.argmax(dim=1).numpy()


def reference_logits(folder: Path) -> Logits:
    """Logits of the emitted ``reference.py``, run as a user runs it."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "out.npy"
        command = [sys.executable, folder / "reference.py", HERE / "test_frames.npy", out]
        subprocess.run(command, check=True)
        return np.load(out)


def verilog_logits(folder: Path, frames: Frames, reporter: Reporter) -> Logits:
    """Logits of the emitted Verilog in Verilator."""
    simulator = Simulator.of_folder(folder)
    with reporter.progress(len(frames)):
        result = simulator.simulate(
            frames,
            jobs=os.cpu_count() or 1,
            progress=lambda done, cycle: reporter.at(done, f"simulating, cycle {cycle:,}"),
        )
    reporter.show(
        f"{len(frames)} frames in {result.seconds:.1f} s, {result.rate:,.0f} simulated cycles per "
        f"second; {result.frames[0].active:,} cycles per frame"
    )
    return result.logits


def accuracy_table(
    classes: dict[str, npt.NDArray[np.int64]], labels: npt.NDArray[np.int64]
) -> Table:
    """Accuracy of each of them."""
    table = Table(title=f"accuracy on the {len(labels)} test images", box=box.SIMPLE)
    table.add_column("computed by")
    table.add_column("right", justify="right")
    table.add_column("accuracy", justify="right")
    for name, found in classes.items():
        right = int((found == labels).sum())
        table.add_row(name, str(right), f"{right / len(labels):.2%}")
    return table


def main(
    output: Annotated[Path, typer.Option(help="Folder to write.")] = Path("digits.r2b"),
) -> None:
    """Compile digits.pt for an FPGA, prove the Verilog equal to the software, print accuracies."""
    reporter, start = Reporter(), time.perf_counter()
    frames, labels = np.load(HERE / "test_frames.npy"), np.load(HERE / "test_labels.npy")
    with exit_statuses(reporter):
        if not output.parent.is_dir():
            reporter.error(f"there is no folder {output.parent}; make it")
            raise typer.Exit(BAD_INPUT)
        compile_network(output, reporter)
        reference, verilog = reference_logits(output), verilog_logits(output, frames, reporter)
        classes = {
            "PyTorch, float32": pytorch_classes(frames),
            "Program, NumPy": reference.argmax(axis=1),
            "Verilog, Verilator": verilog.argmax(axis=1),
        }
        differing = int(np.bitwise_count((reference ^ verilog).view(np.uint32)).sum())
        reporter.show(accuracy_table(classes, labels))
        reporter.show(
            f"differing output bits, Program against Verilog: {differing} of {32 * verilog.size:,}"
        )
        reporter.show(f"wall time {time.perf_counter() - start:.0f} s")
        if differing:
            raise typer.Exit(DIFFERENT)


if __name__ == "__main__":
    typer.run(main)
