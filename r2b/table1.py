"""``r2b-count table1``: the paper's Table 1 beside what is counted here.

The paper (Martinez et al., ICLR 2020) prints four digits and no rule. They are truncated, not
rounded: 1,695,547,392 is printed 1.695e9. The integers beside them are the rule's, for 224 pixels
and for the CIFAR-100 form of the networks, which the paper has no figures of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2b.console import Reporter
from r2b.counting import Counted, CountOptions, count_models
from r2b.frontend.loading import Request
from r2b.sheets import Cell, Sheet

Pair = tuple[int, int]
"""BOPS and FLOPS."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    method : str
        As the paper calls it.
    printed : pair of str
        What the paper prints.
    large, small : pair of int
        What the rule gives for 224 pixels and 1000 classes, and for 32 pixels and 100 classes.
    """

    method: str
    printed: tuple[str, str]
    large: Pair
    small: Pair


ROWS: dict[str, Row] = {
    "bnn": Row(
        "BNN",
        ("1.695e9", "1.314e8"),
        (1_695_547_392, 131_446_272),
        (553_648_128, 4_663_296),
    ),
    "xnor-net": Row(
        "XNOR-Net",
        ("1.695e9", "1.333e8"),
        (1_695_547_392, 133_302_784),
        (553_648_128, 5_269_504),
    ),
    "double-skip": Row(
        "Double Skip",
        ("1.695e9", "1.351e8"),
        (1_695_547_392, 135_159_296),
        (553_648_128, 5_875_712),
    ),
    "bi-real": Row(
        "Bi-Real",
        ("1.676e9", "1.544e8"),
        (1_676_279_808, 154_426_880),
        (547_356_672, 12_167_168),
    ),
    "real-to-binary": Row(
        "Ours (Real-to-Binary)",
        ("1.676e9", "1.564e8"),
        (1_676_279_808, 156_410_704),
        (547_356_672, 13_018_960),
    ),
    "full-precision": Row("Full Precision", ("0", "1.826e9"), (0, 1_826_993_664), (0, 558_311_424)),
}
"""Rows by the name of the zoo's networks, without their size."""


@dataclass(frozen=True)
class Comparison:
    """The table beside what was counted.

    Parameters
    ----------
    sheet : Sheet
    differing : tuple of str
        A line for each figure that differs.
    models : tuple of Counted
        For 224 pixels, then for 32, in the order of the rows.
    """

    sheet: Sheet
    differing: tuple[str, ...]
    models: tuple[Counted, ...]


def compare(reporter: Reporter | None = None) -> Comparison:
    """Build every network of the table, count it, and compare."""
    names = [f"{name}-{size}" for size in (224, 32) for name in ROWS]
    requests = [Request(Path(name)) for name in names]
    return compared(count_models(requests, CountOptions(), None, reporter))


def compared(models: Sequence[Counted]) -> Comparison:
    """Compare counts with the table.

    Parameters
    ----------
    models : sequence of Counted
        By the convention ``paper``, for 224 pixels and then for 32, in the order of :data:`ROWS`.
    """
    large, small = models[: len(ROWS)], models[len(ROWS) :]
    rows: list[tuple[Cell, ...]] = []
    differing: list[str] = []
    for row, left, right in zip(ROWS.values(), large, small, strict=True):
        found = _pair(left)
        rows.append((row.method, *_beside(row, found), *_pair(right)))
        differing += _differences(row, left.name, found, row.large)
        differing += _differences(row, right.name, _pair(right), row.small)
        differing += [
            f"{row.method}, {left.name}: {what} are printed {theirs} in the paper, not {ours}"
            for what, theirs, ours in zip(_WHAT, row.printed, map(printed, found), strict=True)
            if theirs != ours
        ]
    columns = (
        "method",
        "BOPS",
        "paper's BOPS",
        "FLOPS",
        "paper's FLOPS",
        "CIFAR: BOPS",
        "CIFAR: FLOPS",
    )
    sheet = Sheet("Table 1, 224x224, and its CIFAR-100 form, 32x32", columns, tuple(rows))
    return Comparison(sheet, tuple(differing), tuple(models))


_WHAT = ("BOPS", "FLOPS")


def _pair(model: Counted) -> Pair:
    return model.count.bops, model.count.flops


def _beside(row: Row, found: Pair) -> tuple[Cell, ...]:
    return found[0], row.printed[0], found[1], row.printed[1]


def _differences(row: Row, name: str, found: Pair, expected: Pair) -> list[str]:
    return [
        f"{row.method}, {name}: {mine:,} {what}, the rule gives {theirs:,}"
        for what, mine, theirs in zip(_WHAT, found, expected, strict=True)
        if mine != theirs
    ]


def printed(value: int) -> str:
    """Write a figure as the paper does: its first four digits, the others cut off."""
    digits = str(value)
    if len(digits) <= 4:
        return digits
    return f"{digits[0]}.{digits[1:4]}e{len(digits) - 1}"
