"""The small dense parts: normalised means, gates and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r2b.ir import ops
from r2b.ir.arith import SIGMOID_BITS, SIGMOID_ENTRIES, bounds
from r2b.ir.graph import Node
from r2b.ir.program import (
    MEAN_FRACTION,
    MULTIPLIER_BITS,
    VECTOR_BITS,
    Dense,
    Gate,
    Head,
    MeanVector,
    ProgramError,
)
from r2b.ir.quantize.encode import (
    PRODUCT_BITS,
    SUM_BITS,
    FloatArray,
    IntArray,
    Interval,
    encode,
    quantize_rows,
    require_width,
)
from r2b.ir.quantize.head import Head as LastLayer

HEADROOM = 4.0
"""A vector's range is this many times the largest magnitude that calibration saw."""
MEAN_OFFSET_LIMIT = 2.0**39


@dataclass(frozen=True)
class Means:
    """Where a vector of means comes from.

    Parameters
    ----------
    sums : str
        Name of the channel sums.
    area : int
        Height times width.
    scale : float64 [C]
        Of the tensor that is summed.
    views : sequence of Node
        Batch norms between the tensor and the mean.
    interval : Interval
        Values of the tensor.
    """

    sums: str
    area: int
    scale: FloatArray
    views: Sequence[Node]
    interval: Interval

    def affine(self) -> tuple[FloatArray, FloatArray]:
        """Multiplier and offset that turn the integer tensor's mean into the real one."""
        multiplier, offset = self.scale, np.zeros_like(self.scale)
        for view in self.views:
            assert isinstance(view.op, ops.BatchNorm)
            multiplier = multiplier * view.op.multiplier
            offset = offset * view.op.multiplier + view.op.offset
        return multiplier, offset


def reciprocal(area: int) -> tuple[int, int]:
    """Integers with ``reciprocal / 2**shift = 2**MEAN_FRACTION / area``, nearest in 15 bits.

    Exact, and as small as can be, where the area is a power of two.
    """
    shift = (area << (MULTIPLIER_BITS - 2)).bit_length() - 1 - MEAN_FRACTION
    shift = max(shift, 1)
    value = ((1 << (shift + MEAN_FRACTION + 1)) + area) // (2 * area)
    while value % 2 == 0 and shift > 1:
        value, shift = value // 2, shift - 1
    return value, shift


def build_means(means: Means, real: FloatArray, place: str) -> tuple[MeanVector, float]:
    """Encode the normalised means; return them with the real value of a unit.

    ``real`` holds the means that calibration saw.
    """
    channels = len(means.scale)
    unit = _unit(real)
    factor, shift = reciprocal(means.area)
    total = Interval(means.interval.low * means.area, means.interval.high * means.area)
    require_width(total, SUM_BITS, "a channel sum", place)
    product = Interval(total.low * factor, total.high * factor)
    require_width(product, PRODUCT_BITS, "a channel mean's product", place)
    fraction = 1 << MEAN_FRACTION
    # One more than the exact bound: the reciprocal is rounded.
    mean = Interval(means.interval.low * fraction - 1, means.interval.high * fraction + 1)
    multiplier, offset = means.affine()
    encoded = encode(
        multiplier / fraction / unit, offset / unit, mean, place, "a gate's batch norm"
    )
    if np.any(np.abs(encoded.offset) > MEAN_OFFSET_LIMIT):
        raise ProgramError(
            f"{place}: the mean's offset needs more than 40 bits; look for a batch norm with a "
            f"tiny variance in its {channels} channels"
        )
    vector = MeanVector(
        means.sums, factor, shift, encoded.multiplier, encoded.offset, encoded.shift
    )
    return vector, unit


def _unit(real: FloatArray) -> float:
    peak = float(np.abs(real).max())
    return HEADROOM * (peak if peak > 0 else 1.0) / bounds(VECTOR_BITS)[1]


def build_dense(
    weight: FloatArray, bias: FloatArray | None, units: tuple[float, float], place: str
) -> Dense:
    """Encode a fully connected layer; ``units`` are the real values of a unit of input, output."""
    limit = np.full(weight.shape[1], float(1 << (VECTOR_BITS - 1)))
    rounded, scale = quantize_rows(weight, limit)
    domain = Interval.signed(SUM_BITS, len(weight))
    offset = np.zeros(len(weight)) if bias is None else bias
    encoded = encode(
        scale * units[0] / units[1], offset / units[1], domain, place, "a gate's layer"
    )
    return Dense(rounded.astype(np.int8), encoded.multiplier, encoded.offset, encoded.shift)


def build_gate(node: Node, means: Means, operand: FloatArray, slopes: IntArray) -> Gate:
    """Encode a gate.

    Parameters
    ----------
    node : Node
        Of operation Gate.
    means : Means
    operand : float64 N x C
        The means that calibration saw.
    slopes : int64 [2, C_out]
        What a gate of 1 gives, (below 0, from 0 on).
    """
    op, place = node.op, str(node.location)
    assert isinstance(op, ops.Gate)
    vector, unit = build_means(means, operand, place)
    bias = 0 if op.fc1_bias is None else op.fc1_bias
    hidden_unit = _unit(np.maximum(operand @ op.fc1.T + bias, 0))
    index_unit = 16 / SIGMOID_ENTRIES
    hidden = build_dense(op.fc1, op.fc1_bias, (unit, hidden_unit), place)
    out = build_dense(op.fc2, op.fc2_bias, (hidden_unit, index_unit), place)
    return Gate(vector, hidden, out, slopes[1], slopes[0], SIGMOID_BITS, op.function)


def build_head(last: LastLayer, name: str, means: Means, operand: FloatArray) -> tuple[Head, float]:
    """Encode the last layer; return it with the real value of a logit's unit."""
    location, place = last.node.location, str(last.node.location)
    vector, unit = build_means(means, operand, place)
    bias = np.zeros(len(last.weight)) if last.bias is None else last.bias
    # One scale for the whole tensor, and no sum may need more than SUM_BITS bits.
    limit = float(1 << (VECTOR_BITS - 1))
    worst = (np.abs(last.weight).sum(axis=1) * limit + np.abs(bias) / unit).max()
    room = bounds(SUM_BITS)[1] - limit * last.weight.shape[1]
    largest = bounds(8)[1]
    scale = max(float(np.abs(last.weight).max()) / largest, float(worst) / room) or 1.0
    weight = np.rint(last.weight / scale).astype(np.int64)
    offset = np.rint(bias / (scale * unit)).astype(np.int64)
    reach = np.abs(weight).sum(axis=1) * (1 << (VECTOR_BITS - 1))
    require_width(Interval(offset - reach, offset + reach), SUM_BITS, "a logit", place)
    return Head(name, location, vector, weight.astype(np.int8), offset), scale * unit
