"""What the commands share: progress, messages, and what becomes of an exception."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from r2b import __version__
from r2b.ir.errors import SharedTrainingError, UserError

EQUAL, DIFFERENT, BAD_INPUT, DEFECT, INTERRUPTED, TERMINATED = 0, 1, 2, 70, 130, 143
"""Exit statuses."""

WIDTH = 120
"""Columns where there is no terminal."""


def show_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        typer.echo(f"r2b {__version__}")
        raise typer.Exit


def make_console(stderr: bool) -> Console:
    """Console that breaks no line of its own accord."""
    console = Console(stderr=stderr, soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


@dataclass
class Reporter:
    """Prints results to standard output, and everything else to standard error.

    Parameters
    ----------
    quiet : bool
        Only errors.
    verbose : bool
        Details, and the traceback of a defect.
    as_json : bool
        Standard output holds one JSON document and nothing else.
    speaks : bool
        False in all but one of several processes that do the same: what all find, one tells.
    """

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    speaks: bool = True
    out: Console = field(default_factory=lambda: make_console(stderr=False))
    err: Console = field(default_factory=lambda: make_console(stderr=True))
    _progress: Progress | None = None

    def show(self, item: object) -> None:
        """Print a table or a line of the result."""
        if not self.quiet and not self.as_json:
            self.out.print(item)

    def warn(self, text: str) -> None:
        """Print a warning."""
        if not self.quiet:
            self.err.print(Text(f"warning: {text}", style="yellow"))

    def error(self, text: str) -> None:
        """Print an error as one message."""
        self.err.print(Text(f"error: {text}", style="red"))

    @contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """Show a progress bar of ``total`` steps while the block runs."""
        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
        hidden = self.quiet or not self.err.is_terminal
        with Progress(
            *columns, TimeElapsedColumn(), console=self.err, transient=True, disable=hidden
        ) as self._progress:
            self._progress.add_task("", total=total)
            yield
        self._progress = None

    def step(self, text: str) -> None:
        """Begin the next step of the progress bar."""
        if self._progress is not None:
            task = self._progress.tasks[0]
            self.at(task.completed + (1 if task.description else 0), text)

    def at(self, completed: float, text: str) -> None:
        """Say how far the progress bar has come."""
        if self._progress is not None:
            task = self._progress.tasks[0]
            self._progress.update(task.id, completed=completed, description=text)

    def detail(self, text: str) -> None:
        """Add to the current step's description."""
        if self._progress is not None:
            task = self._progress.tasks[0]
            first = task.description.partition(": ")[0]
            self._progress.update(task.id, description=f"{first}: {text}")


@contextmanager
def exit_statuses(
    reporter: Reporter, interrupted: str = "interrupted; nothing was written"
) -> Iterator[None]:
    """Turn exceptions of the block into one message each and the exit status."""
    try:
        yield
    except UserError as error:
        if reporter.speaks or not isinstance(error, SharedTrainingError):
            reporter.error(str(error))
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        reporter.error(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception as error:
        if reporter.verbose:
            reporter.err.print(Text(traceback.format_exc()))
        brief = " ".join(f"{type(error).__name__}: {error}".split())
        reporter.error(f"this is a defect of r2b, please report it: {brief:.300} (-v shows where)")
        raise typer.Exit(DEFECT) from None


@contextmanager
def termination() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that it cleans up what it began."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    """Raise SystemExit, once: a second signal does not stop the cleaning."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)
