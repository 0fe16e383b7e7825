"""Calibrates the cost model's LUTs and flip-flops against synthesis; checks block RAM and DSPs.

    python benchmarks/calibrate.py measure              # synthesize what is not measured yet: hours
    python benchmarks/calibrate.py measure --points 2   # two more of them
    python benchmarks/calibrate.py fit                  # write the coefficients, print the errors
    python benchmarks/calibrate.py errors               # print the errors

Whole accelerators (the list in tests/hw/calibration.py), flattened, with the commands of
benchmarks/synthesis.py; one yosys at a time. Every result is written to calibration.json at once,
so that a run may be stopped and taken up again. Points that are held out are not used in the fit.
What only packed products and those without DSP blocks have is fitted last, to what is left.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import array_board
import netlist
import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from r2b.backends.cost.features import USED, array_features, features
from r2b.backends.cost.resources import COEFFICIENTS, coefficients, estimate_params, shared_name
from r2b.backends.fpga.emit import emit_verilog
from r2b.explore.yosys import NETLIST, resource_of, synthesize
from r2b.hw.array import ArrayParams
from r2b.hw.devices import DEVICES
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.params import CoreParams, core_params

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
accelerators: Any = importlib.import_module("tests.hw.calibration")

RESULTS = Path(__file__).with_name("calibration.json")
FAMILIES = ("ecp5", "xc7")
RESOURCES = ("lut", "ff", "lutram", "ram18", "dsp")
FITTED = ("lut", "ff")
RIDGE = 1e-7
"""Keeps features that grow together together; per count of a component's largest size."""
ALONE = 10_000
"""Size of the accelerator that an array alone is weighed as a part of."""
Measured = dict[str, Any]
app = typer.Typer(add_completion=False, help=__doc__)


def read_results() -> dict[str, Measured]:
    """What has been measured, by name of the point."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def write_json(path: Path, content: object) -> None:
    """Write a file at once."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    partial.replace(path)


def params_of(point: Any) -> CoreParams:
    """Parameters of a point's accelerator."""
    program = accelerators.program(point.program)
    return core_params(ProgramGeometry(program, point.plan(program)))


def family_of(point: Any) -> str:
    """Device family of a point."""
    return DEVICES[point.device].family


# ------------------------------------------------------------------------------------------ measure


@app.command()
def measure(
    points: Annotated[int, typer.Option(help="at most so many")] = 1000,
    only: Annotated[str, typer.Option(help="only names that hold this")] = "",
) -> None:
    """Synthesize the points that are not measured yet, in the order of the list."""
    for family in FAMILIES:
        for name, arrays in _boards(family).items():
            if name not in read_results() and only in name:
                _keep(name, lambda f=family, a=arrays: {"components": array_board.measure(f, a)})
    known = [name for name, found in read_results().items() if found["components"]]
    open_ = [p for p in accelerators.POINTS if p.name not in known and only in p.name]
    for point in open_[:points]:
        _keep(point.name, lambda point=point: measure_point(point))


def _boards(family: str) -> dict[str, tuple[ArrayParams, ...]]:
    """Name of the result -> a family's arrays alone; last those with other products."""
    return {
        f"arrays {family}": array_board.ARRAYS[family],
        f"pixel arrays {family}": array_board.PIXEL_ARRAYS[family],
        f"other arrays {family}": array_board.OTHERS[family],
    }


def _keep(name: str, run: Callable[[], Measured]) -> None:
    """Run a synthesis and add its result to the file."""
    begin = time.perf_counter()
    found = run() | {"seconds": round(time.perf_counter() - begin)}
    write_json(RESULTS, read_results() | {name: found})
    print(f"{name}: {found['seconds']} s", flush=True)


def measure_point(point: Any) -> Measured:
    """Cells of a point's flattened netlist, and per component."""
    program = accelerators.program(point.program)
    with tempfile.TemporaryDirectory() as work:
        source = emit_verilog(program, point.plan(program), work)
        cells = synthesize(source, family_of(point), Path(work), named=True)
        components = netlist.count(json.loads((Path(work) / NETLIST).read_text()))
    return {"cells": cells, "components": components}


# ---------------------------------------------------------------------------------------------- fit


@app.command()
def fit() -> None:
    """Fit the coefficients to the measured points that are not held out, and write them."""
    samples = [s for s in _samples() if not s[0].held_out]
    families = {
        family: {resource: _fit_family(samples, family, resource) for resource in FITTED}
        for family in FAMILIES
    }
    write_json(COEFFICIENTS, {"yosys": "0.70", "families": families})
    coefficients.cache_clear()
    errors()


def _samples() -> list[tuple[Any, Measured, dict[str, dict[str, float]]]]:
    """Measured points with their features."""
    results = read_results()
    return [
        (point, results[point.name], features(params_of(point), family_of(point)))
        for point in accelerators.POINTS
        if point.name in results and results[point.name]["components"]
    ]


