"""How much of a difference is rounding: what float32 loses where large terms cancel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir import ops
from r2b.ir.interpreter import evaluate

ROUNDING = 2.0**-20
"""Share of its terms that a sum in float32 is allowed to be wrong by: eight units of the last
place, for the terms themselves are products, and are added in another order."""

Array = npt.NDArray[Any]


def rounding_of(op: ops.Op, operands: Sequence[Array]) -> Array | float:
    """Bound the rounding of each element of a result: ROUNDING times the sum of its terms' sizes.

    It is far below the result, save where terms cancel: a batch norm of a channel without variance
    multiplies by 300 and takes nearly all of it away again. 0 for operations that add nothing up.
    """
    terms = _TERMS.get(type(op))
    if terms is None:
        return 0.0
    return ROUNDING * terms(op, [np.abs(value.astype(np.float64)) for value in operands])


def _of_normalization(op: ops.Normalization, operands: Sequence[Array]) -> Array:
    value, gamma, beta, mean, var = operands
    return _of_batch_norm(ops.BatchNorm(gamma, beta, mean, var, op.eps), [value])


def _of_batch_norm(op: ops.BatchNorm, operands: Sequence[Array]) -> Array:
    factor = np.abs(op.multiplier)
    offset = np.abs(op.beta) + factor * np.abs(op.mean)
    return evaluate(ops.BatchNorm.affine(factor, offset), operands)


def _of_arithmetic(op: ops.Arithmetic, operands: Sequence[Array]) -> Array:
    left, right = operands
    return left + right if op.kind in ("add", "sub") else np.zeros(())


def _of_layer(op: Any, operands: Sequence[Array]) -> Array:
    bias = None if op.bias is None else np.abs(op.bias)
    return evaluate(replace(op, weight=np.abs(op.weight), bias=bias), operands)


_TERMS: dict[type[ops.Op], Callable[[Any, Sequence[Array]], Array]] = {
    ops.BatchNorm: _of_batch_norm,
    ops.Normalization: _of_normalization,
    ops.Arithmetic: _of_arithmetic,
    ops.Conv2d: _of_layer,
    ops.Linear: _of_layer,
    **dict.fromkeys(
        (
            ops.Add,
            ops.Convolution,
            ops.Dense,
            ops.Mean,
            ops.AvgPool2d,
            ops.AdaptiveAvgPool2d,
            ops.GlobalAvgPool,
        ),
        evaluate,
    ),
}
"""Sum of the sizes of the terms, given the sizes of the operands."""
