"""Writes ``reference.py``: the kernels' own source text, and one line per stage of the network.

Nothing is computed a second time: the functions of :mod:`r2b.ir.arith` and :mod:`r2b.ir.kernels`
stand in the emitted file as they stand there.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from r2b.ir import arith, kernels, program
from r2b.ir.execute import STAGES
from r2b.ir.program import BinaryConv, Identity, Pool, Program, RealConv, Stage
from r2b.ir.serialize import PROGRAM_FILE, WEIGHTS_FILE, read_array, save

REFERENCE_FILE = "reference.py"

CONSTANTS = (
    ("SIGMOID_ENTRIES", arith.SIGMOID_ENTRIES),
    ("SIGMOID_BITS", arith.SIGMOID_BITS),
    ("VECTOR_BITS", program.VECTOR_BITS),
    ("FLOAT32_EXACT", kernels.FLOAT32_EXACT),
)

SECTIONS: tuple[tuple[str, tuple[Callable[..., Any], ...]], ...] = (
    (
        "arithmetic",
        (
            arith.rs,
            arith.bounds,
            arith.sat,
            arith.piecewise_affine,
            arith.threshold,
            arith.sigmoid_table,
        ),
    ),
    ("values", (kernels.Trace, read_array)),
    (
        "contractions",
        (
            kernels.sliding_windows,
            kernels.convolve,
            kernels.binary_conv,
            kernels.real_conv,
            kernels.pool,
        ),
    ),
    ("gate and head", (kernels.mean_vector, kernels.dense, kernels.gate_slopes)),
    (
        "epilogue and sinks",
        (kernels.affine_step, kernels.skip_step, kernels.saturate_step, kernels.finish),
    ),
)
"""What is copied for every network, in order; the kinds of stages that it has come behind."""


def emit(source: Program, folder: str | Path) -> None:
    """Write ``program.json``, ``weights.npz`` and ``reference.py`` into a folder.

    The folder is made if need be. Equal Programs give equal bytes.
    """
    save(source, folder)
    (Path(folder) / REFERENCE_FILE).write_text(render(source), encoding="utf-8")


def render(source: Program) -> str:
    """Text of ``reference.py``."""
    used = {type(stage.contraction) for stage in source.stages}
    kinds = [function for contraction, function in STAGES.items() if contraction in used]
    sections = (*SECTIONS, ("kinds of stages", (*kinds, kernels.head_stage)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(f"{REFERENCE_FILE}.j2").render(
        program=source,
        title=_plain(source.name),
        constants=CONSTANTS,
        sections=[
            (heading, "\n\n\n".join(map(_text, functions))) for heading, functions in sections
        ],
        lines=[_line(stage) for stage in source.stages],
        program_file=PROGRAM_FILE,
        weights_file=WEIGHTS_FILE,
    )


def _text(function: Callable[..., Any]) -> str:
    return inspect.getsource(function).strip()


def _line(stage: Stage) -> str:
    """Call of a stage, with what it does as a comment."""
    function = STAGES[type(stage.contraction)].__name__
    return f"{function}(trace, STAGES[{json.dumps(stage.name)}])  # {_plain(_describe(stage))}"


def _plain(text: str) -> str:
    """Text of the user's that cannot end the comment or the docstring it stands in."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def _describe(stage: Stage) -> str:
    parts = [_contraction(stage)]
    parts += ["gated"] if stage.gate else []
    parts += [f"+ {step.source}" for step in stage.epilogue if isinstance(step, program.Skip)]
    parts += ["maximum"] if stage.pool else []
    shape = "x".join(map(str, stage.shape))
    return f"{' '.join(parts)} -> {shape}"


def _contraction(stage: Stage) -> str:
    match stage.contraction:
        case BinaryConv(window=window) | RealConv(window=window) | Pool(window=window):
            return "x".join(map(str, window.kernel))
        case Identity():
            return "1x1"
