"""``report.html`` from the content of ``report.json``: one file, no request, always the same."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from r2b.page import charts, network, sections, tables, text
from r2b.page.model import Page, Report, page_of
from r2b.page.roofline import points_of, roofline_chart
from r2b.page.svg import drawing

PAGE_FILE = "report.html"
TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"


@dataclass(frozen=True)
class Fact:
    """A figure at the head of the page; ``state`` is a CSS class."""

    title: str
    figure: str
    note: str = ""
    state: str = ""


def write_page(report: Report, folder: Path) -> None:
    """Write ``report.html``."""
    (folder / PAGE_FILE).write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """The page of a report."""
    page = page_of(report)
    loader = environment()
    script = _file(loader, SCRIPT)
    return loader.get_template(TEMPLATE).render(
        page=page,
        facts=facts_of(page),
        drawing=network.draw(page),
        node=network,
        charts=charts_of(page),
        tables=tables.tables_of(page),
        sections=sections.sections_of(page),
        style=Markup(_file(loader, STYLE)),
        script=Markup(script),
        script_hash=hash_of(script),
    )


def environment() -> Environment:
    """Templates in which everything is escaped and nothing may be missing."""
    return Environment(
        loader=PackageLoader("r2b.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _file(loader: Environment, name: str) -> str:
    """Style or script as it stands."""
    assert loader.loader is not None
    return loader.loader.get_source(loader, name)[0].strip()


def hash_of(script: str) -> str:
    """What the page's security policy calls the one script it runs."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def charts_of(page: Page) -> list[charts.Chart]:
    """Every chart for which there are figures."""
    with drawing():
        found = [charts.work_chart(page), charts.memory_chart(page)]
        if page.machine is None:
            return found
        found.insert(0, charts.cycles_chart(page))
        found += [charts.utilisation_chart(page), charts.bounds_chart(page)]
        return [*found, *([roofline_chart(page)] if any(points_of(page)) else [])]


def facts_of(page: Page) -> list[Fact]:
    """The figures at the head of the page."""
    found = [
        Fact("binary MACs", text.short(page.work.binary), "per frame"),
        Fact("real MACs", text.short(page.work.real), "per frame"),
        Fact("weights", text.size(page.kept.weights), f"{text.size(page.kept.real_weights)} real"),
        Fact(
            "top-1 agreement", text.percent(page.top1_agreement),
            f"with the float network, {page.calibration_frames} frames",
        ),
    ]  # fmt: skip
    return [*_speed(page), *found, *_room(page), *_verdict(page)]


def _speed(page: Page) -> list[Fact]:
    rate, machine = page.frames_per_second, page.machine
    if rate is None or machine is None:
        return []
    clock = f"{machine.clock_mhz:g} MHz"
    batch = page.sections.get("hardware", {}).get("batch", 1)
    name = "cycles per frame" if batch == 1 else f"cycles per {batch} frames"
    note = f"{text.duration(batch / rate)} at {clock}"
    if page.front_cycles and page.cycles is not None:
        rest = page.cycles - page.front_cycles
        note += f", {page.front_cycles:,} of the front beside {rest:,}"
    return [
        Fact("frames per second", text.short(rate), f"at {clock}, predicted"),
        Fact(name, text.count(page.period), note),
    ]


def _room(page: Page) -> list[Fact]:
    """What is fullest of the device, where that is known."""
    hardware = page.sections.get("hardware", {})
    shares: dict[str, float] = hardware.get("shares") or {}
    if not shares or page.machine is None:
        return []
    name = max(shares, key=lambda key: shares[key])
    share = text.percent(shares[name])
    note = f"the fullest resource of {page.machine.device}, estimated"
    return [Fact(f"{name} needed", share, note, "bad" if shares[name] > 1 else "")]


def _verdict(page: Page) -> list[Fact]:
    found = page.verdict
    if found is None:
        return []
    note = f"{found.differing_bits:,} of {found.compared_bits:,} bits differ, {found.frames} frames"
    word, state = ("EQUAL", "good") if found.equal else ("DIFFERENT", "bad")
    return [Fact("Verilog and Program", word, note, state)]
