"""A table of plain values, and the ways to print it: for a terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

Cell = str | int | float | None
"""None is an empty cell."""


@dataclass(frozen=True)
class Sheet:
    """A table of plain values.

    Parameters
    ----------
    title : str
    columns : tuple of str
    rows : tuple of tuple
    signed : frozenset of int
        Columns of differences, written with their sign.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    signed: frozenset[int] = frozenset()

    def texts(self) -> list[list[str]]:
        """Cells as they are read: 1,234,567; +12; 5.13."""
        return [[self._text(cell, column) for column, cell in enumerate(row)] for row in self.rows]

    def _text(self, cell: Cell, column: int) -> str:
        if cell is None:
            return ""
        if isinstance(cell, str):
            return cell
        sign = "+" if column in self.signed and cell else ""
        if isinstance(cell, int) or cell.is_integer():
            return f"{int(cell):{sign},d}"
        return f"{cell:{sign},.3f}"

    def is_number(self, column: int) -> bool:
        """Tell whether a column holds numbers."""
        return any(isinstance(row[column], int | float) for row in self.rows)


def as_table(sheet: Sheet) -> Table:
    """For a terminal."""
    table = Table(title=sheet.title, box=box.SIMPLE)
    for column, heading in enumerate(sheet.columns):
        number = sheet.is_number(column)
        justify = "right" if number else "left"
        table.add_column(heading, justify=justify, no_wrap=number, overflow="fold")
    for row in sheet.texts():
        table.add_row(*row)
    return table


def as_markdown(sheet: Sheet) -> str:
    """A table of Markdown under its title."""
    rules = ["---:" if sheet.is_number(column) else "---" for column in range(len(sheet.columns))]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in sheet.texts()]
    lines = [_line(row) for row in (sheet.columns, rules, *escaped)]
    return "\n".join([f"**{sheet.title}**", "", *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_csv(sheet: Sheet) -> str:
    """Comma-separated values, numbers as they are; no two columns have one name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    left = ("", *sheet.columns)
    writer.writerow(
        f"{left[column]} {heading}" if column in sheet.signed else heading
        for column, heading in enumerate(sheet.columns)
    )
    writer.writerows(sheet.rows)
    return text.getvalue().rstrip("\n")
