"""Matplotlib's figures as SVG inside the page, in the page's own colours and fonts.

A figure is drawn in the colours of :data:`INK`, which stand for the page's CSS variables, so that
it follows light and dark without a script. Texts of the user never pass through Matplotlib: a
figure holds place-holders, and :class:`Labels` says what stands there in the page.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (
    "ink", "muted", "line", "surface", "binary", "real", "vector", "none", "tensor", "signs",
    "front",
)  # fmt: skip
"""CSS variables that a figure may use."""
INK = {name: f"#00f1{number:02x}" for number, name in enumerate(COLOURS)}
"""What Matplotlib draws for them."""
FONT = "DejaVu Sans"
"""Matplotlib's own: the same measures everywhere."""
SIZE = 11
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "r2b",
    "font.family": FONT,
    "font.size": SIZE,
    "text.color": INK["ink"],
    "text.parse_math": False,
    "axes.edgecolor": INK["line"],
    "axes.labelcolor": INK["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": INK["line"],
    "ytick.color": INK["line"],
    "xtick.labelcolor": INK["muted"],
    "ytick.labelcolor": INK["muted"],
    "grid.color": INK["line"],
    "grid.linewidth": 0.7,
    "figure.facecolor": "none",
}


@dataclass
class Labels:
    """What stands in the page for the parts of a figure, by their gid.

    Parameters
    ----------
    texts : dict
        Text that takes the place of a place-holder.
    tips : dict
        Tooltip of a mark.
    stages : dict
        Number of the stage that a part belongs to.
    """

    texts: dict[str, str] = field(default_factory=dict)
    tips: dict[str, str] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib as it was shipped, in the page's style, whatever the user has set.

    It logs where it keeps its font cache and that it makes one; no user of r2b wants to know.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield
    finally:
        log.setLevel(level)


def inline(figure: Figure, key: str, name: str, labels: Labels) -> Markup:
    """A figure as an ``svg`` element; ``key`` goes before its ids, ``name`` is read aloud."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for part in root.findall("{*}metadata"):
        root.remove(part)
    for element in root.iter():
        _strip(element)
    for defs in root.iter("defs"):
        for style in defs.findall("style"):
            defs.remove(style)
    for group in root.iter("g"):
        _label(group, labels)
    for element in root.iter():
        _rename(element, key)
    view = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": view, "role": "img", "aria-label": name, "class": "chart"})
    return Markup(_coloured(ElementTree.tostring(root, encoding="unicode")))


def _strip(element: ElementTree.Element) -> None:
    """Take the namespaces away: an HTML parser knows them."""
    element.tag = element.tag.rpartition("}")[2]
    attributes = {name.rpartition("}")[2]: text for name, text in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update(attributes)
    element.tail = element.tail and element.tail.strip()
    if element.tag != "text":
        element.text = element.text and element.text.strip()


def _label(group: ElementTree.Element, labels: Labels) -> None:
    """Put the page's text, tooltip and stage where a gid asks for them."""
    gid = group.get("id", "")
    if gid in labels.texts:
        for text in group.iter("text"):
            text.text = labels.texts[gid]
    if gid in labels.tips:
        group.set("class", "mark")
        title = ElementTree.Element("title")
        title.text = labels.tips[gid]
        group.insert(0, title)
    if gid in labels.stages:
        group.set("data-stage", str(labels.stages[gid]))


def _rename(element: ElementTree.Element, key: str) -> None:
    """Ids and what refers to them, so that two figures share none."""
    for name, text in element.attrib.items():
        if name == "id":
            element.set(name, f"{key}-{text}")
        elif name == "href":
            element.set(name, f"#{key}-{text.removeprefix('#')}")
        elif "url(#" in text:
            element.set(name, text.replace("url(#", f"url(#{key}-"))


def _coloured(text: str) -> str:
    """Place-holders of colours and of the font as the page's."""
    for name, ink in INK.items():
        text = text.replace(ink, f"var(--{name})")
    return re.sub(rf"&apos;{FONT}&apos;|'{FONT}'", "var(--sans)", text)
