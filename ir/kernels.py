"""NumPy kernels of the Program: one function per part of a stage, and one per kind of stage.

All functions work on whole batches: N frames at once. They import nothing but NumPy and
:mod:`r2b.ir.arith`, and read a Program's records by attribute only, because their source text also
stands in the emitted ``reference.py``, where the records come out of ``program.json``.

Sums of products are computed as floating-point matrix products of integers. They are exact: every
partial sum is an integer below the 24 (float32) or 53 (float64) bits of a significand, which the
quantizer proves (accumulators have at most 32 bits), so the order of summation does not matter.
"""

from __future__ import annotations

import numpy as np

from r2b.ir.arith import (
    SIGMOID_ENTRIES,
    bounds,
    gate_table,
    piecewise_affine,
    rs,
    sat,
    threshold,
)
from r2b.ir.program import VECTOR_BITS

FLOAT32_EXACT = 1 << 24
"""Integers up to here are exact in float32."""


class Trace:
    """Every value of one run, by name; N frames in the first dimension.

    Attributes
    ----------
    tensors : dict of str to int64 array N x C x H x W
        Fixed tensors, and the frames under ``"frame"``.
    signs : dict of str to uint8 array N x C x H x W
        Sign maps.
    sums : dict of str to int64 array N x C
        Channel sums.
    slopes : dict of str to int64 array 2 x N x C
        Of each stage with a gate: its ``(gn, gp)``.
    logits : int32 array N x classes
    """

    def __init__(self, frames):
        """Begin with the frames alone."""
        self.tensors = {"frame": frames.astype(np.int64)}
        self.signs = {}
        self.sums = {}
        self.slopes = {}
        self.logits = np.zeros((len(frames), 0), np.int32)


def value_of(trace, name):
    """Value of a source: the frames, a fixed tensor, or a sign map as -1 and +1."""
    if name in trace.tensors:
        return trace.tensors[name]
    return 2 * trace.signs[name].astype(np.int64) - 1


# ---------------------------------------------------------------------------------- contractions


def sliding_windows(values, window, fill):
    """All windows of N x C x H x W: N x C x rows x columns x kh x kw, ``fill`` in the padding."""
    top, left, bottom, right = window.padding
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    padding = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(values, padding, constant_values=fill)
    span = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
    return views[:, :, ::sh, ::sw, ::dh, ::dw]


