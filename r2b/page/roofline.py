"""The roofline: what each stage attains, under the roof of its array and of its weight memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r2b.page import text
from r2b.page.charts import INCH, Chart, Legend
from r2b.page.model import Limits, Page, StageView
from r2b.page.svg import INK, Labels, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 340, 300
BOX = (50 / WIDTH, 44 / HEIGHT, 1 - 64 / WIDTH, 1 - 52 / HEIGHT)
ROOM = 2.0
"""Factor between the outermost point and the edge."""
NEAR = (30, 11)
"""Points whose places differ by less, across and up, in pixels, are labelled together."""

Point = tuple[StageView, Limits, float]


def roofline_chart(page: Page) -> Chart:
    """Attained multiply-accumulates per cycle against those per bit of weights loaded."""
    from matplotlib.figure import Figure

    points = list(points_of(page))
    figure, labels = Figure(figsize=(WIDTH / INCH, HEIGHT / INCH), dpi=INCH), Labels()
    axes = figure.add_axes(BOX)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _limits(axes, points)
    for engine in _engines(points):
        _roof(axes, next(limits for _, limits, _ in points if limits.engine == engine))
    for stage, limits, intensity in points:
        gid = f"point-{stage.number}"
        labels.tips[gid], labels.stages[gid] = _tip(stage, limits, intensity), stage.number
        axes.plot(
            [intensity], [limits.attained], marker="o", markersize=7, color=INK[limits.engine],
            markeredgecolor=INK["surface"], markeredgewidth=0.8, linewidth=0, gid=gid, zorder=3,
        )  # fmt: skip
    _numbers(axes, points)
    _axes(axes)
    title = "Roofline"
    slopes = {limits.engine: limits.weight_word for _, limits, _ in points}
    note = (
        "Executed multiply-accumulates per cycle against those per bit of weights loaded. The "
        f"slopes are the weight memories': {_slopes(slopes)} bits per cycle."
    )
    legend = tuple(Legend(engine, f"{engine} engine") for engine in _engines(points))
    svg = inline(figure, "roofline", "Roofline of every stage with weights", labels)
    return Chart("roofline", title, note, svg, legend)


def _slopes(words: dict[str, int]) -> str:
    return ", ".join(f"{engine} {word:,}" for engine, word in words.items())


def points_of(page: Page) -> Iterable[Point]:
    """Stages that load weights and multiply."""
    for stage in page.stages:
        limits = stage.limits
        if limits is not None and limits.intensity and limits.executed:
            yield stage, limits, limits.intensity


def _engines(points: list[Point]) -> list[str]:
    return list(dict.fromkeys(limits.engine for _, limits, _ in points))


def _limits(axes: Axes, points: list[Point]) -> None:
    places = [x for *_, x in points] + [limits.peak / limits.weight_word for _, limits, _ in points]
    heights = [limits.attained for _, limits, _ in points]
    axes.set_xlim(min(places) / ROOM, max(places) * ROOM**3)
    axes.set_ylim(min(heights) / ROOM, max(limits.peak for _, limits, _ in points) * ROOM)


def _roof(axes: Axes, limits: Limits) -> None:
    """The roof of an engine: its weight memory's slope, then its peak."""
    low, high = axes.get_xlim()
    ridge = limits.peak / limits.weight_word
    xs = [low, ridge, high]
    colour = INK[limits.engine]
    axes.plot(xs, [low * limits.weight_word, limits.peak, limits.peak], color=colour, linewidth=1.6)
    axes.annotate(
        f"{limits.peak:,} MACs/cycle", (high, limits.peak), (0, 4), textcoords="offset points",
        ha="right", color=colour,
    )  # fmt: skip


@dataclass
class Group:
    """Points that are near the first of them, in pixels of the picture, and their stages."""

    places: list[tuple[float, float]]
    numbers: list[int]

    def near(self, x: float, y: float) -> bool:
        """Whether a place is near."""
        first = self.places[0]
        return abs(first[0] - x) < NEAR[0] and abs(first[1] - y) < NEAR[1]


def _numbers(axes: Axes, points: list[Point]) -> None:
    """The stages' numbers, at the side with more room; those of near points stand together."""
    middle = axes.bbox.x0 + axes.bbox.width / 2
    for group in _groups(axes, points):
        left = group.places[0][0] > middle
        place = min(group.places) if left else max(group.places)
        axes.annotate(
            ranges(group.numbers), place, (-7 if left else 7, -3), xycoords="figure pixels",
            textcoords="offset points", ha="right" if left else "left", va="top",
            bbox={"facecolor": INK["surface"], "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _groups(axes: Axes, points: list[Point]) -> list[Group]:
    groups: list[Group] = []
    for stage, limits, intensity in points:
        x, y = map(float, axes.transData.transform((intensity, limits.attained)))
        found = next((group for group in groups if group.near(x, y)), None)
        if found is None:
            groups.append(found := Group([], []))
        found.places.append((x, y))
        found.numbers.append(stage.number)
    return groups


def ranges(numbers: list[int]) -> str:
    """``1, 3-5`` of rising numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _axes(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=8))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", length=0, pad=4)
    axes.grid(which="major")
    axes.set_xlabel("MACs per bit of weights loaded")
    axes.set_ylabel("MACs per cycle")


def _tip(stage: StageView, limits: Limits, intensity: float) -> str:
    return (
        f"{stage.name}\n{limits.attained:,.1f} of {limits.peak:,} MACs per cycle, "
        f"{text.percent(limits.utilisation)}\n{intensity:.2f} MACs per bit of weights loaded"
    )
