"""What ``r2b-explore`` does: load, evaluate, keep the fronts, choose, write."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r2b import __version__
from r2b.console import Reporter
from r2b.explore import plot, run
from r2b.explore.cluster import LOCAL, check_scheduler, cluster, require_dask
from r2b.explore.evaluate import COLUMNS, Goal, Row, plan_of
from r2b.explore.front import Objective, choose, objective_of, one_at_a_time, shortfall
from r2b.explore.run import Explored, Speed
from r2b.explore.space import Axes, full_axes
from r2b.explore.store import Asked, Store, put
from r2b.explore.synth import Measured, measure_best
from r2b.frontend.loading import Request
from r2b.hw.devices import device
from r2b.hw.support import check_supported
from r2b.ir import serialize
from r2b.ir.errors import CheckpointError, UserError
from r2b.ir.program import Program
from r2b.options import Options, check_positive

PLANS, FRONT, PLAN, PAGE = "plans.csv", "pareto.csv", "plan.json", "explore.html"
QUANTIZATION = (
    "act_bits", "mean", "std", "raw", "seed", "sign_zero", "binarize_weights",
)  # fmt: skip
"""Options that change the Program."""


@dataclass(frozen=True)
class Order:
    """What is explored, and how.

    Parameters
    ----------
    request : Request
        The model.
    options : Options
        How the model becomes a Program.
    devices : tuple of str
    output : Path
    input_shape : tuple of int or None
    clock_mhz : float or None
        None for each device's usual clock.
    target_fps : float or None
    objective : str or None
    scheduler : str
    workers : int or None
        None for a process per core.
    resume : bool
    synth : int
        Plans of the front that are synthesized, per device.
    axes : mapping of str to tuple
    batches : bool
        A Plan that works on several frames at a time may be chosen.
    """

    request: Request
    options: Options
    devices: tuple[str, ...]
    output: Path
    input_shape: tuple[int, ...] | None = None
    clock_mhz: float | None = None
    target_fps: float | None = None
    objective: str | None = None
    scheduler: str = LOCAL
    workers: int | None = None
    resume: bool = False
    synth: int = 0
    axes: Axes = field(default_factory=full_axes)
    batches: bool = False

    def check(self) -> Objective:
        """Refuse what cannot be, before anything is loaded or made.

        Raises
        ------
        UserError
            An option is wrong.
        """
        if not self.devices:
            raise UserError("name a --device or more, for example --device ecp5-85f")
        for name in self.devices:
            device(name)
        if len(set(self.devices)) < len(self.devices):
            raise UserError("a --device is named twice")
        check_positive("--target-fps must be a positive number", self.target_fps)
        check_positive("the clock must be a positive number of MHz", self.clock_mhz)
        if self.synth < 0:
            raise UserError(f"--synth must be 0 or more, not {self.synth}")
        check_scheduler(self.scheduler, self.workers)
        plot.require_plotly()
        if self.scheduler != LOCAL or self.num_workers > 1:
            require_dask()
        Store(self.output).check(self.resume)
        return objective_of(self.objective, self.target_fps)

    def able(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Those of which one may be chosen."""
        return rows if self.batches else one_at_a_time(rows)

    @property
    def num_workers(self) -> int:
        """Local processes."""
        return self.workers or os.cpu_count() or 1

    @property
    def goals(self) -> tuple[Goal, ...]:
        """Devices and clocks."""
        found = (device(name) for name in self.devices)
        return tuple(Goal(d, float(self.clock_mhz or d.clock_mhz)) for d in found)

    def asked(self) -> Asked:
        """What decides about every figure; a run that is resumed must be asked the same.

        What is chosen of the figures, and where they are computed, may differ.
        """
        quantization = {name: getattr(self.options, name) for name in QUANTIZATION}
        return {
            "r2b": __version__,
            "set of columns": list(COLUMNS),
            "MODEL": identity(self.request.path),
            "--model": self.request.factory,
            "--model-args": self.request.arguments,
            "--input-shape": self.input_shape,
            "--calibrate": _calibration(self.options.calibration),
            **{f"--{name.replace('_', '-')}": value for name, value in quantization.items()},
            "--device": list(self.devices),
            "--clock": self.clock_mhz,
            **{f"--axis {name}": list(values) for name, values in self.axes.items()},
        }


