"""The bars: one row per stage, the same rows in every chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from r2b.page import text
from r2b.page.model import Page, StageView
from r2b.page.network import shorten
from r2b.page.svg import INK, Labels, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW = 340, 21
"""Of a chart and of its row, in pixels of the page."""
NAMES, FIGURES, AXIS, TOP = 144, 54, 26, 4
"""Room for the stages' names, for the figures at the bars, for the axis, and above."""
NAME_LENGTH = 23
INCH = 72
KIB = 8192
"""Bits; an axis counts in KiB, so that its marks are round."""
BAR = 0.62
BOUNDS = {"compute": ("binary", "o"), "weights": ("real", "s"), "epilogue": ("tensor", "^"),
          "gate": ("vector", "D")}  # fmt: skip
"""Colour and marker of each bound."""


@dataclass(frozen=True)
class Legend:
    """An entry: ``shape`` is a CSS class of the swatch."""

    colour: str
    text: str
    shape: str = "box"


@dataclass(frozen=True)
class Chart:
    """A figure with what stands around it."""

    key: str
    title: str
    note: str
    svg: Markup
    legend: tuple[Legend, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of every bar: its colour, its name, and its length for a stage."""

    colour: str | Callable[[StageView], str]
    name: str
    value: Callable[[StageView], float]

    def colour_of(self, stage: StageView) -> str:
        """Colour of a stage's bar."""
        return self.colour if isinstance(self.colour, str) else self.colour(stage)


class Rows:
    """A chart of one row per stage: the axes, and the names at the left."""

    def __init__(self, stages: Sequence[StageView]) -> None:
        # it is loaded when there is something to draw
        from matplotlib.figure import Figure

        self.stages = stages
        self.labels = Labels()
        height = len(stages) * ROW + AXIS + TOP
        self.figure: Figure = Figure(figsize=(WIDTH / INCH, height / INCH), dpi=INCH)
        self.axes: Axes = self.figure.add_axes(
            (NAMES / WIDTH, AXIS / height, (WIDTH - NAMES - FIGURES) / WIDTH,
             1 - (AXIS + TOP) / height)
        )  # fmt: skip
        self.axes.set_ylim(len(stages) - 0.5, -0.5)
        self.axes.set_yticks([])
        self.axes.grid(axis="x")
        self.axes.tick_params(axis="x", length=0, pad=5)
        for row, stage in enumerate(stages):
            self._name(row, stage)

    def _name(self, row: int, stage: StageView) -> None:
        gid = f"name-{stage.number}"
        self.labels.texts[gid] = shorten(stage.name, NAME_LENGTH)
        self.labels.stages[gid] = stage.number
        self.axes.text(
            -6 / (WIDTH - NAMES - FIGURES), row, "name", ha="right", va="center_baseline",
            transform=self.axes.get_yaxis_transform(), gid=gid,
        )  # fmt: skip

    def tip(self, gid: str, stage: StageView, words: str) -> str:
        """Note a mark's tooltip; gives the gid back."""
        self.labels.tips[gid] = f"{stage.name}\n{words}"
        self.labels.stages[gid] = stage.number
        return gid

    def figure_at(self, row: int, value: float, words: str, space: int = 4) -> None:
        """Write a figure behind a bar, ``space`` pixels from it."""
        self.axes.annotate(
            words, (value, row), (space, 0), textcoords="offset points", va="center_baseline",
            color=INK["ink"], annotation_clip=False,
        )  # fmt: skip

    def svg(self, key: str, name: str) -> Markup:
        """The chart in the page."""
        return inline(self.figure, key, name, self.labels)


def bars(
    page: Page, key: str, name: str, parts: Sequence[Part], words: Callable[[float], str]
) -> Rows:
    """Bars of parts, one behind the other, with the sum behind them."""
    rows = Rows(page.stages)
    totals = [sum(part.value(stage) for part in parts) for stage in page.stages]
    for row, (stage, total) in enumerate(zip(page.stages, totals, strict=True)):
        start = 0.0
        for number, part in enumerate(parts):
            length = part.value(stage)
            if length:
                gid = f"bar-{stage.number}-{number}"
                tip = rows.tip(gid, stage, f"{part.name}: {words(length)}")
                rows.axes.barh(
                    row, length, BAR, start, color=INK[part.colour_of(stage)], linewidth=0
                )[0].set_gid(tip)
            start += length
        rows.figure_at(row, total, words(total) if total else text.DASH)
    _scale(rows.axes, max(totals))
    return rows


def _scale(axes: Axes, largest: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, largest or 1)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: text.short(value))


# ---------------------------------------------------------------------------------------- charts


