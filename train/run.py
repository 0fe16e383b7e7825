"""A run: an experiment on a data set from a seed, with its teachers, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from r2b.ir.errors import SharedTrainingError, TrainingError
from r2b.train import checkpoint, experiment, files, zoo
from r2b.train.data.dataset import DataSet, set_epoch
from r2b.train.evaluate import accuracy, first_frames, settle, size
from r2b.train.experiment import Experiment, PhaseSpec
from r2b.train.layers import set_binarization
from r2b.train.magnitudes import keep_magnitudes
from r2b.train.metrics import Metrics
from r2b.train.network import Network
from r2b.train.phase import PhaseRun, Progress, Task, validation
from r2b.train.randomness import derive, order
from r2b.train.recipe import RECIPES, Recipe
from r2b.train.state import State

NUM_CALIBRATION = 64
SETTINGS, STATE, RESULT, MODEL, LOCK = "run.json", "state.pt", "result.json", "model.pt", "lock"
LARGEST_SMALL = 64
"""Images up to so many pixels take the stem for 32 pixels, larger ones that for 224."""


@dataclass(frozen=True)
class Settings:
    """What a run's numbers depend on, besides the experiment's file and the data themselves.

    Parameters
    ----------
    data : str
        As ``--data`` says it.
    seed : int
        Of everything random.
    width : float
        Factor of the network's channels.
    epochs_scale : float
        Factor of the recipe's epochs.
    precision : str
        Of Lightning Fabric.
    """

    data: str
    seed: int
    width: float = 1.0
    epochs_scale: float = 1.0
    precision: str = "32-true"


@dataclass(frozen=True)
class How:
    """What a run's numbers should not depend on.

    Parameters
    ----------
    root : Path
        Holds ``seed-S/EXPERIMENT`` for every run; teachers are found there.
    fabric : Fabric
        Device, precision, processes.
    resume : bool
        Whether runs that are there already are gone on with.
    test : bool
        Whether the test part is looked at, once training is over.
    workers : int
        Processes that read frames.
    save_every : int
        Steps between two savings of the state.
    on_step : callable
        Given the name of the experiment and where it stands, after each step.
    on_phase : callable
        Given the name of the experiment, the number of a phase that begins, and its epochs.
    recipes : mapping of str to Recipe
        The recipe of each data set.
    """

    root: Path
    fabric: Fabric
    resume: bool = False
    test: bool = False
    workers: int = 0
    save_every: int = 200
    on_step: Callable[[str, Progress], None] = lambda name, progress: None
    on_phase: Callable[[str, int, int], None] = lambda name, phase, epochs: None
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)


def folder(root: Path, settings: Settings, name: str) -> Path:
    """Return the folder of the run of experiment ``name``."""
    return root / f"seed-{settings.seed}" / name


def train(name: str, settings: Settings, data: DataSet, how: How) -> dict[str, Any]:
    """Train experiment ``name``, its teachers before it, and return what it reached.

    Teachers that are there already, from the same settings, are taken as they are.

    Returns
    -------
    dict
        The content of ``result.json``.

    Raises
    ------
    TrainingError
        The folder holds another run, or cannot be used.
    """
    run = _Run(experiment.load(name), settings, data, how)
    run.check_place()
    how.fabric.barrier()  # all processes have looked before the first one writes
    for teacher in run.chosen.teachers:
        train(teacher, settings, data, replace(how, resume=True))
    # a GPU has operations without a deterministic form: those are warned about, not refused
    torch.use_deterministic_algorithms(True, warn_only=how.fabric.device.type != "cpu")
    with _locked(run.place, how):
        return run.run()


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say in what two runs differ; "" if in nothing."""
    different = [key for key in wanted if found.get(key) != wanted[key]]
    short = [key for key in different if not isinstance(wanted[key], dict)]
    if short:
        return "; ".join(f"{key} {found.get(key)!r}, not {wanted[key]!r}" for key in short)
    return " and ".join(f"another {key} than this version of r2b" for key in different)


@contextmanager
def _locked(place: Path, how: How) -> Iterator[None]:
    """Keep other processes away from a run's folder.

    Where several processes train together the first one locks, and all of them learn if it cannot.
    """
    with ExitStack() as held:
        problem = _lock(place, held) if how.fabric.is_global_zero else ""
        problem = str(how.fabric.broadcast(problem))
        if problem:
            raise SharedTrainingError(problem)
        try:
            yield
        except OSError as error:
            raise TrainingError(_unusable(place, error)) from error


