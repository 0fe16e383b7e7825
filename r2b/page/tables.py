"""The page's tables as data: what stands in a cell, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from r2b.page import text
from r2b.page.model import Page, StageView

Number = int | float | None


@dataclass(frozen=True)
class Cell:
    """A cell.

    Parameters
    ----------
    text : str
    value : number or None
        What it is sorted by; None sorts by the text, an absent figure last.
    small : str
        A second line.
    code : bool
        In the fixed font.
    stage : int or None
        Number of the stage that the cell names: a link to the network.
    bar : float or None
        Share that is drawn behind the text.
    """

    text: str
    value: Number = None
    small: str = ""
    code: bool = False
    stage: int | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A column: ``numeric`` stands at the right."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """A row; ``stage`` is the number of the stage it tells of, or None."""

    cells: tuple[Cell, ...]
    stage: int | None = None


@dataclass(frozen=True)
class Table:
    """A table with its caption, and perhaps a last row of totals."""

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    total: Row | None = None

    @property
    def heading(self) -> int:
        """Place of the word that names the last row: the first one in it."""
        cells = self.total.cells if self.total else ()
        return next((place for place, cell in enumerate(cells) if cell.text), 0)


StageCells = Callable[[StageView], Iterable[Cell]]


def tables_of(page: Page) -> list[Table]:
    """Every table, in the order of the page."""
    found = [format_table(page), work_table(page), memory_table(page)]
    if page.machine is not None:
        found.insert(0, performance_table(page))
    return [*found, fidelity_table(page)]


def _stages(
    page: Page, key: str, caption: str, columns: Sequence[Column], cells: StageCells,
    total: Sequence[Cell] = (),
) -> Table:  # fmt: skip
    """A table of one row per stage."""
    rows = tuple(Row((*_named(stage), *cells(stage)), stage.number) for stage in page.stages)
    head = (Column("#"), Column("stage", False), *columns)
    last = Row((Cell(""), Cell("total"), *total)) if total else None
    return Table(key, caption, head, rows, last)


def _named(stage: StageView) -> tuple[Cell, Cell]:
    return (
        Cell(str(stage.number), stage.number),
        Cell(stage.name, code=True, stage=stage.number),
    )


def _count(value: int | None) -> Cell:
    return Cell(text.count(value or None), value or None)


def _words(words: str, code: bool = False) -> Cell:
    return Cell(words or text.DASH, code=code)


# ---------------------------------------------------------------------------------------- tables


def performance_table(page: Page) -> Table:
    """Cycles, utilisation, what binds."""
    columns = [
        Column("engine", False), Column("cycles"), Column("measured"), Column("of frame"),
        Column("MACs executed"), Column("MACs/cycle"), Column("peak"), Column("utilisation"),
        Column("MACs/weight bit"), Column("binds", False),
    ]  # fmt: skip
    frame = page.cycles or 1

    def cells(stage: StageView) -> Iterable[Cell]:
        limits = stage.limits
        if limits is None:
            return
        share = limits.cycles / frame
        yield Cell(limits.engine)
        yield _count(stage.cycles)
        yield _count(stage.measured)
        yield Cell(text.percent(share), share)
        yield _count(limits.executed)
        yield Cell(text.real(limits.attained), limits.attained)
        yield _count(limits.peak)
        yield Cell(text.percent(limits.utilisation), limits.utilisation)
        yield Cell(text.real(limits.intensity, 2), limits.intensity)
        yield Cell(limits.binds)

    executed = sum(stage.limits.executed for stage in page.stages if stage.limits)
    attained = executed / (page.period or frame)  # the halves work beside each other
    total = [
        Cell(""), _count(page.cycles), _count(page.measured), Cell(text.percent(1.0)),
        _count(executed), Cell(text.real(attained), attained), Cell(""), Cell(""), Cell(""),
        Cell(""),
    ]  # fmt: skip
    return _stages(page, "performance", "Cycles and what binds", columns, cells, total)


def format_table(page: Page) -> Table:
    """Operands of every stage, and which stages make them."""
    columns = [
        Column("operation", False), Column("input", False), Column("weights", False),
        Column("output", False), Column("reads, from stage", False),
    ]  # fmt: skip
    makers = {value: stage.number for stage in page.stages for value in stage.writes}

    def cells(stage: StageView) -> Iterable[Cell]:
        reads = [f"{read.role} {makers.get(read.value, 'frame')}" for read in stage.reads]
        yield Cell(stage.kind + (", gated" if stage.gated else ""))
        yield _words(stage.source, code=True)
        yield _words(stage.weight, code=True)
        yield _words(stage.result, code=True)
        yield Cell(", ".join(reads))

    found = _stages(page, "formats", "Operands and formats", columns, cells)
    return replace(found, rows=tuple(map(_placed, found.rows, page.stages)))


def _placed(row: Row, stage: StageView) -> Row:
    """A stage's row with its place in the user's model."""
    number, name, *rest = row.cells
    return replace(row, cells=(number, replace(name, small=stage.location), *rest))


def work_table(page: Page) -> Table:
    """Multiply-accumulates, padding included."""
    columns = [Column("binary MACs"), Column("real MACs"), Column("both"), Column("of frame")]
    whole = page.work.total or 1

    def cells(stage: StageView) -> Iterable[Cell]:
        share = stage.work.total / whole
        yield _count(stage.work.binary)
        yield _count(stage.work.real)
        yield _count(stage.work.total)
        yield Cell(text.percent(share), share)

    total = [
        _count(page.work.binary), _count(page.work.real), _count(page.work.total),
        Cell(text.percent(1.0)),
    ]  # fmt: skip
    caption = "Multiply-accumulates per frame, padding included"
    return _stages(page, "work", caption, columns, cells, total)


def memory_table(page: Page) -> Table:
    """What each stage keeps."""
    names = ("binary_weights", "real_weights", "tensor", "signs", "total")
    titles = ("binary weights", "real weights", "fixed tensor", "sign maps", "all")

    def cells(stage: StageView) -> Iterable[Cell]:
        return [_kib(getattr(stage.kept, name)) for name in names]

    total = [_kib(getattr(page.kept, name)) for name in names]
    columns = [Column(title) for title in titles]
    return _stages(page, "memory", "Memory in KiB", columns, cells, total)


def _kib(bits: int) -> Cell:
    return Cell(text.kib(bits), bits or None)


def fidelity_table(page: Page) -> Table:
    """How well each stage follows the float network."""
    columns = [
        Column("SQNR, dB"),
        Column("saturated"),
        Column("equal signs, fed"),
        Column("end to end"),
    ]

    def cells(stage: StageView) -> Iterable[Cell]:
        found = stage.fidelity
        ratio = found and found.sqnr_db
        yield Cell(text.real(ratio), ratio)
        for name in ("saturated", "equal_signs", "equal_signs_end_to_end"):
            share: float | None = found and getattr(found, name)
            yield Cell(text.percent(share, 3), share)

    caption = f"Against the float network, {page.calibration_frames} calibration frames"
    return _stages(page, "fidelity", caption, columns, cells)
