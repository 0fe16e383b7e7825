"""The Pareto front of the Plans that fit, and which of them an objective takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2b.explore.evaluate import FITS, TOO_LARGE, Row
from r2b.explore.space import array_name, beside, mac_kinds
from r2b.ir.errors import PlanError

BEST = ("fps", "LUT", "RAM18", "DSP", "bandwidth", "latency")
"""What the front is about: frames per second, of which more is better; of all else less is."""


@dataclass(frozen=True)
class Objective:
    """What makes a Plan the best one.

    Parameters
    ----------
    name : str
    meaning : str
    cost : callable
        Of a row; the smallest wins.
    """

    name: str
    meaning: str
    cost: Callable[[Row], float]


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("fps", "most frames per second", lambda row: -row["fps"]),
        Objective("fps-per-lut", "most frames per second and LUT",
                  lambda row: -row["fps"] / row["LUT"]),
        Objective("fps-per-dsp", "most frames per second and DSP",
                  lambda row: -row["fps"] / max(1, row["DSP"])),
        Objective("luts", "fewest LUTs", lambda row: row["LUT"]),
        Objective("dsps", "fewest DSPs", lambda row: row["DSP"]),
        Objective("ram", "fewest block RAMs", lambda row: row["RAM18"]),
        Objective("bandwidth", "fewest bytes per second", lambda row: row["bandwidth"]),
        Objective("latency", "fewest cycles from a frame's first to its result",
                  lambda row: row["latency"]),
        Objective("share", "smallest share of the device, by its fullest resource",
                  lambda row: row["share"]),
    )
}  # fmt: skip
"""By name. Ties go to the smaller share of the device, then to the faster, then to the first."""


def fitting(rows: Sequence[Row], device: str) -> list[Row]:
    """The rows of a device that fit."""
    return [row for row in rows if row["device"] == device and row["status"] == FITS]


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other row equals or beats in everything; of equal ones the first.

    The fastest come first.
    """
    if not rows:
        return []
    values = np.array([[-row["fps"], *(row[name] for name in BEST[1:])] for row in rows])
    order = np.lexsort((np.arange(len(rows)), *values.T[::-1]))
    kept: list[int] = []
    front: npt.NDArray[np.float64] = np.empty((0, len(BEST)))
    for index in order:
        if not (front <= values[index]).all(axis=1).any():
            kept.append(int(index))
            front = np.vstack([front, values[index]])
    return [rows[index] for index in kept]


def one_at_a_time(rows: Sequence[Row]) -> list[Row]:
    """The rows without batches, which raise latency: they are chosen if they are asked for."""
    return [row for row in rows if row["batch"] == 1]


def choose(
    rows: Sequence[Row], objective: Objective, target_fps: float | None = None
) -> Row | None:
    """The best row that fits and, where there is a target, reaches it; None if there is none."""
    able = [row for row in rows if target_fps is None or row["fps"] >= target_fps]
    return min(
        able,
        key=lambda row: (objective.cost(row), row["share"], -row["fps"], row["point"]),
        default=None,
    )


def objective_of(name: str | None, target_fps: float | None) -> Objective:
    """The objective of that name; by default the fastest, or the smallest that reaches a target.

    Raises
    ------
    PlanError
        There is none of that name.
    """
    chosen = name or ("fps" if target_fps is None else "share")
    if chosen not in OBJECTIVES:
        raise PlanError(f"--objective takes {', '.join(OBJECTIVES)}, not {chosen!r}")
    return OBJECTIVES[chosen]


def with_batches(rows: Sequence[Row], target_fps: float) -> str:
    """The way out that is a batch: the smallest that reaches the target; nothing if none does."""
    able = [row for row in rows if row["batch"] > 1 and row["fps"] >= target_fps]
    best = min(able, key=lambda row: (row["batch"], -row["fps"], row["point"]), default=None)
    if best is None:
        return ""
    return (
        f", or --axis batch={best['batch']}: batches, which raise latency, reach {best['fps']:,.1f}"
    )


def shortfall(
    rows: Sequence[Row], device: str, target_fps: float | None, batches: bool = False
) -> str:
    """Why no Plan will do for a device: the nearest one, what it lacks, and the way out.

    Without ``batches`` those of several frames are a way out alone.
    """
    known = fitting(rows, device)
    fits = known if batches else one_at_a_time(known)
    if fits:
        best = max(fits, key=lambda row: (row["fps"], -row["point"]))
        return (
            f"{device}: no Plan that fits reaches {target_fps:g} frames/s; the nearest reaches "
            f"{best['fps']:,.1f} ({describe(best)}), bound by {best['binds']}; choose a lower "
            "--target-fps, a higher --clock or a larger --device"
            f"{with_batches(known, target_fps or 0.0) if not batches else ''}"
        )
    large = [row for row in rows if row["device"] == device and row["status"] == TOO_LARGE]
    if not large:
        return f"{device}: the space holds no legal Plan; widen an axis with --axis NAME=V,V,..."
    best = min(large, key=lambda row: (row["share"], row["point"]))
    return (
        f"{device}: no Plan fits; the nearest ({describe(best)}) needs {best['reason']}; choose a "
        "larger --device, or smaller values with --axis NAME=V,V,..."
    )


def describe(row: Row) -> str:
    """A row's Plan in short."""
    macs = row["lanes"] * row["mac_out"]
    kinds = mac_kinds(row["mac_packing"], row["lanes"] * row["lut_macs"])
    return (
        f"{array_name(row)} XNOR, {macs} MACs{kinds}, {row['lanes']} lanes, T "
        f"{row['tile_pixels']}, weights {source_of(row)} {row['bus']} bits, gate MACs "
        f"{row['gate_macs']}{beside(row)}"
    )


def latency(row: Row) -> float:
    """Seconds from a frame's first cycle to its result."""
    return row["latency"] / (row["clock_mhz"] * 1e6)


def source_of(row: Row) -> str:
    """Where a row's weights come from."""
    return row["weights"] if row["vector"] == "chip" else "all streamed"
