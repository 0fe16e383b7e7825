"""Train the digits network and write it beside its test frames.

Run ``python examples/digits/train.py --help`` for the options.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import nn

from r2b.ir.errors import CheckpointError
from r2b.train import checkpoint, digits, loop, zoo

ARCH = "real-to-binary-digits"
CONFIG = {"num_classes": 10, "widths": [32, 64], "blocks": [1, 1], "reduction": 8}
NUM_CALIBRATION = 64
HERE = Path(__file__).resolve().parent


def train(frames: digits.Frames, epochs: int, seed: int, console: Console) -> nn.Module:
    """Train through the paper's two phases with a progress bar."""
    torch.manual_seed(seed)
    model = zoo.build(ARCH, CONFIG, seed=seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("training", total=2 * epochs)

        def show(epoch: loop.Epoch) -> None:
            description = f"{epoch.phase.name}, loss {epoch.loss:.4f}"
            progress.update(task, advance=1, description=description)

        images, labels = loop.to_input(frames.images), torch.from_numpy(frames.labels)
        loop.fit(model, images, labels, loop.paper_phases(epochs), seed=seed, on_epoch=show)
    return model


def measure(model: nn.Module, frames: digits.Frames) -> float:
    """Return the accuracy of ``model`` on ``frames``."""
    return loop.accuracy(model, loop.to_input(frames.images), torch.from_numpy(frames.labels))


def write(model: nn.Module, data: digits.Digits, out: Path) -> None:
    """Write the model file with its calibration frames, and the test frames with their labels."""
    checkpoint.save(
        out / "digits.pt",
        arch=ARCH,
        config=CONFIG,
        state_dict=model.state_dict(),
        calibration=data.train.images[:NUM_CALIBRATION],
    )
    np.save(out / "test_frames.npy", data.test.images)
    np.save(out / "test_labels.npy", data.test.labels)


def main(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each of the two phases.")] = 120,
    seed: Annotated[int, typer.Option(help="Of parameters, order and augmentation.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = HERE,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Hold the validation part out, report on it, write nothing."
        ),
    ] = False,
) -> None:
    """Train Real-to-Binary on scikit-learn's digits; write digits.pt and the test frames."""
    # The layers are too small for threads: a second one gains a fifth on an idle machine, and on
    # a busy one both wait for each other. One thread also adds in the same order everywhere.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    console, start = Console(soft_wrap=True), time.perf_counter()
    data = digits.load()
    if validate:
        model = train(data.train, epochs, seed, console)
        console.print(f"validation accuracy {measure(model, data.validation):.2%}")
    else:
        make_files(data, epochs, seed, out, console)
    console.print(f"wall time {time.perf_counter() - start:.0f} s")


def make_files(data: digits.Digits, epochs: int, seed: int, out: Path, console: Console) -> None:
    """Train, write the files and report the test accuracy."""
    try:
        # Before training: a folder that cannot be made must not cost minutes.
        out.mkdir(parents=True, exist_ok=True)
        model = train(data.development, epochs, seed, console)
        write(model, data, out)
    except (CheckpointError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    console.print(f"test accuracy {measure(model, data.test):.2%}; wrote {out / 'digits.pt'}")


if __name__ == "__main__":
    typer.run(main)
