"""The gallery: every network from its author's file to Verilog, one row each.

    python benchmarks/gallery.py                       # all of it
    python benchmarks/gallery.py --only bireal18 --only mlp --no-verilog
    python benchmarks/gallery.py --narrow              # the Graph at the narrow width, too

The Graph is compared with PyTorch at full topology and full width (``--narrow``: narrowed). The
Program, its NumPy code and its Verilog are made from the narrow network on small pictures (8
channels or so, 16 to 32 pixels), which has the same operations in the same order;
``--program-full`` makes the Program from the full network, without Verilog.

Rows are appended to ``--state`` as they are done; networks in that file are not run again.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import gallery_checks as checks
import typer
from rich.console import Console
from rich.table import Table

from r2b.ir.errors import UserError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "gallery"
sys.path.insert(0, str(EXAMPLES))
registry: Any = importlib.import_module("registry")
pictures: Any = importlib.import_module("pictures")

GRAPH_FRAMES = 4
CALIBRATION = 64
REFERENCE_FRAMES = 8
TOLERANCE = 1e-4
NEAR_ZERO = 1e-5
"""Distance from 0, in deviations, within which rounding may turn a sign."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What is run.

    Parameters
    ----------
    narrow : bool
        Compare the Graph of the narrow network.
    program_full : bool
        Make the Program from the full network.
    verilog : int
        Frames to simulate; 0 for none.
    parallelism : str
        Of the simulated accelerator.
    """

    narrow: bool = False
    program_full: bool = False
    verilog: int = 2
    parallelism: str = "8x8"


def run_entry(entry: Any, settings: Settings) -> Row:
    """One row; what fails is told in ``errors`` and does not stop the rest."""
    begin = time.perf_counter()
    row: Row = {"name": entry.name, "binary": entry.binary, "checkpoint": entry.checkpoint}
    row["errors"] = {}
    row["graph_at"] = "narrow" if settings.narrow else "full"
    row["program_at"] = "full" if settings.program_full else "narrow"
    attempt(row, "graph", lambda: row.update(run_graph(entry, settings.narrow)))
    attempt(row, "program", lambda: run_program(row, entry, settings))
    row["seconds"] = time.perf_counter() - begin
    return row


def attempt(row: Row, step: str, function: Callable[[], Any]) -> None:
    """Run a step; keep the message of what it raises."""
    try:
        function()
    except UserError as error:
        row["errors"][step] = str(error)
    except Exception as error:  # a defect is a row of the table, not the end of it
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        row["errors"][step] = f"{type(error).__name__} at {where}: {error}"


def load(entry: Any, narrow: bool) -> Any:
    """Write the network's file, and load it as a user does."""
    with tempfile.TemporaryDirectory() as folder:
        path = registry.store(entry, registry.make(entry, narrow), folder, narrow)
        states = entry.checkpoint in ("state_dict", "nested", "parallel")
        factory = entry.factory if states else None
        return checks.load_network(
            path, factory, entry.keywords(narrow), entry.checkpoint == "pickle"
        )


def run_graph(entry: Any, narrow: bool) -> Row:
    """Figures of the Graph."""
    network = load(entry, narrow)
    frames = pictures.pictures(GRAPH_FRAMES, entry.shape(narrow), seed=1)
    graph, seconds = checks.import_graph(network, frames)
    return asdict(checks.graph_figures(network, graph, frames, seconds))


def run_program(row: Row, entry: Any, settings: Settings) -> None:
    """Figures of the Program, and the Verilog's."""
    narrow = not settings.program_full
    calibration = pictures.pictures(CALIBRATION, entry.shape(narrow), seed=2)
    graph, _ = checks.import_graph(load(entry, narrow), calibration[:GRAPH_FRAMES])
    program, report, seconds = checks.make_program(graph, calibration, entry.sign_zero, entry.name)
    frames = calibration[:REFERENCE_FRAMES]
    row.update(asdict(checks.program_figures(program, report, frames, seconds)))
    if settings.verilog and narrow:
        part = frames[: settings.verilog]
        attempt(row, "verilog", lambda: run_verilog(row, program, part, settings.parallelism))


def run_verilog(row: Row, program: Any, frames: Any, parallelism: str) -> None:
    """Outcome of the simulation."""
    row["verilog"], row["verilog_text"] = checks.verilog_result(program, frames, parallelism)


# ------------------------------------------------------------------------------------------- table


