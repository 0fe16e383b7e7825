"""The one integer arithmetic: rounding shift, saturation, thresholds and tables.

Everything that computes a Program (the NumPy executor, the emitted ``reference.py``, each hardware
component's ``compute()``) calls these functions; none of them is written a second time. The
functions import nothing but NumPy and work on integers and on arrays alike.
Source: ``docs/numerics.md``.
"""

from __future__ import annotations

import numpy as np

SIGMOID_ENTRIES = 1024
"""Entries of the sigmoid table; it covers the arguments [-8, 8)."""

SIGMOID_BITS = 16
"""Fraction bits of a sigmoid entry: unsigned, value ``entry / 2**16``."""


def rs(value, shift):
    """Rounding shift ``(value + (1 << (shift - 1))) >> shift``, round half up, ``shift >= 1``."""
    return (value + (1 << (shift - 1))) >> shift


def bounds(width):
    """Smallest and largest value of a signed integer of ``width`` bits."""
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def sat(value, low, high):
    """Saturate: ``min(max(value, low), high)``."""
    return np.clip(value, low, high)


def piecewise_affine(acc, knot, multiplier, offset, shift):
    """One epilogue step: ``i = acc >= knot``; ``rs(acc * multiplier[i] + offset[i], shift)``.

    ``multiplier`` and ``offset`` are pairs: the value below the knot, the value from it on. It is
    computed as the line below the knot, and from the knot on what the other has more.
    """
    below = acc * multiplier[0] + offset[0]
    more = acc * (multiplier[1] - multiplier[0]) + (offset[1] - offset[0])
    return rs(below + (acc >= knot) * more, shift)


def threshold(value, theta, flip):
    """Sign bit ``(value >= theta) ^ flip``; 1 stands for +1 and 0 for -1."""
    return (value >= theta) ^ flip


def sigmoid_table():
    """Table of the sigmoid, ``round(2**16 / (1 + exp(-i / 64)))`` for i in -512..511.

    Entry ``i + 512`` is the function in the middle of the arguments that round to ``i / 64``; the
    largest entry is below 2**16.
    """
    index = np.arange(SIGMOID_ENTRIES) - SIGMOID_ENTRIES // 2
    step = 16 / SIGMOID_ENTRIES
    return np.round((1 << SIGMOID_BITS) / (1 + np.exp(-index * step))).astype(np.int64)


def gate_table(function):
    """Table of a gate's function, indexed like :func:`sigmoid_table`, with 16 fraction bits.

    ``"sigmoid"``, or ``"hardsigmoid"``: ``round(2**16 * min(max(i / 64 + 3, 0), 6) / 6)``, at most
    ``2**16 - 1``.
    """
    if function == "sigmoid":
        return sigmoid_table()
    if function != "hardsigmoid":
        raise ValueError(f"a gate's function is sigmoid or hardsigmoid, not {function!r}")
    index = np.arange(SIGMOID_ENTRIES) - SIGMOID_ENTRIES // 2
    share = sat(index * (16 / SIGMOID_ENTRIES) + 3, 0, 6) / 6
    one = 1 << SIGMOID_BITS
    return np.minimum(np.round(one * share), one - 1).astype(np.int64)
