"""The tables that ``r2b-explore`` prints; every figure says how it was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from r2b.backends.cost.resources import CALIBRATED
from r2b.explore.evaluate import FAILED, FITS, TOO_LARGE, Row
from r2b.explore.front import latency, source_of
from r2b.explore.space import array_name, front_name, mac_kinds
from r2b.hw.devices import DEVICES
from r2b.page.text import duration
from r2b.sheets import Cell, Sheet

if TYPE_CHECKING:
    from r2b.explore.job import Result


def front_sheet(device: str, front: Sequence[Row], chosen: Row | None, most: int | None) -> Sheet:
    """A Pareto front: all of it, or ``most`` rows spread over it and the chosen one, starred."""
    rows = list(front)
    if most is not None and len(rows) > most:
        wanted = {index * (len(rows) - 1) // (most - 1) for index in range(most)}
        rows = [row for index, row in enumerate(rows) if index in wanted or row is chosen]
    left = len(front) - len(rows)
    family = DEVICES[device].family
    doubt = "" if CALIBRATED[family] == family else ", LUTs not calibrated"
    more = f"; {left:,} more in pareto.csv, or with -v" if left else ""
    kept = [name for name in COLUMNS if name not in SELDOM or any(map(SELDOM[name], front))]
    cells = (_cells(row, row is chosen) for row in rows)
    return Sheet(
        f"{device} at {front[0]['clock_mhz']:g} MHz: Pareto front of {len(front):,} Plans, "
        f"analytic{doubt}{more}",
        tuple(kept),
        tuple(tuple(several[name] for name in kept) for several in cells),
    )


COLUMNS = (
    "XNOR", "MACs", "front", "lanes", "T", "weights", "constants", "batch", "frames/s", "latency",
    "LUT", "RAM18", "DSP", "MB/s", "fullest", "bound by",
)  # fmt: skip
SELDOM: dict[str, Callable[[Row], bool]] = {
    "front": lambda row: bool(row["front_out"]),
    "constants": lambda row: row["constants"] == "logic",
    "batch": lambda row: row["batch"] > 1,
    "latency": lambda row: bool(row["front_out"]) or row["batch"] > 1,
}
"""Columns that are left away unless a row has something to say: without fronts and batches a
frame's latency is its interval."""


def _cells(row: Row, chosen: bool) -> dict[str, Cell]:
    found = (
        f"{'* ' if chosen else ''}{array_name(row)}", _macs(row), front_name(row), row["lanes"],
        row["tile_pixels"], f"{source_of(row)} {row['bus']}",
        "LUTs" if row["constants"] == "logic" else "", row["batch"],
        f"{row['fps']:,.1f}", duration(latency(row)), row["LUT"], row["RAM18"], row["DSP"],
        f"{row['bandwidth'] / 1e6:,.1f}", f"{row['fullest']} {row['share']:.0%}", row["binds"],
    )  # fmt: skip
    return dict(zip(COLUMNS, found, strict=True))


def _macs(row: Row) -> Cell:
    kinds = mac_kinds(row["mac_packing"], row["lanes"] * row["lut_macs"])
    macs = row["lanes"] * row["mac_out"]
    return f"{macs}{kinds}" if kinds else macs


def summary_sheet(result: Result) -> Sheet:
    """How many Plans there were per device, and what became of them."""
    rows = tuple(
        (
            found.device, sum(found.counts.values()), found.counts[FITS],
            found.counts[TOO_LARGE], found.counts[FAILED], len(result.fronts[found.device]),
        )
        for found in result.explored
    )  # fmt: skip
    columns = ("device", "Plans", FITS, TOO_LARGE, FAILED, "front")
    return Sheet(f"{result.program.name}: Plans, analytic", columns, rows)


def synthesis_sheet(result: Result, device: str) -> Sheet:
    """Estimated and synthesized resources of the Plans that were synthesized, and the clock."""
    by_point = {row["point"]: row for row in result.fronts[device]}
    rows = []
    for measured in result.measured[device]:
        row, found = by_point[measured.point], measured.found
        pairs = [f"{row[name]:,} / {_figure(found.get(name))}" for name in NAMES]
        rate = found["fmax"] * 1e6 / row["interval"] if found.get("fmax") else None
        rows.append(
            (
                array_name(row), _macs(row), *pairs,
                found.get("fmax"), rate, found.get("error") or found.get("note") or "",
            )
        )  # fmt: skip
    columns = (
        "XNOR", "MACs", *(f"{name} analytic / synthesized" for name in NAMES), "MHz routed",
        "frames/s at routed MHz", "",
    )  # fmt: skip
    return Sheet(f"{device}: synthesized", columns, tuple(rows))


NAMES = ("LUT", "FF", "RAM18", "DSP")


def _figure(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