def is_right(row: Row) -> bool:
    """Whether nothing failed; operations that the hardware lacks are no failure."""
    return (
        not row["errors"]
        and row["recognised"] == row["binary"]
        and row["operation_error"] <= TOLERANCE
        and (row["relative"] <= TOLERANCE or (row["sign"] and row["distance"] <= NEAR_ZERO))
        and row["reference"] == 0
        and row.get("verilog") != "differs"
    )


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("network", lambda row: row["name"]),
    ("file", lambda row: row["checkpoint"]),
    ("binary", lambda row: f"{row.get('recognised', '-')}/{row['binary']}"),
    ("operation", lambda row: _number(row.get("operation_error"), ".1e")),
    ("end to end", lambda row: _end_to_end(row)),
    ("frontend s", lambda row: _number(row.get("frontend_seconds"), ".1f")),
    ("signs min", lambda row: _number(row.get("signs_min"), ".2%")),
    ("signs mean", lambda row: _number(row.get("signs_mean"), ".2%")),
    ("top-1", lambda row: _number(row.get("top1"), ".0%")),
    ("NumPy", lambda row: _equal(row.get("reference"))),
    ("Verilog", lambda row: row.get("verilog", "-")),
)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _end_to_end(row: Row) -> str:
    if row.get("sign"):
        return f"{row['frames']} turned, 0 ± {row['distance']:.0e}"
    return _number(row.get("relative"), ".1e")


def _equal(count: int | None) -> str:
    return "-" if count is None else f"{count} differ" if count else "equal"


def cells(row: Row) -> list[str]:
    """Text of a row."""
    return [text(row) for _, text in COLUMNS]


def rich_table(rows: list[Row]) -> Table:
    """All rows for a terminal."""
    table = Table(title="gallery")
    for heading, _ in COLUMNS:
        table.add_column(heading, justify="left" if heading in ("network", "file") else "right")
    for row in rows:
        table.add_row(*cells(row), style=None if is_right(row) else "red")
    return table


def markdown(rows: list[Row]) -> str:
    """All rows for a document."""
    lines = [[heading for heading, _ in COLUMNS], ["---"] * len(COLUMNS), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def remarks(rows: list[Row]) -> list[str]:
    """Errors, missing operations and differences, one text each."""
    found: list[str] = []
    for row in rows:
        found += [f"{row['name']}: {step}: {text}" for step, text in row["errors"].items()]
        if row.get("sign"):
            place = (
                f"first sign that differs: {row['sign']}, {row['distance']:.1e} deviations from 0"
            )
            found.append(f"{row['name']}: {place}, {row['frames']} frames")
        if row.get("verilog") in ("missing", "differs"):
            found.append(f"{row['name']}: Verilog: {row['verilog_text']}")
    return found


# ------------------------------------------------------------------------------------ command line


def read_state(path: Path | None) -> list[Row]:
    """Rows of an earlier run."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chosen(only: list[str]) -> list[Any]:
    """Entries to run, all by default."""
    names = {entry.name: entry for entry in registry.GALLERY}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise typer.BadParameter(f"no network {unknown[0]!r}; there are: {', '.join(names)}")
    return [names[name] for name in only] if only else list(registry.GALLERY)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Network; may be given again.")] = None,
    narrow: Annotated[bool, typer.Option("--narrow/--full", help="Width of the Graph.")] = False,
    program_full: Annotated[bool, typer.Option(help="Program at full width.")] = False,
    verilog: Annotated[bool, typer.Option(help="Simulate the Verilog.")] = True,
    frames: Annotated[int, typer.Option(help="Frames to simulate.")] = 2,
    parallelism: Annotated[str, typer.Option(help="PINxPOUT.")] = "8x8",
    state: Annotated[Path | None, typer.Option(help="Rows done, JSON lines.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
    page: Annotated[Path | None, typer.Option("--markdown", help="Write the table.")] = None,
) -> None:
    """Run the gallery and print its table; the exit status is 1 where something is wrong."""
    console = Console()
    settings = Settings(narrow, program_full, frames if verilog else 0, parallelism)
    entries = chosen(only or [])
    done = {row["name"]: row for row in read_state(state)}
    for entry in entries:
        if entry.name not in done:
            console.print(f"{entry.name} ...", highlight=False)
            done[entry.name] = run_entry(entry, settings)
            if state is not None:
                with state.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[entry.name]) + "\n")
    rows = [done[entry.name] for entry in entries]
    console.print(rich_table(rows))
    for text in remarks(rows):
        console.print(text, style="yellow", markup=False, highlight=False)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        page.write_text(markdown(rows), encoding="utf-8")
    if not all(is_right(row) for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
