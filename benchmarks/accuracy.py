"""Accuracy of a compiled model against PyTorch's, for several widths of its tensors.

    python benchmarks/accuracy.py examples/digits/digits.pt

Test frames and labels are ``test_frames.npy`` and ``test_labels.npy`` beside the model, or those
named with options. All shares are measured on the test frames; only the scales come from the
checkpoint's calibration frames.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from r2b.frontend.importer import import_module
from r2b.ir import execute
from r2b.ir.errors import UserError
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.quantize import CalibrationReport, Preprocessing, measure, quantize
from r2b.train import checkpoint

WIDTHS = (8, 9, 10, 12, 16)
Frames = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read(model: Path) -> tuple[torch.nn.Module, Graph, Frames]:
    """Load a checkpoint: its network, its canonical Graph, its calibration frames."""
    loaded = checkpoint.load(model)
    network = checkpoint.module(loaded)
    if loaded.calibration is None:
        raise UserError(f"{model} holds no calibration frames; save it with some")
    example = torch.zeros(1, *loaded.calibration.shape[1:])
    return network, canonicalize(import_module(network, example)), loaded.calibration


def float_accuracy(network: torch.nn.Module, frames: Frames, labels: Labels) -> float:
    """Share of frames that PyTorch classifies rightly."""
    with torch.no_grad():
        logits = network(torch.from_numpy(frames).float() / 255)
    return float((logits.argmax(1).numpy() == labels).mean())


def widths_table(reports: dict[int, CalibrationReport], found: dict[int, float], wanted: float):
    """One row per width: accuracies, agreement and shares of equal sign bits."""
    table = Table(title="accuracy by width of the tensors")
    for heading in ("bits", "PyTorch", "Program", "difference", "same class", "signs, fed", "min"):
        table.add_column(heading, justify="right")
    table.add_column("signs, end to end", justify="right")
    for bits, report in reports.items():
        fed = [s.equal_signs for s in report.stages if s.equal_signs is not None]
        ends = [s.equal_signs_end_to_end for s in report.stages]
        through = [share for share in ends if share is not None]
        shares = [float(np.mean(fed)), min(fed), float(np.mean(through))] if fed else [np.nan] * 3
        cells = [f"{share:.3%}" for share in shares]
        points = f"{100 * (found[bits] - wanted):+.2f}"
        same = f"{report.top1_agreement:.2%}"
        row = (str(bits), f"{wanted:.2%}", f"{found[bits]:.2%}", points, same)
        table.add_row(*row, *cells)
    return table


def stages_table(report: CalibrationReport) -> Table:
    """One row per stage."""
    table = Table(title=f"stages at {report.act_bits} bits, {report.num_frames} frames")
    table.add_column("stage")
    for heading in ("unit, min", "unit, max", "SQNR dB", "saturated", "signs, fed", "end to end"):
        table.add_column(heading, justify="right")
    for stage in report.stages:
        table.add_row(
            stage.name,
            _number(stage.scale_min, ".3g"),
            _number(stage.scale_max, ".3g"),
            _number(stage.sqnr_db, ".1f"),
            _number(stage.saturated, ".3%"),
            _number(stage.equal_signs, ".3%"),
            _number(stage.equal_signs_end_to_end, ".3%"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def main(
    model: Annotated[Path, typer.Argument(help="Checkpoint with calibration frames.")],
    frames: Annotated[Path | None, typer.Option(help="uint8 frames, .npy.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Class of each frame, .npy.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Compare PyTorch and Programs of 8 to 16 bits on the whole test split."""
    console = Console()
    images = np.load(frames or model.parent / "test_frames.npy")
    classes = np.load(labels or model.parent / "test_labels.npy")
    try:
        network, graph, calibration = read(model)
        wanted = float_accuracy(network, images, classes)
        reports: dict[int, CalibrationReport] = {}
        found: dict[int, float] = {}
        for bits in WIDTHS:
            program, report = quantize(graph, calibration, bits)
            logits = execute.logits(program, images)
            found[bits] = float((logits.argmax(axis=1) == classes).mean())
            reports[bits] = measure(graph, program, report.origins, images, Preprocessing())
    except UserError as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(2) from error
    console.print(f"{model}: {len(images)} test frames, {len(calibration)} calibration frames")
    console.print(widths_table(reports, found, wanted))
    for report in reports.values():
        console.print(stages_table(report))
    if out is not None:
        figures = {bits: report.to_dict() for bits, report in reports.items()}
        document = {"float": wanted, "program": found, "reports": figures}
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