def work_chart(page: Page) -> Chart:
    """Multiply-accumulates per stage."""
    parts = (
        Part("binary", "binary MACs", lambda stage: stage.work.binary),
        Part("real", "real MACs", lambda stage: stage.work.real),
    )
    title = "Operations"
    rows = bars(page, "work", title, parts, text.short)
    note = "Multiply-accumulates per frame, padding counted as publications do."
    legend = (Legend("binary", "binary"), Legend("real", "real: contraction, gate, factors"))
    return Chart("work", title, note, rows.svg("work", f"{title} of every stage"), legend)


def cycles_chart(page: Page) -> Chart:
    """Cycles per stage, with what was measured."""
    part = Part(lambda stage: stage.engine, "predicted cycles", lambda stage: stage.cycles or 0)
    title = "Cycles"
    rows = bars(page, "cycles", title, (part,), text.count)
    for row, stage in enumerate(page.stages):
        if stage.measured is not None:
            gid = rows.tip(f"measured-{stage.number}", stage, f"measured: {stage.measured:,}")
            rows.axes.plot(
                [stage.measured] * 2, [row - 0.45, row + 0.45], color=INK["ink"], linewidth=1.6,
                clip_on=False, gid=gid,
            )  # fmt: skip
    note = "Per frame, predicted from the Plan and declared latencies; coloured by engine."
    legend = [Legend(name, f"{name} engine") for name in _engines(page)]
    if page.measured is not None:
        legend.append(Legend("ink", "measured in the simulated Verilog", "tick"))
    svg = rows.svg("cycles", f"{title} of every stage")
    return Chart("cycles", title, note, svg, tuple(legend))


def _engines(page: Page) -> list[str]:
    return list(dict.fromkeys(stage.engine for stage in page.stages))


def memory_chart(page: Page) -> Chart:
    """What each stage keeps."""
    parts = (
        Part("binary", "binary weights", lambda stage: stage.kept.binary_weights / KIB),
        Part("real", "real weights", lambda stage: stage.kept.real_weights / KIB),
        Part("tensor", "fixed tensor", lambda stage: stage.kept.tensor / KIB),
        Part("none", "sign maps", lambda stage: stage.kept.signs / KIB),
    )
    title = "Memory, KiB"
    rows = bars(page, "memory", title, parts, lambda kib: text.size(kib * KIB))
    note = "Weights, and the values a stage writes for later ones."
    legend = tuple(Legend(str(part.colour), part.name) for part in parts)
    return Chart("memory", title, note, rows.svg("memory", f"{title} of every stage"), legend)


def utilisation_chart(page: Page) -> Chart:
    """Share of its array's peak that each stage attains."""

    def share(stage: StageView) -> float:
        return stage.limits.utilisation if stage.limits else 0.0

    title = "Utilisation"
    part = Part(lambda stage: stage.engine, "of the array's peak", share)
    rows = bars(page, "utilisation", title, (part,), text.percent)
    _shares(rows.axes)
    note = "Executed multiply-accumulates per cycle, of the peak of the stage's own array."
    legend = tuple(Legend(name, f"{name} engine") for name in _engines(page))
    svg = rows.svg("utilisation", f"{title} of every stage")
    return Chart("utilisation", title, note, svg, legend)


def bounds_chart(page: Page) -> Chart:
    """How near each lower bound is to the stage's cycles."""
    rows = Rows(page.stages)
    for row, stage in enumerate(page.stages):
        for name, (colour, marker) in BOUNDS.items():
            _bound(rows, row, stage, name, INK[colour], marker)
        if stage.limits is not None:
            rows.figure_at(row, 1, stage.limits.binds, 8)
    _shares(rows.axes)
    title = "What binds"
    note = (
        "Each lower bound of a stage's cycles, as a share of them; the largest binds, or the "
        "pipeline where none reaches half."
    )
    legend = tuple(Legend(colour, name, f"m{marker}") for name, (colour, marker) in BOUNDS.items())
    return Chart("bounds", title, note, rows.svg("bounds", f"{title} every stage"), legend)


def _bound(rows: Rows, row: int, stage: StageView, name: str, colour: str, marker: str) -> None:
    limits = stage.limits
    value = getattr(limits, name) if limits else 0
    if limits is None or not value:
        return
    share = value / limits.cycles
    gid = rows.tip(
        f"bound-{stage.number}-{name}", stage,
        f"{name}: {value:,} of {limits.cycles:,} cycles, {text.percent(share)}",
    )  # fmt: skip
    rows.axes.plot(
        [share], [row], marker=marker, markersize=6.5, color=colour, clip_on=False, gid=gid,
        markeredgecolor=INK["surface"], markeredgewidth=0.8, linewidth=0,
    )  # fmt: skip


def _shares(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
