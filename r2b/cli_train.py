"""``r2b-train``: the paper's networks, trained by the paper's recipe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r2b.console import Reporter, exit_statuses, show_version, termination
from r2b.ir.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from r2b.train.phase import Progress
    from r2b.train.run import How, Settings
    from r2b.train.table3 import Job

TABLE3 = "table3"
_WIDE = 200
_BAR = 1000
"""Parts of the progress bar."""
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
DEVICES = ("cpu", "cuda")
INTERRUPTED = "interrupted; --resume goes on where it stopped"
EPILOG = """
Examples:

    r2b-train --list\n
    r2b-train real-to-binary --data digits --width 0.25 -o runs\n
    r2b-train real-to-binary --data cifar100:cifar-100-python.tar.gz --device cuda -o runs\n
    r2b-train real-to-binary --data cifar100:cifar-100-python.tar.gz -o runs --resume\n
    r2b-train table3 --data digits --seeds 3 -o table3\n

The trained network is DIR/seed-S/EXPERIMENT/model.pt, which r2b-compile takes as it is.

Exit status: 0 trained, 2 bad input, 130 interrupted.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EPILOG)
def train_command(
    experiment: Annotated[
        str | None, typer.Argument(help="A row of the paper's Table 3, or table3 for all of them.")
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="List the experiments and end.")
    ] = False,
    data: Annotated[
        str,
        typer.Option(
            metavar="digits|cifar100:DIR|imagenet:DIR|folder:DIR", help="What is learned."
        ),
    ] = "digits",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the runs.")
    ] = Path("r2b-runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the runs that DIR holds.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="S", help="The first seed.")] = 0,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Train from so many seeds: S, S+1, ...")
    ] = 1,
    epochs_scale: Annotated[
        float, typer.Option(metavar="F", help="Factor of the recipe's epochs.")
    ] = 1.0,
    width: Annotated[
        float | None,
        typer.Option(metavar="W", help="Factor of the network's channels.  [1; table3: 0.25]"),
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Report on the test part, once training is over.")
    ] = False,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Runs at a time, of one thread each (table3).")
    ] = 2,
    device: Annotated[str, typer.Option(metavar="|".join(DEVICES))] = "cpu",
    devices: Annotated[int, typer.Option(metavar="N", help="Devices that share a batch.")] = 1,
    precision: Annotated[str, typer.Option(metavar="|".join(PRECISIONS))] = "32-true",
    loaders: Annotated[
        int, typer.Option(metavar="N", help="Processes that read the training frames.")
    ] = 0,
    save_every: Annotated[
        int, typer.Option(metavar="STEPS", help="Steps between two savings of the state.")
    ] = 200,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as one JSON document.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="The traceback of a defect.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Train a network of "Training binary neural networks with real-to-binary convolutions"."""
    reporter = Reporter(quiet=quiet, verbose=verbose, as_json=as_json)
    with exit_statuses(reporter, INTERRUPTED):
        require_extra()
        if show_list or experiment is None:
            _show_experiments(reporter)
            return
        order = Order(
            experiment, data, output, resume, range(seed, seed + seeds), epochs_scale, width, test,
            workers, device, devices, precision, loaders, save_every,
        )  # fmt: skip
        order.check()
        results = _table3(reporter, order) if experiment == TABLE3 else _train(reporter, order)
        if reporter.as_json:
            sys.stdout.write(json.dumps(results, indent=2) + "\n")


EXTRA = ("filelock", "kornia", "lightning_fabric", "PIL", "pydantic", "sklearn", "tensorboardX")
"""Modules of the extra "train", which compiling does without."""


def require_extra() -> None:
    """Refuse to begin without the packages of the extra.

    Raises
    ------
    TrainingError
        Some are not installed.
    """
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"training needs packages that are not installed ({', '.join(missing)}); "
            "install them with: pip install 'r2b[train]'"
        )


@dataclass(frozen=True)
class Order:
    """What the command was told, see ``r2b-train --help``."""

    experiment: str
    data: str
    output: Path
    resume: bool
    seeds: range
    epochs_scale: float
    width: float | None
    test: bool
    workers: int
    device: str
    devices: int
    precision: str
    loaders: int
    save_every: int

    def check(self) -> None:
        """Refuse what cannot be, before anything is loaded or made.

        Raises
        ------
        TrainingError
            An option is wrong.
        """
        choices = ("--device", self.device, DEVICES), ("--precision", self.precision, PRECISIONS)
        for option, value, known in choices:
            if value not in known:
                raise TrainingError(f"{option} must be one of {', '.join(known)}, not {value!r}")
        counts = (
            ("--seeds", len(self.seeds), 1), ("--workers", self.workers, 1),
            ("--devices", self.devices, 1), ("--loaders", self.loaders, 0),
            ("--save-every", self.save_every, 1), ("--seed", self.seeds.start, 0),
        )  # fmt: skip
        for option, value, least in counts:
            if value < least:
                raise TrainingError(f"{option} must be {least} or more, not {value}")
        if self.output.exists() and not self.output.is_dir():
            raise TrainingError(f"{self.output} is no folder; choose another -o")
        if self.experiment == TABLE3:
            self._check_table3()

    def _check_table3(self) -> None:
        if (self.device, self.devices, self.precision) != ("cpu", 1, PRECISIONS[0]):
            raise TrainingError(
                "table3 runs on the CPU, --workers at a time; train its rows one by one for "
                "another --device, --devices or --precision"
            )
        if self.output.is_dir() and any(self.output.glob("seed-*")) and not self.resume:
            raise TrainingError(
                f"{self.output} holds runs already; go on with them by --resume, or choose "
                "another -o"
            )

    def settings(self, width: float) -> Settings:
        """Return what the numbers of the first seed's run depend on."""
        from r2b.train.run import Settings

        chosen = width if self.width is None else self.width
        return Settings(self.data, self.seeds.start, chosen, self.epochs_scale, self.precision)


