"""Kill training at random moments, go on, and compare: the same bytes, and no broken file.

    python benchmarks/kill.py --kills 10

Trains Real-to-Binary (all phases, and its teacher) on a few digits, undisturbed, and again with a
SIGKILL at random moments of the time that took; states are written at every step, so that many of
the kills fall into writing. Children are forked after the imports, which take longer than training.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from lightning_fabric import Fabric

from r2b.train import checkpoint, files, run
from r2b.train.data import digits32
from r2b.train.data.dataset import ArrayImages, DataSet
from r2b.train.recipe import Recipe

NAME = "real-to-binary"
SETTINGS = run.Settings("digits", seed=5, width=0.125)
RECIPE = Recipe(2, (1.0,), batch_size=8, settle_frames=16)


def few_digits() -> DataSet:
    """Few enough that a run takes seconds."""
    whole = digits32.load()
    train, validation = (
        ArrayImages(part.images[:count].numpy(), part.labels[:count].numpy())
        for part, count in ((whole.train, 32), (whole.validation, 8))
        if isinstance(part, ArrayImages)
    )
    return replace(whole, train=train, validation=validation, test=validation)


def train(root: Path, data: DataSet) -> None:
    """Begin or go on with the run in ``root``."""
    fabric = Fabric(accelerator="cpu", devices=1)
    how = run.How(root, fabric, resume=True, save_every=1, recipes={"digits": RECIPE})
    run.train(NAME, SETTINGS, data, how)


def in_child(root: Path, data: DataSet) -> int:
    """Fork a child that trains, and return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(root, data)
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> bool:
    """Wait for a child; True if it trained to the end, False if it was killed."""
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return True
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    raise SystemExit(f"training failed by itself: status {status}")


def kill_after(seconds: float, root: Path, data: DataSet) -> bool:
    """Kill a child that trains after ``seconds``; False if it had ended by then."""
    child = in_child(root, data)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return not ended(child)


def check_files(root: Path) -> int:
    """Read every file that is not a temporary one; return how many there are."""
    found = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in found:
        if path.name == run.MODEL:
            checkpoint.load(path)
        elif path.suffix == ".pt":
            files.read_tensors(path)
        elif path.suffix == ".json":
            files.read_json(path)
    return len(found)


def content(root: Path) -> dict[str, bytes]:
    """The networks and the metrics of a run and of its teacher."""
    paths = [path for path in root.rglob("*") if path.suffix in (".pt", ".csv")]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in paths
        if path.name != run.STATE  # it holds the time training took
    }


def disturbed(folder: Path, data: DataSet, kills: int, seconds: float, seed: int) -> list[Path]:
    """Kill ``kills`` times, and train to the end; where a run ends too soon, another begins."""
    source, roots, hits = random.Random(seed), [folder / "disturbed-0"], 0
    while hits < kills:
        if kill_after(source.uniform(0.0, seconds), roots[-1], data):
            hits += 1
            check_files(roots[-1])
        else:
            roots.append(folder / f"disturbed-{len(roots)}")
    if not ended(in_child(roots[-1], data)):
        raise SystemExit("the last child was killed by someone else")
    return roots


def main(
    kills: Annotated[int, typer.Option(min=1, help="How often.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kill training ``kills`` times; end with status 1 if anything differs."""
    torch.set_num_threads(1)
    data = few_digits()
    with tempfile.TemporaryDirectory() as folder:
        whole, start = Path(folder, "whole"), time.perf_counter()
        if not ended(in_child(whole, data)):
            raise SystemExit("the first child was killed by someone else")
        span = (time.perf_counter() - start) / 2
        roots = disturbed(Path(folder), data, kills, span, seed)
        expected = content(whole)
        different = [root for root in roots if content(root) != expected]
        left = [path for root in roots for path in root.rglob(".*.tmp")]
    equal = not different and not left
    typer.echo(
        f"{kills} kills in {len(roots)} runs of {len(expected)} files: "
        f"{'the same bytes, nothing half-written' if equal else 'DIFFERENT'}"
    )
    raise typer.Exit(not equal)


if __name__ == "__main__":
    typer.run(main)