def convolve(values, weight, window, groups, fill=0):
    """``acc[n,o,y,x] = sum over taps and channels of weight * values``, an exact integer.

    The type of ``values`` is the floating-point type that is computed in; ``fill`` is what taps
    in the padding meet, 0 for taps that contribute nothing.
    """
    columns = sliding_windows(values, window, fill)
    frames, channels, rows, cols = columns.shape[:4]
    split = columns.reshape(frames, groups, channels // groups, rows, cols, *window.kernel)
    patches = split.transpose(0, 1, 3, 4, 2, 5, 6).reshape(frames, groups, rows * cols, -1)
    matrix = weight.astype(values.dtype).reshape(groups, len(weight) // groups, -1)
    product = patches @ matrix.transpose(0, 2, 1)
    acc = product.transpose(0, 1, 3, 2).reshape(frames, len(weight), rows, cols)
    return acc.astype(np.int64)


def binary_conv(signs, weight, window, groups, padding_value=0):
    """``acc = sum over taps of a * w``; a and w are bits that stand for -1 and +1.

    A tap in the padding meets ``padding_value``.
    """
    terms = weight[0].size
    exact = np.float32 if terms < FLOAT32_EXACT else np.float64
    bipolar = 2 * signs.astype(exact) - 1
    return convolve(bipolar, 2 * weight.astype(np.int8) - 1, window, groups, padding_value)


def real_conv(values, weight, window, zero_point, presum, groups):
    """``acc = sum over valid taps of w * u``, u the input less its zero point, or window sums."""
    centred = values - zero_point[:, None, None]
    if presum is not None:
        centred = pool(centred, presum, "sum")
    return convolve(centred.astype(np.float64), weight, window, groups)


def pool(values, window, kind):
    """Maximum or sum over the valid positions of each window."""
    if kind == "max":
        lowest = np.iinfo(values.dtype).min
        return sliding_windows(values, window, lowest).max(axis=(4, 5))
    return sliding_windows(values, window, 0).sum(axis=(4, 5))


def bordered(values, padding, value):
    """The image with a border of ``value[c]``."""
    top, left, bottom, right = padding
    frames, channels, height, width = values.shape
    result = np.empty((frames, channels, top + height + bottom, left + width + right), np.int64)
    result[:] = value[:, None, None]
    result[:, :, top : top + height, left : left + width] = values
    return result


# ------------------------------------------------------------------- vectors: gate and head


def mean_vector(sums, mean):
    """Channel sums N x C to normalised channel means: ``m = rs(S * reciprocal, shift)``, then z.

    ``z = sat(rs(m * multiplier + offset, z_shift))``.
    """
    means = rs(sums * mean.reciprocal, mean.shift)
    return sat(rs(means * mean.multiplier + mean.offset, mean.z_shift), *bounds(VECTOR_BITS))


def dense(vector, layer):
    """``rs(multiplier[o] * sum_c(weight[o,c] * vector[c]) + offset[o], shift)``."""
    sums = vector @ layer.weight.astype(np.int64).T
    return rs(sums * layer.multiplier + layer.offset, layer.shift)


def gate_slopes(sums, gate):
    """Slopes ``(gn, gp)`` of a gate for each frame and output channel."""
    low, high = bounds(VECTOR_BITS)
    hidden = sat(dense(mean_vector(sums, gate.mean), gate.hidden), 0, high)
    half = SIGMOID_ENTRIES // 2
    index = sat(dense(hidden, gate.out), -half, half - 1)
    factor = gate_table(gate.function)[index + half]
    slopes = [rs(factor * slope, gate.shift) for slope in (gate.slope_n, gate.slope_p)]
    return sat(np.stack(slopes), low, high)


# -------------------------------------------------------------------------------------- epilogue


def affine_step(trace, stage, step, values):
    """Piecewise affine per channel; a gated step takes its multipliers from the gate."""
    multiplier = step.multiplier[:, None, :, None, None]
    if step.gated:
        multiplier = trace.slopes[stage.name][:, :, :, None, None]
    knot, offset = step.knot[:, None, None], step.offset[:, :, None, None]
    return piecewise_affine(values, knot, multiplier, offset, step.shift)


def skip_step(trace, stage, step, values):
    """Add a stored tensor."""
    return values + value_of(trace, step.source)


def saturate_step(trace, stage, step, values):
    """Keep values within ``low`` and ``high``."""
    return sat(values, step.low, step.high)


def multiply_step(trace, stage, step, values):
    """Multiply by a stored tensor, broadcast where its size is 1."""
    return rs(values * value_of(trace, step.source), step.shift)


def spatial_scale_step(trace, stage, step, values):
    """Multiply by a factor of each position."""
    return rs(values * step.multiplier, step.shift)


def table_step(trace, stage, step, values):
    """Look values up: a function of one number on an even grid."""
    last = step.low + len(step.entries) - 1
    return step.entries[sat(values, step.low, last) - step.low]


STEPS = {
    "affine": affine_step,
    "skip": skip_step,
    "saturate": saturate_step,
    "multiply": multiply_step,
    "spatial_scale": spatial_scale_step,
    "table": table_step,
}
"""The function of a step, by its kind."""


def finish(trace, stage, values):
    """Epilogue, maximum over a window and sinks: what every stage does with its accumulators."""
    if stage.gate is not None:
        trace.slopes[stage.name] = gate_slopes(trace.sums[stage.gate.mean.sums], stage.gate)
    for step in stage.epilogue:
        values = STEPS[step.kind](trace, stage, step, values)
    if stage.pool is not None:
        values = pool(values, stage.pool, "max")
    if stage.tensor is not None:
        trace.tensors[stage.tensor] = values
    for sink in stage.signs:
        bits = threshold(values, sink.theta[:, None, None], sink.flip[:, None, None])
        trace.signs[sink.name] = bits.astype(np.uint8)
    if stage.sums is not None:
        trace.sums[stage.sums] = values.sum(axis=(2, 3))


# ---------------------------------------------------------------------------------------- stages


def binary_conv_stage(trace, stage):
    """Run a stage on a sign map: XNOR and popcount."""
    part = stage.contraction
    signs = trace.signs[part.source]
    acc = binary_conv(signs, part.weight, part.window, part.groups, part.padding_value)
    finish(trace, stage, acc)


def real_conv_stage(trace, stage):
    """Run a stage of integer multiplications."""
    part = stage.contraction
    values = value_of(trace, part.source)
    acc = real_conv(values, part.weight, part.window, part.zero_point, part.presum, part.groups)
    finish(trace, stage, acc)


def pool_stage(trace, stage):
    """Run a stage that pools a value."""
    part = stage.contraction
    finish(trace, stage, pool(value_of(trace, part.source), part.window, part.kind))


def identity_stage(trace, stage):
    """Run a stage that only changes, signs or sums a value."""
    finish(trace, stage, value_of(trace, stage.contraction.source))


def pad_stage(trace, stage):
    """Run a stage that puts a border around a value."""
    part = stage.contraction
    finish(trace, stage, bordered(value_of(trace, part.source), part.padding, part.value))


def concat_stage(trace, stage):
    """Run a stage that puts the channels of several values one behind the other."""
    values = [value_of(trace, source) for source in stage.contraction.sources]
    finish(trace, stage, np.concatenate(values, axis=1))


def flatten_stage(trace, stage):
    """Run a stage that makes an image one vector, in the order channel, row, column."""
    values = value_of(trace, stage.contraction.source)
    finish(trace, stage, values.reshape(len(values), -1, 1, 1))


def head_stage(trace, head):
    """Run the last layer: ``logits[o] = bias[o] + sum_c(weight[o,c] * z[c])``."""
    vector = mean_vector(trace.sums[head.mean.sums], head.mean)
    trace.logits = (vector @ head.weight.astype(np.int64).T + head.bias).astype(np.int32)
