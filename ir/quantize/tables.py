"""Tables of functions of one number: where their grid lies, and what their entries are."""

from __future__ import annotations

import numpy as np

from r2b.ir import ops
from r2b.ir.arith import bounds, sat
from r2b.ir.interpreter import evaluate
from r2b.ir.program import Table

ENTRIES = 4096
"""Entries of a table, one more than the steps of its grid."""
MARGIN = 0.5
"""The grid goes beyond what calibration saw by this share of its width, on both sides."""

USEFUL: dict[str, tuple[float, float]] = {
    "sigmoid": (-12.0, 12.0),
    "tanh": (-6.0, 6.0),
    "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, np.inf),
    "silu": (-16.0, np.inf),
    "elu": (-12.0, np.inf),
    "softplus": (-12.0, np.inf),
    "gelu": (-6.0, np.inf),
}
"""Arguments beyond which a function is constant, to the last place of 16 bits."""


def make_table(
    op: ops.Sigmoid | ops.Activation, seen: tuple[float, float], scale: float, act_bits: int
) -> tuple[Table, float]:
    """Table of ``rint(f(argument * unit) / scale)``; return it with the unit.

    Parameters
    ----------
    op : Op
        The function f.
    seen : pair of float
        Smallest and largest argument of the calibration frames.
    scale : float
        Real value of a unit of an entry.
    act_bits : int
        Width of an entry.
    """
    kind = op.kind if isinstance(op, ops.Activation) else "sigmoid"
    low, high = _reach(seen, USEFUL[kind])
    unit = (high - low) / (ENTRIES - 1)
    first = int(np.floor(low / unit))
    arguments = (first + np.arange(ENTRIES)) * unit
    entries = np.rint(evaluate(op, [arguments]) / scale)
    return Table(sat(entries, *bounds(act_bits)).astype(np.int64), first), unit


def _reach(seen: tuple[float, float], useful: tuple[float, float]) -> tuple[float, float]:
    """Arguments that the grid covers: those seen and a margin, where the function varies."""
    margin = MARGIN * max(seen[1] - seen[0], 1.0)
    low = min(max(seen[0] - margin, useful[0]), useful[1] - 1)
    return low, max(min(seen[1] + margin, useful[1]), low + 1)
