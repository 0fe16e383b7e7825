"""NumPy reference against PyTorch's float eager mode: seconds per frame of the same networks.

    OMP_NUM_THREADS=1 python benchmarks/reference.py

The Program of ``real-to-binary-224``, as ``result.reference`` runs it, beside two PyTorch modules:
the network that it came from, and the full-precision ResNet-18 of the same shape. The environment
gives both the same number of threads. Runs take turns, so that whatever else the machine does
meets all of them; each figure is the median over the turns, and so is each ratio of times in one
turn. "CPU" counts the processor's time instead of the clock's. Frames are crops of scikit-learn's
two photographs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import torch
import typer
from pictures import crops, untrained
from rich.console import Console
from rich.table import Table

import r2b
from r2b.train import zoo

NETWORK, FULL_PRECISION = "real-to-binary-224", "full-precision-224"
CALIBRATION = 4


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of a call."""
    wall, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - used


def eager(module: torch.nn.Module, frames: np.ndarray) -> Callable[[], object]:
    """PyTorch's float forward pass on frames."""
    values = torch.from_numpy(frames).float() / 255

    def forward() -> object:
        with torch.no_grad():
            return module(values)

    return forward


def turns(runs: dict[str, Callable[[], object]], count: int) -> dict[str, np.ndarray]:
    """Seconds of each run in each turn, ``count`` x (wall, CPU); one turn before does not count."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(count + 1):
        for name, run in runs.items():
            found[name].append(seconds(run))
    return {name: np.array(spent[1:]) for name, spent in found.items()}


def rows(runs: dict[str, Callable[[], object]], count: int, frames: int) -> Iterator[list[str]]:
    """Rows of the table: milliseconds per frame, and the ratio to the first run's."""
    found = turns(runs, count)
    ours = next(iter(found.values()))
    for name, spent in found.items():
        times = np.median(spent, axis=0) / frames * 1000
        ratios = np.median(spent / ours, axis=0)
        yield [str(frames), name, *(f"{x:.1f}" for x in times), *(f"{x:.2f}" for x in ratios)]


def main(
    batch: Annotated[tuple[int, int], typer.Option(help="frames together")] = (1, 16),
    repeat: Annotated[int, typer.Option(help="turns")] = 9,
) -> None:
    """Print a row per network and batch."""
    frames = crops(224, max(*batch, CALIBRATION))
    module, some = untrained(NETWORK), frames[:CALIBRATION]
    example = torch.from_numpy(some[:1]).float() / 255
    result = r2b.compile(module, example, target="numpy", calibration=some)
    teacher = zoo.build(FULL_PRECISION).eval()
    table = Table("batch", "", "ms per frame", "CPU ms", "ratio to NumPy", "CPU ratio")
    for number in batch:
        some = frames[:number]
        runs = {
            f"NumPy reference, {NETWORK}": lambda some=some: result.reference(some),
            f"PyTorch eager, {FULL_PRECISION}": eager(teacher, some),
            f"PyTorch eager, {NETWORK}": eager(module, some),
        }
        for row in rows(runs, repeat, number):
            table.add_row(*row)
    title = f"{torch.get_num_threads()} thread(s), median of {repeat} turns"
    Console(width=120).print(title, table)


if __name__ == "__main__":
    typer.run(main)
