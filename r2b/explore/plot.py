"""``explore.html``: one interactive plot in one file that asks for nothing from outside."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from r2b.explore.evaluate import Row
from r2b.explore.front import describe, latency
from r2b.ir.errors import UserError
from r2b.page.text import duration

MOST_DOTS = 2000
"""Plans per device that are drawn besides its front; more make a page slow."""
COSTS = {
    "LUT": "LUTs (analytic)",
    "RAM18": "18 kb block RAMs (analytic)",
    "DSP": "DSPs (analytic)",
    "bandwidth": "bytes per second over the ports (analytic)",
    "latency": "cycles from a frame's first to its result (analytic)",
    "share": "share of the device, fullest resource (analytic)",
}
"""Column of the horizontal axis -> its title."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The browser refuses every request."""


def require_plotly() -> None:
    """Refuse to begin without the package that draws.

    Raises
    ------
    UserError
        It is not installed.
    """
    if find_spec("plotly") is None:
        raise UserError(
            "exploring needs plotly, which is not installed; install it with: pip install "
            "'r2b[explore]'"
        )


def page(
    title: str,
    fits: Mapping[str, Sequence[Row]],
    fronts: Mapping[str, Sequence[Row]],
    chosen: Mapping[str, Row],
) -> str:
    """Text of the page.

    Parameters
    ----------
    title : str
    fits, fronts : mapping of str to list of dict
        Device -> rows that fit, and those on the front.
    chosen : mapping of str to dict
        Device -> the row that was picked.
    """
    figure, drawn = _figure(title, fits, fronts, chosen)
    body = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id="explore",
        config={"displaylogo": False, "responsive": True},
    )  # fmt: skip
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<title>{name}</title>\n</head>\n<body style="font-family: sans-serif">\n{body}\n'
        f"<p>{html.escape(drawn)}</p>\n</body>\n</html>\n"
    )


def _figure(
    title: str,
    fits: Mapping[str, Sequence[Row]],
    fronts: Mapping[str, Sequence[Row]],
    chosen: Mapping[str, Row],
) -> tuple[Any, str]:
    import plotly.graph_objects as go

    figure, groups, left = go.Figure(), [], 0
    for index, device in enumerate(fits):
        colour, front = COLOURS[index % len(COLOURS)], fronts[device]
        on_front = {row["point"] for row in front}
        rest = [row for row in fits[device] if row["point"] not in on_front]
        dots = thinned(rest)
        left += len(rest) - len(dots)
        groups += [dots, front, [chosen[device]] if device in chosen else []]
        looks = (
            (f"{device}: fits", {"size": 4, "opacity": 0.35, "color": colour}),
            (f"{device}: front", {"size": 9, "color": colour}),
            (f"{device}: chosen", {"size": 16, "symbol": "star", "color": colour,
                                   "line": {"width": 1, "color": "black"}}),
        )  # fmt: skip
        for (name, marker), rows in zip(looks, groups[-3:], strict=True):
            figure.add_trace(
                go.Scatter(
                    x=[row["LUT"] for row in rows], y=[row["fps"] for row in rows],
                    mode="markers", name=name, marker=marker, text=[hover(row) for row in rows],
                    hoverinfo="text",
                )
            )  # fmt: skip
    buttons = [
        {"label": column, "method": "update",
         "args": [{"x": [[row[column] for row in rows] for rows in groups]},
                  {"xaxis.title.text": text}]}
        for column, text in COSTS.items()
    ]  # fmt: skip
    figure.update_layout(
        title=title, xaxis_title=COSTS["LUT"], yaxis_title="frames per second (analytic)",
        template="plotly_white", height=760, hovermode="closest",
        updatemenus=[{"buttons": buttons, "x": 1.0, "y": 1.12, "xanchor": "right"}],
    )  # fmt: skip
    drawn = "Every figure is analytic: the cost model, not synthesis."
    if left:
        drawn += f" {left:,} Plans that fit are not drawn; plans.csv has all."
    return figure, drawn


def thinned(rows: Sequence[Row]) -> list[Row]:
    """At most MOST_DOTS of the rows, evenly spread over them."""
    if len(rows) <= MOST_DOTS:
        return list(rows)
    return [rows[index * len(rows) // MOST_DOTS] for index in range(MOST_DOTS)]


def hover(row: Row) -> str:
    """What is said of a Plan under the pointer."""
    return "<br>".join(
        (
            f"<b>{row['device']}</b> at {row['clock_mhz']:g} MHz, {row['fps']:,.1f} frames/s, "
            f"latency {duration(latency(row))}",
            describe(row),
            f"{row['LUT']:,} LUT, {row['FF']:,} FF, {row['RAM18']:,} RAM18, {row['DSP']:,} DSP",
            f"fullest: {row['fullest']} {row['share']:.0%}",
            f"{row['bandwidth'] / 1e6:,.1f} MB/s, bound by {row['binds']}",
        )
    )
