"""Opens ``report.html`` in headless Chromium; fails on a console message and on any request.

    python benchmarks/check_report.py build/digits.r2b                 # a folder, or a page
    python benchmarks/check_report.py build/digits.r2b --screenshots build/report

Needs ``chromium`` and ``chromedriver`` (Debian: ``apt-get install chromium chromium-driver``), and
nothing from Python but r2b's own environment: it speaks the WebDriver protocol itself.

Every page is opened light and dark, at desktop and at phone width. Each time it is checked that

- the console is silent, and nothing but the page itself was requested;
- the page is no wider than the window, and no text is fainter than WCAG's AA asks (4.5 : 1);
- every table sorts by every column, up and down, and says so in ``aria-sort``;
- the button goes from the system's setting to light, to dark, and back;
- without scripts the figures and the tables are still there.

First of all a page with a fault of each kind is opened, and each fault must be found.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import typer

THEMES = ("light", "dark")
WIDTHS = {"desktop": (1280, 900, 1), "phone": (390, 844, 2)}
"""Width, height, device pixels per pixel."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
FUNCTIONS = Path(__file__).with_suffix(".js")
QUESTIONS = {"wide": "wide()", "faint": "faint(4.5)", "sort": "sorting()", "theme": "theming()"}
"""Kinds of faults, and the calls that find them."""
START = re.compile(r"started successfully on port (\d+)")
FAULTY = """<!doctype html><html lang="en"><title>faulty</title>
<p style="width: 3000px; color: #999; background: #fff">wide and faint</p>
<table><thead><tr><th aria-sort="none" data-sort="number"><button>n</button></th></tr></thead>
<tbody><tr><td data-value="2">2</td></tr><tr><td data-value="1">1</td></tr></tbody></table>
<img alt="" src="http://127.0.0.1:9/picture.png"><script>console.error("a fault")</script>"""
"""A page with one fault of every kind."""
FAULTS = ("console", "request", "wide", "faint", "sort", "theme", "scripts")


class CheckError(Exception):
    """The check itself cannot run."""


@dataclass
class Browser:
    """A session of chromedriver."""

    url: str
    session: str = ""
    opened: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, content: Any = None) -> Any:
        """One command of the protocol; gives its value."""
        data = None if method != "POST" else json.dumps(content or {}).encode()
        headers = {"Content-Type": "application/json"}
        url = self.url + self.session + path
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise CheckError(json.load(error)["value"]["message"]) from error

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str) -> Any:
        """Run a function's body in the page."""
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def log(self, kind: str) -> list[Any]:
        """What the browser noted since the last time."""
        return self.call("POST", "/se/log", {"type": kind})


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium with a profile of its own."""
    driver, chromium = which("chromedriver"), which("chromium") or which("chromium-browser")
    if driver is None or chromium is None:
        raise CheckError(
            "needs chromium and chromedriver: apt-get install chromium chromium-driver"
        )
    with tempfile.TemporaryDirectory() as profile, _driver(driver) as url:
        found = Browser(url)
        session = found.call("POST", "/session", _capabilities(chromium, profile))
        found.session = f"/session/{session['sessionId']}"
        try:
            yield found
        finally:
            found.call("DELETE", "")


@contextlib.contextmanager
def _driver(program: str) -> Iterator[str]:
    """A chromedriver on a port of its choice."""
    with subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next((m for line in process.stdout if (m := START.search(line))), None)
            if found is None:
                raise CheckError("chromedriver did not start")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()


def _capabilities(chromium: str, profile: str) -> dict[str, Any]:
    options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={profile}"]}
    logging = {"browser": "ALL", "performance": "ALL"}
    return {
        "capabilities": {
            "alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logging}
        }
    }


# ----------------------------------------------------------------------------------------- checks


def check(session: Browser, page: Path, theme: str, width: str, pictures: Path | None) -> list[str]:
    """Everything that is wrong with a page, each with its kind first."""
    _open(session, page, theme, width)
    if pictures is not None:
        _screenshot(session, pictures / f"{page.parent.stem}-{width}-{theme}.png")
    found = [*_asked(session), *_noise(session, page)]
    return [*found, *_without_scripts(session, page)]


def _open(session: Browser, page: Path, theme: str, width: str) -> None:
    columns, rows, scale = WIDTHS[width]
    media = [{"name": "prefers-color-scheme", "value": theme}]
    session.devtools("Emulation.setEmulatedMedia", features=media)
    session.devtools(
        "Emulation.setDeviceMetricsOverride",
        width=columns, height=rows, deviceScaleFactor=scale, mobile=width == "phone",
    )  # fmt: skip
    session.call("POST", "/url", {"url": "about:blank"})
    for kind in ("browser", "performance"):
        session.log(kind)
    session.call("POST", "/url", {"url": page.as_uri()})


def _noise(session: Browser, page: Path) -> Iterator[str]:
    """Console messages and requests since the last call."""
    for entry in session.log("browser"):
        yield f"console: {entry['level']} {entry['message']}"
    for entry in session.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url: str = message["params"]["request"]["url"]
            if url.partition("#")[0] != page.as_uri() and not url.startswith("data:"):
                yield f"request: {url}"


def _asked(session: Browser) -> Iterator[str]:
    """What the functions in the page find."""
    functions = FUNCTIONS.read_text(encoding="utf-8")
    for kind, call in QUESTIONS.items():
        for text in session.run(f"{functions}\nreturn {call};"):
            yield f"{kind}: {text}"


def _without_scripts(session: Browser, page: Path) -> Iterator[str]:
    """What is missing where scripts do not run."""
    session.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        session.call("POST", "/url", {"url": page.as_uri()})
        tree = session.devtools("DOMSnapshot.captureSnapshot", computedStyles=[])
        names = tree["strings"]
        nodes = [names[index] for index in tree["documents"][0]["nodes"]["nodeName"]]
        for name in ("TD", "svg"):
            if nodes.count(name) < 2:
                yield f"scripts: without them there is no {name} on the page"
    finally:
        session.devtools("Emulation.setScriptExecutionDisabled", value=False)


def _screenshot(session: Browser, path: Path) -> None:
    """The whole page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = session.devtools("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    picture = session.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    path.write_bytes(b64decode(picture["data"]))


def check_the_check(session: Browser) -> None:
    """CheckError unless every fault of a faulty page is found."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "faulty.html"
        page.write_text(FAULTY, encoding="utf-8")
        found = check(session, page, "light", "desktop", None)
    missed = [kind for kind in FAULTS if not any(text.startswith(kind) for text in found)]
    if missed:
        raise CheckError(f"the check misses faults of a faulty page: {', '.join(missed)}")


# ---------------------------------------------------------------------------------------- command


def main(
    paths: Annotated[list[Path], typer.Argument(help="Output folders, or pages.")],
    screenshots: Annotated[Path | None, typer.Option(help="Folder for pictures.")] = None,
) -> None:
    """Check reports in a browser."""
    pages = [(path / "report.html" if path.is_dir() else path).resolve() for path in paths]
    missing = [str(page) for page in pages if not page.is_file()]
    if missing:
        raise typer.BadParameter(f"there is no {', '.join(missing)}")
    failed = False
    with browser() as session:
        check_the_check(session)
        for page in pages:
            for theme in THEMES:
                for width in WIDTHS:
                    found = check(session, page, theme, width, screenshots)
                    failed |= bool(found)
                    name = f"{page.parent.name}/{page.name}, {theme}, {width}"
                    print(f"{name}: {len(found)} faults" if found else f"{name}: good")
                    for text in found:
                        print(f"  {text}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except CheckError as error:
        sys.exit(f"check_report: {error}")