def _fit_family(samples, family: str, resource: str) -> dict[str, dict[str, float]]:
    """Component -> feature -> coefficient."""
    rows: dict[str, list[tuple[dict[str, float], float, int]]] = {}
    for point, measured, sizes in samples:
        if family_of(point) != family:
            continue
        whole = sum(counts.get(resource, 0) for counts in measured["components"].values())
        for component, mine in sizes.items():
            count = measured["components"].get(component, {}).get(resource, 0)
            rows.setdefault(shared_name(component), []).append((mine, count, whole))
    *usual, others = _boards(family)
    for board in usual:
        for array, count in _measured_arrays(family, board, resource):
            component = "binary array" if array.binary else "real array"
            rows.setdefault(component, []).append((array_features(array, family), count, ALONE))
    used = USED[resource]
    found = {name: _fit_component(mine, used[name]) for name, mine in sorted(rows.items())}
    known, rest = found["real array"], []
    for array, count in _measured_arrays(family, others, resource):
        sizes = array_features(array, family)
        left = count - sum(known.get(name, 0.0) * size for name, size in sizes.items())
        rest.append((sizes, left, ALONE))
    later = tuple(name for name in used["real array"] if name not in known)
    found["real array"] |= _fit_component(rest, later) if rest else {}
    return found


def _measured_arrays(family: str, board: str, resource: str) -> list[tuple[ArrayParams, int]]:
    """Arrays of a board and what they take."""
    arrays = read_results().get(board, {"components": {}})["components"]
    return [
        (_boards(family)[board][int(index)], counts.get(resource, 0))
        for index, counts in arrays.items()
    ]


def _fit_component(
    rows: list[tuple[dict[str, float], float, int]], used: tuple[str, ...]
) -> dict[str, float]:
    """Coefficients that are not negative, with the least error relative to the accelerators.

    Features that were there and cost nothing have 0; those that no accelerator has are left out.
    """
    names = [name for name in used if any(sizes.get(name) for sizes, _, _ in rows)]
    sizes = np.array([[mine.get(name, 0.0) for name in names] for mine, _, _ in rows])
    weight = np.array([1 / whole for _, _, whole in rows])
    scale = sizes.max(axis=0)
    counts = np.array([count for _, count, _ in rows])
    system = np.vstack([sizes / scale * weight[:, None], RIDGE * np.eye(len(names))])
    found, _ = nnls(system * 1e4, np.concatenate([counts * weight, np.zeros(len(names))]) * 1e4)
    pairs = zip(names, found / scale, strict=True)
    return {name: round(float(value), 4) for name, value in pairs}


# ------------------------------------------------------------------------------------------- errors


@app.command()
def errors(
    output: Annotated[Path | None, typer.Option(help="write the tables here, as Markdown")] = None,
) -> None:
    """Print predicted and measured resources of every measured point, and the errors."""
    results, console = read_results(), Console(width=150)
    relative: dict[tuple[str, str, bool], list[float]] = {}
    rows = [["point", "", *(f"{r}, error" for r in RESOURCES)]]
    for point in accelerators.POINTS:
        if point.name not in results:
            continue
        predicted = estimate_params(params_of(point), family_of(point)).total
        row = []
        for resource, measured in counted(results[point.name]).items():
            error = getattr(predicted, resource) / measured - 1 if measured else 0.0
            row.append(f"{measured:,} {error:+.1%}")
            key = (family_of(point), resource, point.held_out)
            relative.setdefault(key, []).append(abs(error))
        rows.append([point.name, "held out" if point.held_out else "fitted", *row])
    tables = [rows, _summary(relative)]
    for lines in tables:
        table = Table(*lines[0])
        for line in lines[1:]:
            table.add_row(*line)
        console.print(table)
    if output is not None:
        output.write_text("\n".join(_markdown(lines) for lines in tables))


def _markdown(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def counted(measured: Measured) -> dict[str, int]:
    """Resources of a measured point; totals alone were measured with an earlier generator."""
    if "total" in measured:
        return {resource: measured["total"][resource] for resource in RESOURCES}
    found = Counter(dict.fromkeys(RESOURCES, 0))
    for cell, number in measured["cells"].items():
        resource = resource_of(cell)
        if resource:
            found[resource[0]] += number * resource[1]
    return dict(found)


def _summary(relative: dict[tuple[str, str, bool], list[float]]) -> list[list[str]]:
    rows = [["family", "resource", "points", "", "median error", "worst error"]]
    for (family, resource, held_out), found in sorted(relative.items()):
        kind = "held out" if held_out else "fitted"
        figures = (f"{statistics.median(found):.1%}", f"{max(found):.1%}")
        rows.append([family, resource, str(len(found)), kind, *figures])
    return rows


if __name__ == "__main__":
    app()