def identity(path: Path) -> str:
    """What a model is, wherever it lies: the SHA-256 of its bytes, or its name in the zoo."""
    file = path / serialize.PROGRAM_FILE if path.is_dir() else path
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else str(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _calibration(given: object) -> str | None:
    if not isinstance(given, str) or given == "random":
        return None if given is None else str(given)
    return identity(Path(given))


@dataclass(frozen=True)
class Result:
    """An exploration that is done.

    Parameters
    ----------
    program : Program
    explored : list of Explored
        Per device.
    fronts : dict of str to list of dict
    chosen : dict of str to dict
        Device -> the row that was picked, where one was.
    best : dict or None
        The row of ``plan.json``.
    shortfalls : list of str
        Per device without a choice: why.
    summary : dict
    speed : Speed
    measured : dict of str to list of Measured
        Device -> what ``--synth`` gave.
    objective : Objective
    """

    program: Program
    explored: list[Explored]
    fronts: dict[str, list[Row]]
    chosen: dict[str, Row]
    best: Row | None
    shortfalls: list[str]
    summary: dict[str, Any]
    speed: Speed
    measured: dict[str, list[Measured]]
    objective: Objective


def explore_model(order: Order, make: Callable[[], Program], reporter: Reporter) -> Result:
    """Explore a model and write the folder.

    Parameters
    ----------
    order : Order
    make : callable
        Gives the Program; called unless the folder has it.

    Raises
    ------
    UserError
        Bad input, or a tool or scheduler that cannot be used; what is done is kept.
    """
    objective = order.check()
    store = Store(order.output)
    store.begin(order.asked())
    program = store.program(make)
    check_supported(program)
    work = run.work_of(program, order.axes, order.goals)
    with cluster(order.scheduler, order.num_workers, program) as where:
        speed = run.explore(work, where, store, reporter)
        explored = [Explored(name) for name in order.devices]
        with store.writing():
            _write_plans(order.output / PLANS, run.rows_of(work, store), explored)
        fronts = run.fronts_of(explored)
        able = {name: order.able(front) for name, front in fronts.items()}
        measured = measure_best(program, able, objective, order.synth, where, store, reporter)
    chosen = {
        found.device: row
        for found in explored
        if (row := choose(order.able(found.fits), objective, order.target_fps)) is not None
    }
    excluded = run.excluded_of(work, store)
    result = Result(
        program, explored, fronts, chosen, best_of(order, chosen, objective),
        [shortfall(found.known, found.device, order.target_fps, order.batches)
         for found in explored if found.device not in chosen],
        run.summary(explored, fronts, excluded), speed, measured, objective,
    )  # fmt: skip
    with store.writing():
        _write(order, result)
    return result


def best_of(order: Order, chosen: Mapping[str, Row], objective: Objective) -> Row | None:
    """The Plan of ``plan.json``.

    With a target, that of the first ``--device`` on which it is reached; else the best of all.
    """
    rows = [chosen[name] for name in order.devices if name in chosen]
    if order.target_fps is not None:
        return rows[0] if rows else None
    return min(rows, key=objective.cost, default=None)


# ------------------------------------------------------------------------------------------ files


def csv_text(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> str:
    """Rows as comma-separated values, figures in full."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _write_plans(path: Path, rows: Any, explored: Sequence[Explored]) -> None:
    """Write every row, and take each in."""
    by_device = {found.device: found for found in explored}
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            by_device[row["device"]].add(row)
    temporary.replace(path)


def _write(order: Order, result: Result) -> None:
    folder = order.output
    measured = {
        (device, found.point): found.columns()
        for device, several in result.measured.items()
        for found in several
    }
    columns = (*COLUMNS, *Measured.COLUMNS) if measured else COLUMNS
    rows = [
        row | measured.get((device, row["point"]), {})
        for device, front in result.fronts.items()
        for row in front
    ]
    put(folder / FRONT, csv_text(rows, columns))
    fits = {found.device: found.fits for found in result.explored}
    title = f"{result.program.name}: Plans for {', '.join(order.devices)}"
    put(folder / PAGE, plot.page(title, fits, result.fronts, result.chosen))
    _write_chosen(order, result)


def _write_chosen(order: Order, result: Result) -> None:
    """``plan.json``, and one per device where there are several; none of an earlier choice."""
    rows = {PLAN: result.best}
    if len(order.devices) > 1:
        rows |= {f"plan-{name}.json": result.chosen.get(name) for name in order.devices}
    for name, row in rows.items():
        path = order.output / name
        if row is None:
            path.unlink(missing_ok=True)
        else:
            put(path, plan_of(result.program, row).to_json())


# ---------------------------------------------------------------------------------------- loading


def program_maker(order: Order, reporter: Reporter) -> Callable[[], Program]:
    """What gives the Program of a model file, or of a folder of ``r2b-compile``."""
    path = order.request.path
    if path.is_dir():
        if not (path / serialize.PROGRAM_FILE).is_file():
            raise CheckpointError(
                f"{path} holds no {serialize.PROGRAM_FILE}; name a model file, or a folder that "
                "r2b-compile wrote"
            )
        check_compiled(order)
        return lambda: serialize.load(path)
    return lambda: lower_model(order, reporter)


def check_compiled(order: Order) -> None:
    """Refuse options that a Program which is there already would not follow.

    Raises
    ------
    UserError
        One is given.
    """
    usual = Options()
    changed = [
        name
        for name in ("calibration", *QUANTIZATION)
        if getattr(order.options, name) != getattr(usual, name)
    ]
    request = order.request
    given = {"model": request.factory, "model_args": request.arguments,
             "input_shape": order.input_shape}  # fmt: skip
    changed += [name for name, value in given.items() if value is not None]
    if changed:
        option = changed[0].replace("calibration", "calibrate").replace("_", "-")
        raise UserError(
            f"{request.path} is compiled already; leave --{option} away, or name the model file"
        )


def lower_model(order: Order, reporter: Reporter) -> Program:
    """The Program of a model file, as ``r2b-compile`` makes it."""
    from r2b import compiler

    loaded = compiler.load(order.request, reporter)
    options = replace(order.options, name=loaded.name)
    shape = compiler.frame_shape(loaded, order.input_shape, options)
    network = compiler.Network(loaded.network, shape, loaded.frames)
    return compiler.lower(network, options, reporter).program
