"""Table 3 of the paper, run at any scale: which runs it takes, in what order, on how many cores."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.data import Subset

from r2b.train import data as datasets
from r2b.train import experiment, zoo
from r2b.train.data.dataset import DataSet
from r2b.train.evaluate import size
from r2b.train.experiment import Experiment
from r2b.train.phase import PhaseRun, Progress, Task
from r2b.train.randomness import batches
from r2b.train.recipe import RECIPES, Recipe
from r2b.train.run import How, Settings, describe, train
from r2b.train.state import State

METHODS = ("strong-baseline", "att-trans", "att-trans-hkd", "gate", "multi-stage", "real-to-binary")
BASELINE = METHODS[0]
SUFFIX = "-binary-downsample"
ROWS = (
    *(f"{name}{SUFFIX}" for name in METHODS), *METHODS, "full-precision", "full-precision-ts",
)  # fmt: skip
"""The experiments, in the table's order."""
WIDTH = 0.25
"""Full width would take more than a day on two cores."""
_TIMED_STEPS = 3


@dataclass(frozen=True)
class Job:
    """One run of the table.

    Parameters
    ----------
    seed : int
        Of the run.
    name : str
        Of the experiment.
    """

    seed: int
    name: str


def jobs(seeds: Iterable[int], rows: Iterable[str] = ROWS) -> tuple[Job, ...]:
    """Return all runs, seed by seed, teachers before those that they teach, the longest early."""
    names = sorted(with_teachers(rows), key=_rank)
    return tuple(Job(seed, name) for seed in seeds for name in names)


def with_teachers(rows: Iterable[str]) -> list[str]:
    """Return the experiments of ``rows`` and every teacher they need, teachers first."""
    found: list[str] = []
    for name in rows:
        for needed in (*with_teachers(experiment.load(name).teachers), name):
            if needed not in found:
                found.append(needed)
    return found


def _rank(name: str) -> tuple[int, int]:
    chosen = experiment.load(name)
    depth = 0 if not chosen.teachers else 1
    is_teacher = name.startswith("full-precision")
    return (0 if depth == 0 and is_teacher else 1, -len(chosen.phases))


def run(
    settings: Settings,
    seeds: Iterable[int],
    root: Path,
    processes: int,
    on_done: Callable[[Job, dict[str, Any]], None],
    rows: Iterable[str] = ROWS,
    loaders: int = 0,
    save_every: int = 200,
) -> dict[Job, dict[str, Any]]:
    """Train every row from every seed and return the results; what is done already is kept.

    Parameters
    ----------
    settings : Settings
        The seed in it is not used.
    seeds : iterable of int
        Of the runs.
    root : Path
        Folder of the runs.
    processes : int
        Runs at a time, each with one thread.
    on_done : callable
        Given each run and its result, when it ends.
    rows : iterable of str
        Experiments.
    loaders, save_every : int
        Of every run, see :class:`r2b.train.run.How`.
    """
    waiting, results = list(jobs(seeds, rows)), dict[Job, dict[str, Any]]()
    running: dict[Future[dict[str, Any]], Job] = {}
    with _workers(processes) as pool:
        while waiting or running:
            for job in _ready(waiting, results)[: processes - len(running)]:
                waiting.remove(job)
                running[pool.submit(work, job, settings, root, loaders, save_every)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                results[job] = future.result()
                on_done(job, results[job])
    return results


@contextmanager
def _workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once, in the middle of a run, when the block ends by an exception."""
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        processes, context, initializer=_begin_worker, initargs=(os.getpid(), stop)
    ) as pool:
        try:
            yield pool
        except BaseException:
            stop.set()  # what they were at is gone on with by --resume
            raise


def _ready(waiting: list[Job], results: dict[Job, dict[str, Any]]) -> list[Job]:
    return [
        job
        for job in waiting
        if all(Job(job.seed, name) in results for name in experiment.load(job.name).teachers)
    ]


def work(job: Job, settings: Settings, root: Path, loaders: int, save_every: int) -> dict[str, Any]:
    """Run one job in this process, on one thread."""
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=1)
    how = How(root, fabric, resume=True, test=True, workers=loaders, save_every=save_every)
    data = datasets.load(settings.data, lambda text: None)  # said once, before the estimate
    return train(job.name, replace(settings, seed=job.seed), data, how)


def _begin_worker(parent: int, stop: Event) -> None:
    """End this process when it is told to, or when the one that gives it work is gone."""

    def watch() -> None:
        while os.getppid() == parent and not stop.wait(1):
            pass
        os._exit(1)

    os.setsid()  # Ctrl-C is for the parent, which ends the workers
    threading.Thread(target=watch, daemon=True).start()


def estimate(
    settings: Settings, data: DataSet, seeds: int, processes: int, rows: Iterable[str] = ROWS
) -> float:
    """Return the seconds that the table will take, from a few steps of every phase.

    Looks at the validation and test parts are not in it.
    """
    torch.set_num_threads(1)
    recipe = RECIPES[data.name].scaled(settings.epochs_scale)
    total = sum(
        step_seconds(experiment.load(name), number, settings.width, data, recipe)
        for name in with_teachers(rows)
        for number in range(len(experiment.load(name).phases))
    )
    steps = len(batches(0, 0, 0, size(data.train), recipe.batch_size)) * recipe.epochs
    return total * steps * seeds / min(processes, os.cpu_count() or 1)


def step_seconds(
    chosen: Experiment, number: int, width: float, data: DataSet, recipe: Recipe
) -> float:
    """Measure a step of a phase, with networks that know nothing yet."""
    count = min(size(data.train), recipe.batch_size * _TIMED_STEPS)
    few = replace(data, train=Subset(data.train, range(count)))
    one_epoch = replace(recipe, epochs=1)
    times: list[float] = []

    def note(progress: Progress) -> None:
        times.append(time.perf_counter())

    task = Task(Fabric(accelerator="cpu", devices=1), few, one_epoch, 0, on_step=note)
    network = zoo.build(*describe(chosen, data, width))
    teacher = _untrained_teacher(chosen, number, width, data)
    times.append(time.perf_counter())
    PhaseRun(task, chosen.phases[number], network, teacher, State({})).run()
    return statistics.median(after - before for before, after in pairwise(times))


def _untrained_teacher(
    chosen: Experiment, number: int, width: float, data: DataSet
) -> zoo.Network | None:
    name = chosen.phases[number].teacher
    if name is None:
        return None
    teacher = chosen if name == "previous" else experiment.load(name)
    return zoo.build(*describe(teacher, data, width))
