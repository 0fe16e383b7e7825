"""Training steps per second: the binary ResNet-18 against the real one, in one run.

    python benchmarks/training.py --width 1 --batch 32

Both take the same frames in turns, one step each, so that a busy machine slows both; the ratio is
the median over the pairs. A step is forward, backward and Adam, as `r2b-train` makes it without a
teacher.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from r2b.train import zoo
from r2b.train.layers import set_binarization

NETWORKS = ("full-precision", "strong-baseline", "real-to-binary")


def stepper(arch: str, width: float, batch: int) -> Callable[[], None]:
    """Return what makes one training step of ``arch`` on a batch of noise."""
    network = zoo.build(f"{arch}-32", {"width_multiplier": width}).train()
    set_binarization(network, activations="sign", weights=True)
    adam = torch.optim.Adam(network.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, 32, 32, generator=generator)
    labels = torch.arange(batch) % 100

    def step() -> None:
        adam.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        adam.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Time one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(width: float, batch: int, rounds: int) -> dict[str, list[float]]:
    """Time ``rounds`` steps of every network, in turns, behind one that does not count."""
    steppers = {arch: stepper(arch, width, batch) for arch in NETWORKS}
    for step in steppers.values():
        step()
    times: dict[str, list[float]] = {arch: [] for arch in NETWORKS}
    for _ in range(rounds):
        for arch, step in steppers.items():
            times[arch].append(seconds(step))
    return times


def table(times: dict[str, list[float]], batch: int) -> Table:
    """One row per network; the real one is the measure."""
    real = times[NETWORKS[0]]
    shown = Table("network", "steps/s", "images/s", "time against the real network", box=None)
    for arch, found in times.items():
        ratio = statistics.median(one / other for one, other in zip(found, real, strict=True))
        rate = 1 / statistics.median(found)
        shown.add_row(arch, f"{rate:.2f}", f"{rate * batch:.1f}", f"{ratio:.2f}")
    return shown


def main(
    width: Annotated[float, typer.Option(help="Factor of the channels.")] = 1.0,
    batch: Annotated[int, typer.Option(min=2, help="Frames per step.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each network.")] = 10,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print training steps per second of ResNet-18 at 32x32, real and binary."""
    torch.set_num_threads(threads)
    console = Console(soft_wrap=True)
    console.print(f"ResNet-18, 32x32, width {width:g}, batch {batch}, {threads} thread(s)")
    console.print(table(measure(width, batch, rounds), batch))


if __name__ == "__main__":
    typer.run(main)
