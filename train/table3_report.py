"""The table, its plot and its file of figures, next to what the paper says."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2b.train import experiment, files
from r2b.train.table3 import BASELINE, ROWS, SUFFIX, Job

STAGES = ("stage1", "stage2")
Figure = tuple[float, float | None]
"""Mean over the seeds, and their sample deviation; one seed has none."""


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Parameters
    ----------
    name, title : str
        Of the experiment.
    top1, top5 : dict of str to Figure
        By stage, percent of the test part.
    gain : float or None
        Stage 2 above the strong baseline's with the same shortcuts, top-1.
    seeds : int
        How many runs.
    paper : Figures or None
        The paper's, CIFAR-100 at full width.
    """

    name: str
    title: str
    top1: dict[str, Figure]
    top5: dict[str, Figure]
    gain: float | None
    seeds: int
    paper: experiment.Figures | None


def lines(results: Mapping[Job, dict[str, Any]], rows: Iterable[str] = ROWS) -> tuple[Line, ...]:
    """Summarise the results of every row."""
    return tuple(_line(name, results) for name in rows)


def _line(name: str, results: Mapping[Job, dict[str, Any]]) -> Line:
    chosen, found = experiment.load(name), _of(name, results)
    top1, top5 = (
        {stage: _figure([run["test"][stage][which] for run in found]) for stage in _stages(found)}
        for which in (0, 1)
    )
    return Line(
        name, chosen.title, top1, top5, _gain(name, top1, results), len(found), chosen.paper
    )


def _of(name: str, results: Mapping[Job, dict[str, Any]]) -> list[dict[str, Any]]:
    return [result for job, result in results.items() if job.name == name]


def _stages(found: list[dict[str, Any]]) -> list[str]:
    return [stage for stage in STAGES if stage in found[0]["test"]]


def _figure(values: list[float]) -> Figure:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def _gain(
    name: str, top1: dict[str, Figure], results: Mapping[Job, dict[str, Any]]
) -> float | None:
    baseline = BASELINE + (SUFFIX if name.endswith(SUFFIX) else "")
    found = _of(baseline, results)
    if name == baseline or "stage2" not in top1 or not found:
        return None
    return top1["stage2"][0] - _figure([run["test"]["stage2"][0] for run in found])[0]


HEADINGS = (
    "method", "stage 1", "stage 2", "gain", "top-5", "paper: stage 1", "stage 2", "gain",
)  # fmt: skip


def cells(line: Line, baseline: Line | None) -> tuple[str, ...]:
    """Return the texts of a row, under :data:`HEADINGS`."""
    last = list(line.top5)[-1]
    paper = line.paper
    return (
        line.title,
        *(_text(line.top1.get(stage)) for stage in STAGES),
        "" if line.gain is None else f"{line.gain:+.1f}",
        _text(line.top5[last]),
        "" if paper is None else f"{paper.stage1[0]:.2f}",
        "" if paper is None or paper.stage2 is None else f"{paper.stage2[0]:.2f}",
        _paper_gain(line, baseline),
    )


def _text(figure: Figure | None) -> str:
    if figure is None:
        return ""
    mean, deviation = figure
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _paper_gain(line: Line, baseline: Line | None) -> str:
    if baseline is None or baseline is line or not (line.paper and baseline.paper):
        return ""
    if line.paper.stage2 is None or baseline.paper.stage2 is None:
        return ""
    return f"{line.paper.stage2[0] - baseline.paper.stage2[0]:+.2f}"


def table(found: Iterable[Line]) -> list[tuple[str, ...]]:
    """Return the texts of all rows."""
    found = tuple(found)
    by_name = {line.name: line for line in found}
    return [
        cells(line, by_name.get(BASELINE + (SUFFIX if line.name.endswith(SUFFIX) else "")))
        for line in found
    ]


def write(found: Iterable[Line], folder: Path) -> tuple[Path, ...]:
    """Write ``table3.md``, ``table3.csv`` and ``table3.png``; return their paths."""
    found = tuple(found)
    paths = tuple(folder / f"table3.{kind}" for kind in ("md", "csv", "png"))
    files.write(paths[0], markdown(found).encode())
    files.write(paths[1], as_csv(found).encode())
    files.write(paths[2], plot(found))
    return paths


def markdown(found: Iterable[Line]) -> str:
    """Return the table in Markdown."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *table(found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def as_csv(found: Iterable[Line]) -> str:
    """Return all figures, unrounded, one line per row and stage."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ("experiment", "stage", "seeds", "top1", "top1_deviation", "top5", "top5_deviation",
         "paper_top1", "paper_top5")
    )  # fmt: skip
    for line in found:
        for stage in line.top1:
            paper = getattr(line.paper, stage) if line.paper else None
            writer.writerow(
                (line.name, stage, line.seeds, *line.top1[stage], *line.top5[stage],
                 *(paper or ("", "")))
            )  # fmt: skip
    return buffer.getvalue()


def plot(found: Iterable[Line]) -> bytes:
    """Draw top-1 with its deviation, both stages of every row, as a PNG."""
    # without pyplot: no window, no global state
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    found = tuple(reversed(tuple(found)))
    drawing = Drawing(figsize=(8, 0.45 * len(found) + 1.2), layout="constrained")
    axes = drawing.add_subplot()
    for offset, stage, colour in ((0.18, "stage1", "tab:blue"), (-0.18, "stage2", "tab:orange")):
        shown = [(y, line.top1[stage]) for y, line in enumerate(found) if stage in line.top1]
        axes.errorbar(
            [mean for _, (mean, _) in shown],
            [y + offset for y, _ in shown],
            xerr=[deviation or 0 for _, (_, deviation) in shown],
            fmt="o",
            capsize=3,
            color=colour,
            label=stage.replace("stage", "stage "),
        )
    axes.set_yticks(range(len(found)), [_label(line) for line in found])
    axes.set_xlabel("top-1 accuracy on the test part, percent; mean and deviation over the seeds")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(drawing).print_png(buffer)
    return buffer.getvalue()


def _label(line: Line) -> str:
    return line.title
