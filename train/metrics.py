"""The record of a run: one line per epoch, in a CSV file and for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from tensorboardX import SummaryWriter

from r2b.train import files
from r2b.train.state import Row

COLUMNS = (
    "phase", "stage", "epoch", "learning_rate", "loss", "label", "attention", "logit",
    "train_top1", "validation_top1", "validation_top5",
)  # fmt: skip
"""Accuracies are percent; a loss without a weight, and a validation that was not due, are empty."""
_COUNTERS = ("phase", "stage", "epoch")


class Metrics:
    """Writes the lines of a run; the state holds them, so a resumed run repeats and loses none.

    Parameters
    ----------
    folder : Path
        Of the run: ``metrics.csv`` and ``tensorboard/`` go there.
    rows : iterable of Row
        The lines so far; whatever the file holds beyond them is dropped.
    """

    def __init__(self, folder: Path, rows: Iterable[Row]) -> None:
        self.path = folder / "metrics.csv"
        rows = tuple(rows)
        files.write(self.path, _text(rows, header=True).encode())
        self._num_rows = len(rows)
        # purge: TensorBoard drops what a killed run had logged beyond its last state
        self._writer = SummaryWriter(
            str(folder / "tensorboard"), purge_step=len(rows), write_to_disk=True
        )

    def add(self, row: Row) -> None:
        """Append the line of an epoch."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_text([row], header=False))
        for name in COLUMNS:
            value = row.get(name)
            if name not in _COUNTERS and value is not None:
                self._writer.add_scalar(name, value, self._num_rows)
        self._num_rows += 1

    def close(self) -> None:
        """Write what TensorBoard's writer still holds."""
        self._writer.close()


def _text(rows: Iterable[Row], header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({name: _cell(row.get(name)) for name in COLUMNS} for row in rows)
    return buffer.getvalue()


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
