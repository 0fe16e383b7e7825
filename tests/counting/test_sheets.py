"""A table in every form."""

from __future__ import annotations

import io

from rich.console import Console

from r2b.sheets import Sheet, as_csv, as_markdown, as_table

SHEET = Sheet(
    "a title",
    ("name", "count", "+/-", "MiB"),
    (("one|two", 1234567, None, 5.125), ("x", 0, 12, 2.0), ("y", 3, -1, 0.5)),
    frozenset({2}),
)


def test_markdown():
    assert as_markdown(SHEET).splitlines() == [
        "**a title**",
        "",
        "| name | count | +/- | MiB |",
        "| --- | ---: | ---: | ---: |",
        "| one\\|two | 1,234,567 |  | 5.125 |",
        "| x | 0 | +12 | 2 |",
        "| y | 3 | -1 | 0.500 |",
    ]


def test_csv():
    assert (
        as_csv(SHEET) == "name,count,count +/-,MiB\none|two,1234567,,5.125\nx,0,12,2.0\ny,3,-1,0.5"
    )


def test_terminal():
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(as_table(SHEET))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines[0] == ["a", "title"]
    assert lines[2] == ["name", "count", "+/-", "MiB"]
    assert lines[4:7] == [
        ["one|two", "1,234,567", "5.125"],
        ["x", "0", "+12", "2"],
        ["y", "3", "-1", "0.500"],
    ]
