"""Numbers as the page writes them."""

from __future__ import annotations

from bisect import bisect_right

PREFIXES = ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
DASH = "–"
"""Where there is no figure."""


def count(value: float | None) -> str:
    """``1,234``."""
    return DASH if value is None else f"{value:,.0f}"


def short(value: float, unit: str = "") -> str:
    """``1.23 M``: three digits and a prefix."""
    place = max(0, bisect_right(PREFIXES, abs(value), key=lambda entry: entry[0]) - 1)
    size, prefix = PREFIXES[place]
    scaled = value / size
    digits = 0 if scaled == int(scaled) and scaled < 1000 else max(0, 3 - len(f"{scaled:.0f}"))
    return f"{scaled:.{digits}f} {prefix}{unit}".strip()


def percent(share: float | None, digits: int = 1) -> str:
    """``12.3 %``."""
    return DASH if share is None else f"{share * 100:.{digits}f} %"


def real(value: float | None, digits: int = 1) -> str:
    """``1.2``."""
    return DASH if value is None else f"{value:,.{digits}f}"


def size(bits: float) -> str:
    """``12.3 KiB`` of a number of bits."""
    value = bits / 8
    for unit in ("B", "KiB", "MiB"):
        if value < 1024 or unit == "MiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def kib(bits: float) -> str:
    """KiB of a number of bits, two digits."""
    return DASH if not bits else f"{bits / 8192:,.2f}"


def duration(seconds: float) -> str:
    """``12.3 µs`` of a number of seconds."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size or unit == "µs":
            break
    return f"{seconds / size:.3g} {unit}"