def _show_experiments(reporter: Reporter) -> None:
    from rich.table import Table

    from r2b.train import experiment

    table = Table(box=None)
    for heading in ("experiment", "Table 3", "what it is"):
        table.add_column(heading, no_wrap=True)
    reporter.out.width = _WIDE  # names and titles are not to be cut
    for name in experiment.names():
        chosen = experiment.load(name)
        table.add_row(name, chosen.title, chosen.summary)
    reporter.show(table)


def _train(reporter: Reporter, order: Order) -> list[dict[str, Any]]:
    """Train one experiment from every seed."""
    from r2b.train import data as datasets
    from r2b.train import experiment
    from r2b.train.files import read_json
    from r2b.train.run import MODEL, RESULT, folder, train

    experiment.load(order.experiment)  # a wrong name is refused before the data are read
    settings = order.settings(width=1.0)
    data, fabric = datasets.load(order.data, reporter.warn), _fabric(order)
    if not fabric.is_global_zero:
        reporter.quiet, reporter.as_json, reporter.speaks = True, False, False
    results: list[dict[str, Any]] = []
    for seed in order.seeds:
        chosen = replace(settings, seed=seed)
        place = folder(order.output, chosen, order.experiment)
        known = read_json(place / RESULT) if (place / RESULT).exists() else None
        with reporter.progress(_BAR):
            how = _how(reporter, order, fabric)
            results.append(train(order.experiment, chosen, data, how))
        reporter.show(_brief(results[-1]))
        reporter.show(f"{'kept' if results[-1] == known else 'wrote'} {place / MODEL}")
    return results


def _fabric(order: Order) -> Fabric:
    """Make the engine.

    Raises
    ------
    TrainingError
        There is no such device here.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    # deterministic matrix products on CUDA; it is read when the device is first used
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        precision: Any = order.precision
        fabric = Fabric(accelerator=order.device, devices=order.devices, precision=precision)
        fabric.launch()
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        brief = str(error).partition(". ")[0].rstrip(".")
        raise TrainingError(
            f"--device {order.device} --devices {order.devices} is not to be had here: {brief:.200}"
        ) from error
    return fabric


def _how(reporter: Reporter, order: Order, fabric: Fabric) -> How:
    from r2b.train import experiment
    from r2b.train.run import How

    def begin(name: str, phase: int, epochs: int) -> None:
        phases = experiment.load(name).phases
        text = f"{name}: phase {phase + 1} of {len(phases)}, {epochs} epochs"
        if not reporter.quiet:
            reporter.err.print(text)

    def show(name: str, progress: Progress) -> None:
        phases = len(experiment.load(name).phases)
        epoch = progress.epoch + (progress.step + 1) / progress.steps
        done = (progress.phase + epoch / progress.epochs) / phases
        epochs = f"epoch {progress.epoch + 1}/{progress.epochs}"
        text = f"{name}: phase {progress.phase + 1}/{phases}, {epochs}, loss {progress.loss:.4f}"
        reporter.at(_BAR * done, text)

    return How(
        order.output, fabric, order.resume, order.test, order.loaders, order.save_every,
        on_phase=begin, on_step=show,
    )  # fmt: skip


def _brief(result: dict[str, Any]) -> str:
    """Say in a line what a run reached."""
    parts = []
    for part in ("validation", "test"):
        stages = result.get(part, {})
        found = [
            f"{stage.replace('stage', 'stage ')} {top1:.2f} %"
            for stage, (top1, _) in stages.items()
        ]
        if found:
            parts.append(f"{part} {', '.join(found)}")
    name, seed = result["experiment"], result["seed"]
    return f"{name}, seed {seed}: {'; '.join(parts)} ({result['seconds']:.0f} s)"


def _table3(reporter: Reporter, order: Order) -> list[dict[str, Any]]:
    """Train all rows, and show them next to the paper's."""
    from rich.table import Table

    from r2b.train import data as datasets
    from r2b.train import table3, table3_report

    settings = order.settings(table3.WIDTH)
    data = datasets.load(order.data, reporter.warn)
    seconds = table3.estimate(settings, data, len(order.seeds), order.workers)
    all_jobs = table3.jobs(order.seeds)
    reporter.show(
        f"{len(all_jobs)} runs, about {_duration(seconds)} with {order.workers} at a time, "
        "less what is there already"
    )
    done: list[Job] = []

    def note(job: Job, result: dict[str, Any]) -> None:
        done.append(job)
        reporter.at(len(done), f"{len(done)} of {len(all_jobs)} runs")
        reporter.show(f"[{len(done)}/{len(all_jobs)}] {_brief(result)}")

    with reporter.progress(len(all_jobs)):
        results = table3.run(
            settings, order.seeds, order.output, order.workers, note,
            loaders=order.loaders, save_every=order.save_every,
        )  # fmt: skip
    lines = table3_report.lines(results)
    shown = Table(*table3_report.HEADINGS, box=None)
    for row in table3_report.table(lines):
        shown.add_row(*row)
    reporter.show(shown)
    for path in table3_report.write(lines, order.output):
        reporter.show(f"wrote {path}")
    return list(results.values())


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    try:
        with termination():
            app(args=sys.argv[1:] if argv is None else list(argv), prog_name="r2b-train")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
