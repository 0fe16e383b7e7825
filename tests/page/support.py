"""Reports to make pages of, and what an HTML parser finds in a page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from r2b.backends.fpga.planner import make_plan
from r2b.ir.errors import Location
from r2b.ir.program import Program
from r2b.ir.quantize import CalibrationReport
from r2b.ir.quantize.lower import Origins
from r2b.ir.quantize.report import StageReport
from r2b.report import make_report
from r2b.verify import Verification
from tests.hw.programs import random_program

VOID = {"meta", "link", "br", "img", "input", "hr"}


def calibration(program: Program) -> CalibrationReport:
    stages = tuple(
        StageReport(stage.name, "", 12, 0.1, 0.2, 40.0 + number, 0.001, 0.99, None)
        for number, stage in enumerate(program.stages)
    )
    return CalibrationReport(16, program.act_bits, stages, 0.875, Origins())


def report_of(
    seed: int = 0,
    planned: bool = True,
    verified: bool = False,
    name: str | None = None,
    changes: dict[str, Any] | None = None,
    **shape: Any,
) -> dict[str, Any]:
    """Content of a report.json, as it is read again; ``name`` renames the second stage,
    ``changes`` are the Plan's.
    """
    program = random_program(seed, **{"blocks": 1, **shape})
    if name is not None:
        first, second, *rest = program.stages
        second = replace(second, name=name, location=Location(name, name))
        program = replace(program, name=name, stages=(first, second, *rest))
    usual = {"parallelism": (8, 8)} | (changes or {})
    plan = make_plan(program, "ecp5-85f", **usual) if planned else None
    found = None
    if verified:
        cycles = {stage.name: 1000 for stage in (*program.stages, program.head)}
        found = Verification(3, True, 0, 4242, sum(cycles.values()), cycles, ())
    return json.loads(json.dumps(make_report(program, plan, calibration(program), found)))


class Parsed(HTMLParser):
    """A page: elements with their attributes and texts, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[int] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self.open:
            self.texts[place] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def find(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of every such element."""
        return [
            (found, text.strip())
            for (name, found), text in zip(self.elements, self.texts, strict=True)
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]

    def table(self, key: str) -> list[list[str]]:
        """Texts of a table's cells, row by row, headings and totals too."""
        return [[cell.text for cell in row] for row in self._rows(key)]

    def values(self, key: str) -> list[list[float | None]]:
        """What the figures of a table's body are sorted by."""
        rows = [row for row in self._rows(key) if all(cell.tag == "td" for cell in row)]
        return [
            [float(cell.value) if cell.value else None for cell in row if cell.value is not None]
            for row in rows
        ]

    def _rows(self, key: str) -> list[list[Cell]]:
        rows: list[list[Cell]] = []
        inside = False
        for (tag, attributes), text in zip(self.elements, self.texts, strict=True):
            if tag == "table":
                inside = attributes.get("id") == f"table-{key}"
            if inside and tag == "tr":
                rows.append([])
            elif inside and tag in ("td", "th"):
                rows[-1].append(Cell(tag, text.strip(), attributes.get("data-value")))
        return rows


class Cell:
    """A cell of a table."""

    def __init__(self, tag: str, text: str, value: str | None) -> None:
        self.tag, self.text, self.value = tag, text, value
