"""What turning weights into signs costs before any step of stage 2, with and without their sizes.

    r2b-train table3 --data digits --seeds 3 -o table3
    python benchmarks/magnitudes.py table3/seed-0 --data digits

Accuracy on the validation part of every experiment's network as the phase before left it: with its
real weights, with their signs, and with their signs and r2b.train.magnitudes; batch norms are
settled on training frames each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from r2b.train import data as datasets
from r2b.train import experiment
from r2b.train.evaluate import accuracy, first_frames, settle, size
from r2b.train.experiment import Experiment
from r2b.train.files import read_json, read_tensors
from r2b.train.layers import set_binarization
from r2b.train.magnitudes import keep_magnitudes
from r2b.train.run import SETTINGS, describe
from r2b.train.zoo import build

SETTLE_FRAMES = 4096
HEADINGS = ("experiment", "real weights", "signs", "signs, sizes kept")


def row(place: Path, chosen: Experiment, data: datasets.DataSet) -> list[str]:
    """The three accuracies of one experiment."""
    last = len(chosen.phases) - 1
    arch, config = describe(chosen, data, read_json(place / SETTINGS)["width"])
    count = min(SETTLE_FRAMES, size(data.train))
    frames = first_frames(data.train, list(range(count)))
    found = []
    for binary, kept in ((False, False), (True, False), (True, True)):
        network = build(arch, config)
        network.load_state_dict(read_tensors(place / f"phase-{last - 1}.pt"))
        if kept:
            keep_magnitudes(network)
        set_binarization(network, activations="sign", weights=binary)
        settle(network, frames)
        found.append(accuracy(network.eval(), data.validation).top1)
    return [chosen.name, *(f"{value:.2f}" for value in found)]


def main(
    runs: Annotated[Path, typer.Argument(help="seed-S folder of r2b-train")],
    data: Annotated[str, typer.Option(help="the data set of the runs")] = "digits",
) -> None:
    """Print a row per experiment whose weights turn binary."""
    parts, table = datasets.load(data), Table(*HEADINGS)
    for place in sorted(path.parent for path in runs.glob(f"*/{SETTINGS}")):
        chosen = experiment.load(place.name)
        if chosen.turns_binary(len(chosen.phases) - 1):
            table.add_row(*row(place, chosen, parts))
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