def _lock(place: Path, held: ExitStack) -> str:
    """Lock a folder; return why not, or ""."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(place / LOCK, timeout=0))
        files.remove_temporary(place)
    except Timeout:
        return f"another process is training in {place}; wait for it"
    except OSError as error:
        return _unusable(place, error)
    return ""


def _unusable(place: Path, error: OSError) -> str:
    return f"{place} cannot be used: {error.strerror or error}"


class _Run:
    """One experiment under way, or done."""

    def __init__(self, chosen: Experiment, settings: Settings, data: DataSet, how: How) -> None:
        self.chosen, self.settings, self.data, self.how = chosen, settings, data, how
        self.place = folder(how.root, settings, chosen.name)
        self.recipe = how.recipes[data.name].scaled(settings.epochs_scale)
        zoo.resolve(*describe(chosen, data, settings.width))  # refused before anything is made
        self.writes = how.fabric.is_global_zero

    def check_place(self) -> None:
        """Refuse a folder with another run, or with one that is not to be gone on with."""
        path = self.place / SETTINGS
        if not path.exists():
            return
        different = _difference(files.read_json(path), self._identity())
        if different:
            raise SharedTrainingError(
                f"{self.place} holds a run with {different:.400}; choose another -o, or go on with "
                "its settings"
            )
        if not self.how.resume:
            raise SharedTrainingError(
                f"{self.place} holds a run already; go on with it by --resume, or choose another -o"
            )

    def _identity(self) -> dict[str, Any]:
        """What the numbers of the run depend on."""
        return {
            **asdict(self.settings),
            "experiment": self.chosen.model_dump(mode="json"),
            # through JSON: what is compared is what was read
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
        }

    def run(self) -> dict[str, Any]:
        """Go on with the run until it is over."""
        result = self._known_result()
        if result is not None and (not self.how.test or "test" in result):
            return result
        state = self._begin()
        while state.phase < len(self.chosen.phases):
            state = self._phase(state)
        result = self._result(state)
        if self.writes:
            self._write_model(state)
            files.write_json(self.place / RESULT, result)
        self.how.fabric.barrier()
        return result

    def _known_result(self) -> dict[str, Any] | None:
        """What the first process finds; another may look when it has written already."""
        path = self.place / RESULT
        found = files.read_json(path) if self.writes and path.exists() else None
        return self.how.fabric.broadcast(found)

    def _begin(self) -> State:
        path = self.place / STATE
        if path.exists():
            return State.load(path)
        if self.writes:
            files.write_json(self.place / SETTINGS, self._identity())
        seed = derive(self.settings.seed, "parameters")
        network = zoo.build(*describe(self.chosen, self.data, self.settings.width), seed=seed)
        return State(network.state_dict())

    def _phase(self, state: State) -> State:
        """Run a phase from where it stands, settle its batch norms, keep its network."""
        number = state.phase
        spec = self.chosen.phases[number]
        self.how.on_phase(self.chosen.name, number, self.recipe.epochs)
        with self._metrics(state) as metrics:
            task = self._task(metrics)
            network = self._student(number, state)
            phase = PhaseRun(task, spec, network, self._teacher(number), state)
            state = phase.run()
            settle(phase.network, self._settling_frames())
            phase.network.eval()
            found = accuracy(phase.network, self.data.validation, self.how.workers)
            row = state.rows[-1] | validation(found)
            task.on_row(row)
        state = replace(state, rows=(*state.rows[:-1], row))
        after = state.after_phase(cpu(phase.network.state_dict()))
        self._keep_phase(number, after)
        self._save(after)
        return after

    @contextmanager
    def _metrics(self, state: State) -> Iterator[Metrics | None]:
        if not self.writes:
            yield None
            return
        metrics = Metrics(self.place, state.rows)
        try:
            yield metrics
        finally:
            metrics.close()

    def _task(self, metrics: Metrics | None) -> Task:
        return Task(
            self.how.fabric,
            self.data,
            self.recipe,
            self.settings.seed,
            self.how.workers,
            self.how.save_every,
            self._save,
            lambda progress: self.how.on_step(self.chosen.name, progress),
            lambda row: None if metrics is None else metrics.add(row),
        )

    def _save(self, state: State) -> None:
        if self.writes:
            state.save(self.place / STATE)

    def _keep_phase(self, number: int, state: State) -> None:
        if self.writes:
            files.write_tensors(self._phase_path(number), state.network)
        self.how.fabric.barrier()

    def _phase_path(self, number: int) -> Path:
        return self.place / f"phase-{number}.pt"

    def _network(self, state_dict: dict[str, torch.Tensor]) -> Network:
        return _network(self.chosen, self.data, self.settings.width, state_dict)

    def _student(self, number: int, state: State) -> Network:
        """The network of the state; at the beginning of a phase, made ready for it."""
        network = self._network(state.network)
        if self.chosen.turns_binary(number) and state.optimizer is None:
            keep_magnitudes(network)
        return network

    def _teacher(self, number: int) -> Network | None:
        name = self.chosen.phases[number].teacher
        if name is None:
            return None
        if name == "previous":
            return self._phase_network(number - 1)
        chosen = experiment.load(name)
        last = len(chosen.phases) - 1
        path = folder(self.how.root, self.settings, name) / f"phase-{last}.pt"
        teacher = _network(chosen, self.data, self.settings.width, files.read_tensors(path))
        return _binarized(teacher, chosen.phases[last])

    def _phase_network(self, number: int) -> Network:
        network = self._network(files.read_tensors(self._phase_path(number)))
        return _binarized(network, self.chosen.phases[number])

    def _settling_frames(self) -> torch.Tensor:
        return self._training_frames("settle", self.recipe.settle_frames)

    def _training_frames(self, purpose: str, count: int) -> torch.Tensor:
        """Some training frames, the same whenever they are asked for."""
        seed = derive(self.settings.seed, purpose)
        places = order(seed, 0, 0, size(self.data.train))[:count].tolist()
        set_epoch(self.data.train, seed, 0)  # crops depend on the epoch that was last set
        return first_frames(self.data.train, places, self.how.workers)

    def _result(self, state: State) -> dict[str, Any]:
        last = {row["phase"]: row for row in state.rows}
        result: dict[str, Any] = {
            "experiment": self.chosen.name,
            "seed": self.settings.seed,
            "seconds": state.seconds,
            "validation": _figures(
                self.chosen,
                [[row["validation_top1"], row["validation_top5"]] for row in last.values()],
            ),
        }
        if self.how.test:
            found = [self._tested(number) for number in range(len(self.chosen.phases))]
            result["test"] = _figures(self.chosen, found)
        return result

    def _tested(self, number: int) -> list[float | int | None]:
        network = self.how.fabric.to_device(self._phase_network(number))
        found = accuracy(network, self.data.test, self.how.workers)
        return [found.top1, found.top5]

    def _write_model(self, state: State) -> None:
        arch, config = describe(self.chosen, self.data, self.settings.width)
        checkpoint.save(
            self.place / MODEL,
            arch=arch,
            config=config,
            state_dict=state.network,
            calibration=self._training_frames("calibration", NUM_CALIBRATION).numpy(),
        )


def _figures(chosen: Experiment, values: list[list[float | int | None]]) -> dict[str, Any]:
    """Top-1 and top-5 by the paper's stage."""
    return {
        f"stage{phase.stage}": value for phase, value in zip(chosen.phases, values, strict=True)
    }


def describe(chosen: Experiment, data: DataSet, width: float) -> tuple[str, dict[str, Any]]:
    """Return the zoo's name and config of the experiment's network for a data set."""
    small = max(data.input_shape[1:]) <= LARGEST_SMALL
    config: dict[str, Any] = {
        "input_shape": list(data.input_shape),
        "num_classes": data.num_classes,
        "width_multiplier": width,
    }
    if not chosen.network.arch.startswith("full-precision"):
        config["downsample"] = chosen.network.downsample
    return f"{chosen.network.arch}-{32 if small else 224}", config


def _network(
    chosen: Experiment, data: DataSet, width: float, state_dict: dict[str, torch.Tensor]
) -> Network:
    arch, config = describe(chosen, data, width)
    with torch.device("meta"):
        network = zoo.build(arch, config)
    own = {key: value.clone() for key, value in state_dict.items()}
    network.load_state_dict(own, assign=True)
    return network


def _binarized(network: Network, phase: PhaseSpec) -> Network:
    """Make a network binarise as it did in a phase, in eval mode."""
    set_binarization(network, activations=phase.activations, weights=phase.binary_weights)
    return network.eval()


def cpu(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in state_dict.items()}
