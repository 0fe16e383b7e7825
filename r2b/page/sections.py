"""Parts of a report that are shown as they are: hardware cost, and operations by a convention.

Whatever they hold is shown: single figures as facts, records as tables. Only what stands on the
page already is left out, and what a device has, what is needed and the shares become one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r2b.page import text
from r2b.page.model import Page, Report
from r2b.page.tables import Cell, Column, Row, Table

TITLES = {"hardware": "Resources", "operations": "Operations as the model is written"}
SHOWN = {"hardware": ("stages", "frame_cycles", "needs", "shares", "total"), "operations": ()}
"""Entries that stand elsewhere on the page."""
WORDS = {
    "lut": "LUT", "lutram": "LUT RAM", "ff": "FF", "ram18": "RAM18", "dsp": "DSP", "bops": "BOPS",
    "flops": "FLOPS", "macs": "MACs", "fps": "frames per second",
}  # fmt: skip
"""Keys that are not written as they stand."""


@dataclass(frozen=True)
class Section:
    """A part of the page: facts, then tables."""

    key: str
    title: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]


def sections_of(page: Page) -> list[Section]:
    """Every section for which the report has something."""
    return [_section(key, content) for key, content in page.sections.items()]


def _section(key: str, content: Report) -> Section:
    facts: list[tuple[str, str]] = []
    found: list[Table] = _usage(content) if key == "hardware" else []
    for name, value in content.items():
        if name in SHOWN[key]:
            continue
        entries = _records(value)
        if entries:
            total = content.get("total") if name == "components" else None
            found.append(records(f"{key}-{name}", spaced(name), entries, total))
        else:
            facts += _facts(name, value)
    return Section(key, TITLES[key], tuple(facts), tuple(found))


def spaced(name: str) -> str:
    """A key in words."""
    return WORDS.get(name, name.replace("_", " "))


def _records(value: Any) -> list[Report]:
    """Records that a value holds: a list of them, or a mapping whose keys are their names."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return value
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        return [{"name": name, **item} for name, item in value.items()]
    return []


def _facts(name: str, value: Any) -> Iterable[tuple[str, str]]:
    """Single figures; those of a mapping one by one, nested ones not at all."""
    if not isinstance(value, dict):
        yield spaced(name), plain_text(value, name)
        return
    for key, item in value.items():
        if not isinstance(item, dict):
            yield f"{spaced(name)}, {spaced(key)}", plain_text(item, name)


def _usage(content: Report) -> list[Table]:
    """What a device must have, has, and the share of it."""
    has: Mapping[str, Any] = content.get("device", {}).get("has", {})
    needs, shares = content.get("needs", {}), content.get("shares", {})
    if not (has and needs):
        return []
    columns = (Column("resource", False), Column("needed"), Column("device has"), Column("share"))
    rows = tuple(
        Row((Cell(name), _figure(needs[name]), _figure(has.get(name)), _share(shares.get(name))))
        for name in needs
    )
    return [Table("hardware-usage", f"Of {content['device'].get('name', 'the device')}", columns,
                  rows)]  # fmt: skip


def _figure(value: Any) -> Cell:
    return Cell(plain_text(value), value)


def _share(value: float | None) -> Cell:
    return Cell(text.percent(value), value, bar=value)


def records(
    key: str, caption: str, entries: Sequence[Report], total: Report | None = None
) -> Table:
    """A table of records: a column for each entry that is nowhere nested, in order."""
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    flat = [name for name in names if all(_is_flat(entry.get(name)) for entry in entries)]
    numeric = {name: all(_is_number(entry.get(name)) for entry in entries) for name in flat}
    columns = tuple(Column(spaced(name), numeric[name]) for name in flat)
    rows = tuple(_row(entry, flat) for entry in entries)
    last = None if total is None else _row({flat[0]: "total", **total}, flat)
    return Table(key, caption[:1].upper() + caption[1:], columns, rows, last)


def _row(entry: Report, names: Sequence[str]) -> Row:
    return Row(tuple(_plain(entry.get(name), name) for name in names))


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, int) for item in value)
    return not isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _plain(value: Any, name: str) -> Cell:
    number = value if _is_number(value) else None
    return Cell(plain_text(value, name), number, code=isinstance(value, list))


def plain_text(value: Any, name: str = "") -> str:
    """Plain data in a line: numbers with separators, shapes with crosses, shares in percent."""
    match value:
        case None | "":
            return text.DASH
        case bool():
            return "yes" if value else "no"
        case float() if "share" in name or "utilisation" in name:
            return text.percent(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        case [str(), *_]:
            return ", ".join(value)
        case list():
            return "×".join(map(plain_text, value)) or text.DASH
        case _:
            return str(value)
