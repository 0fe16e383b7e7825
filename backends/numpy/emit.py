"""Writes ``reference.py``: the kernels' own source text, and one line per stage of the network.

Nothing is computed a second time: the functions of :mod:`r2b.ir.arith` and :mod:`r2b.ir.kernels`
stand in the emitted file as they stand there, those that the network's stages come to.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2

from r2b.ir import arith, contractions, kernels, program
from r2b.ir.execute import STAGES, frames_at_once
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Flatten,
    Identity,
    Pad,
    Pool,
    Program,
    RealConv,
    Stage,
)
from r2b.ir.serialize import PROGRAM_FILE, WEIGHTS_FILE, read_array, save

REFERENCE_FILE = "reference.py"

CONSTANTS = (
    ("SIGMOID_ENTRIES", arith.SIGMOID_ENTRIES),
    ("SIGMOID_BITS", arith.SIGMOID_BITS),
    ("VECTOR_BITS", program.VECTOR_BITS),
    ("FLOAT32_EXACT", contractions.FLOAT32_EXACT),
    ("COUNTED_CHANNELS", contractions.COUNTED_CHANNELS),
    ("BLOCK", kernels.BLOCK),
    ("BLOCK_WORDS", contractions.BLOCK_WORDS),
    ("BLOCK_PATCHES", contractions.BLOCK_PATCHES),
    ("BUFFER", contractions.BUFFER),
)

Function = Callable[..., Any]

SECTIONS: tuple[tuple[str, tuple[Function, ...]], ...] = (
    (
        "arithmetic",
        (
            arith.rs,
            arith.bounds,
            arith.sat,
            arith.threshold,
            arith.sigmoid_table,
            arith.gate_table,
        ),
    ),
    (
        "values",
        (
            kernels.Trace,
            kernels.value_of,
            kernels.piece,
            kernels.piece_of,
            kernels.reach_of,
            kernels.kept,
            read_array,
        ),
    ),
    (
        "contractions",
        (
            contractions.padded,
            contractions.sliding_windows,
            contractions.blocks,
            contractions.small_buffers,
            contractions.magnitude,
            contractions.convolve,
            contractions.packed,
            contractions.differing_bits,
            contractions.add_differing_bits,
            contractions.weight_words,
            contractions.equal_dots,
            contractions.count_conv,
            contractions.is_counted,
            contractions.binary_conv,
            contractions.real_conv,
            contractions.weight_limit,
            contractions.pool,
            contractions.bordered,
        ),
    ),
    (
        "gate and head",
        (
            kernels.mean_vector,
            kernels.dense,
            kernels.products,
            kernels.real_matrix,
            kernels.gate_slopes,
        ),
    ),
    (
        "epilogue and sinks",
        (
            kernels.integer_type,
            *kernels.STEPS.values(),
            kernels.directions,
            kernels.prepared,
            kernels.epilogue,
            kernels.make_sinks,
            kernels.write_sinks,
            kernels.thresholds,
            kernels.finish,
        ),
    ),
    (
        "kinds of stages",
        (*STAGES.values(), kernels.counting_constants, kernels.real_weights, kernels.head_stage),
    ),
)
"""What may be copied, in order."""

ALWAYS: tuple[Function, ...] = (kernels.Trace, read_array, kernels.head_stage)
"""What every network needs, besides the functions of its stages and of their steps."""


def emit(source: Program, folder: str | Path) -> None:
    """Write ``program.json``, ``weights.npz`` and ``reference.py`` into a folder.

    The folder is made if need be. Equal Programs give equal bytes.
    """
    save(source, folder)
    (Path(folder) / REFERENCE_FILE).write_text(render(source), encoding="utf-8")


def render(source: Program) -> str:
    """Text of ``reference.py``."""
    steps = _steps(source)
    stages = {STAGES[type(stage.contraction)] for stage in source.stages}
    names = _closure([*ALWAYS, *stages, *steps.values()])
    sections = [
        (heading, [function for function in functions if function.__name__ in names])
        for heading, functions in SECTIONS
    ]
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
        constants=[(name, value) for name, value in CONSTANTS if name in names],
        sections=[
            (heading, "\n\n\n".join(map(_text, functions)))
            for heading, functions in sections
            if functions
        ],
        steps={kind: function.__name__ for kind, function in steps.items()},
        lines=[_line(stage) for stage in source.stages],
        batch=frames_at_once(source),
        program_file=PROGRAM_FILE,
        weights_file=WEIGHTS_FILE,
    )


def _steps(source: Program) -> dict[str, Function]:
    """Functions of the steps that the network has, by their kinds, in the kernels' order."""
    used = {step.kind for stage in source.stages for step in stage.epilogue}
    return {kind: function for kind, function in kernels.STEPS.items() if kind in used}


def _closure(roots: Iterable[Function]) -> set[str]:
    """Names that functions come to, through other functions and constants of the file."""
    known = {function.__name__: function for _, functions in SECTIONS for function in functions}
    waiting, found = [root.__name__ for root in roots], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            function = known.get(name)
            code = getattr(function and inspect.unwrap(function), "__code__", None)
            waiting += _names(code) if code else []
    return found


def _names(code: CodeType) -> list[str]:
    """Names that a function's text refers to, those in its comprehensions too."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return [*code.co_names, *(name for part in inner for name in _names(part))]


def _text(function: Function) -> str:
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
    parts += [f"* {step.source}" for step in stage.epilogue if isinstance(step, program.Multiply)]
    parts += ["maximum"] if stage.pool else []
    shape = "x".join(map(str, stage.shape))
    return f"{' '.join(parts)} -> {shape}"


def _contraction(stage: Stage) -> str:
    match stage.contraction:
        case BinaryConv(window=window) | RealConv(window=window) | Pool(window=window):
            return "x".join(map(str, window.kernel))
        case Identity():
            return "1x1"
        case Pad(padding=padding):
            return f"border {' '.join(map(str, padding))}"
        case Concat(sources=sources):
            return f"{len(sources)} values' channels"
        case Flatten():
            return "flattened"
