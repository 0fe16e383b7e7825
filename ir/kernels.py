"""NumPy kernels of the Program: one function per part of a stage, and one per kind of stage.

All functions work on whole batches: N frames at once. They import nothing but NumPy,
:mod:`r2b.ir.arith` and :mod:`r2b.ir.contractions`, and read a Program's records by attribute only,
because their source text also stands in the emitted ``reference.py``, where the records come out of
``program.json``.
"""

from __future__ import annotations

import math

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
from r2b.ir.contractions import (
    binary_conv,
    blocks,
    bordered,
    count_conv,
    equal_dots,
    is_counted,
    magnitude,
    pool,
    real_conv,
    small_buffers,
    weight_words,
)
from r2b.ir.program import VECTOR_BITS

BLOCK = 1 << 16
"""Values that go through the steps of an epilogue at once: they stay in a processor's cache."""


class Trace:
    """Every value of one run, by name; N frames in the first dimension.

    Attributes
    ----------
    tensors : dict of str to int32 array N x C x H x W
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
        self.tensors = {"frame": frames.astype(np.int32)}
        self.signs = {}
        self.sums = {}
        self.slopes = {}
        self.logits = np.zeros((len(frames), 0), np.int32)


def value_of(trace, name):
    """Value of a source as int64: the frames, a fixed tensor, or a sign map as -1 and +1."""
    return piece_of(trace, name, (slice(None), slice(None)))


def piece_of(trace, name, part):
    """Some frames and channels of a value; a single channel is part of all."""
    values = trace.tensors[name] if name in trace.tensors else trace.signs[name]
    frames, channels = part
    piece = values[frames, channels if values.shape[1] > 1 else slice(None)].astype(np.int64)
    return piece if name in trace.tensors else 2 * piece - 1


# ------------------------------------------------------------------- vectors: gate and head


def mean_vector(sums, mean):
    """Channel sums N x C to normalised channel means: ``m = rs(S * reciprocal, shift)``, then z.

    ``z = sat(rs(m * multiplier + offset, z_shift))``.
    """
    means = rs(sums * mean.reciprocal, mean.shift)
    return sat(rs(means * mean.multiplier + mean.offset, mean.z_shift), *bounds(VECTOR_BITS))


def dense(vector, layer):
    """``rs(multiplier[o] * sum_c(weight[o,c] * vector[c]) + offset[o], shift)``."""
    sums = products(vector, layer.weight)
    return rs(sums * layer.multiplier + layer.offset, layer.shift)


def products(vector, weight):
    """``sum_c(weight[o,c] * vector[c])``; at most 32 bits, so exact in float64."""
    return (vector.astype(np.float64) @ weight.astype(np.float64).T).astype(np.int64)


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


def affine_step(trace, stage, step, values, part):
    """Piecewise affine per channel; a gated step takes its multipliers from the gate."""
    frames, channels = part
    multiplier = step.multiplier[:, None, channels, None, None]
    if step.gated:
        multiplier = trace.slopes[stage.name][:, frames, channels, None, None]
    knot, offset = step.knot[channels, None, None], step.offset[:, channels, None, None]
    kind = affine_type(values, knot, multiplier, offset, step.shift)
    values, knot = values.astype(kind, copy=False), knot.astype(kind)
    multiplier, offset = multiplier.astype(kind), offset.astype(kind)
    return piecewise_affine(values, knot, multiplier, offset, step.shift)


def affine_type(values, knot, multiplier, offset, shift):
    """The type that :func:`piecewise_affine` is computed in: int32 where that holds every number.

    Its largest number is a product and an offset by the difference of two lines, and the half of
    the rounding.
    """
    factor, summand = 2 * magnitude(multiplier), 2 * magnitude(offset)
    largest = max(magnitude(knot), magnitude(values) * factor + summand + (1 << shift))
    return np.int32 if 2 * largest < 1 << 31 else np.int64


def skip_step(trace, stage, step, values, part):
    """Add a stored tensor."""
    return values + piece_of(trace, step.source, part)


def saturate_step(trace, stage, step, values, part):
    """Keep values within ``low`` and ``high``."""
    reach = np.iinfo(values.dtype)
    return sat(values, max(step.low, reach.min), min(step.high, reach.max))


def multiply_step(trace, stage, step, values, part):
    """Multiply by a stored tensor, broadcast where its size is 1."""
    return rs(values * piece_of(trace, step.source, part), step.shift)


def spatial_scale_step(trace, stage, step, values, part):
    """Multiply by a factor of each position."""
    return rs(values * step.multiplier[part[1]], step.shift)


def table_step(trace, stage, step, values, part):
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


def epilogue(trace, stage, values, part):
    """All steps of a stage, and its maximum over a window, for some frames and channels."""
    values = values[part]
    values = values.astype(np.int64) if values.dtype.kind == "f" else values
    for step in stage.epilogue:
        values = STEPS[step.kind](trace, stage, step, values, part)
    return values if stage.pool is None else pool(values, stage.pool, "max")


def make_sinks(trace, stage, shape):
    """Make room for all that a stage writes: values N x C x H x W."""
    if stage.tensor is not None:
        trace.tensors[stage.tensor] = np.empty(shape, np.int32)
    for sink in stage.signs:
        trace.signs[sink.name] = np.empty(shape, np.uint8)
    if stage.sums is not None:
        trace.sums[stage.sums] = np.empty(shape[:2], np.int64)


def write_sinks(trace, stage, values, part):
    """Write the values of some frames and channels: the tensor, its signs, its sums."""
    if stage.tensor is not None:
        trace.tensors[stage.tensor][part] = values
    for sink in stage.signs:
        theta, flip = sink.theta[part[1], None, None], sink.flip[part[1], None, None] != 0
        trace.signs[sink.name][part] = threshold(values, theta, flip)
    if stage.sums is not None:
        trace.sums[stage.sums][part] = values.sum(axis=(2, 3))


def finish(trace, stage, values):
    """Epilogue, maximum over a window and sinks: what every stage does with its accumulators."""
    if stage.gate is not None:
        trace.slopes[stage.name] = gate_slopes(trace.sums[stage.gate.mean.sums], stage.gate)
    frames, channels, *size = values.shape
    shape = None
    with small_buffers():
        for part in blocks(frames, channels, math.prod(size), BLOCK):
            found = epilogue(trace, stage, values, part)
            if shape is None:  # the first block shows what a maximum leaves of the image
                shape = (frames, channels, *found.shape[2:])
                make_sinks(trace, stage, shape)
            write_sinks(trace, stage, found, part)
    if shape is None:  # no frames
        make_sinks(trace, stage, (frames, *stage.shape))


# ---------------------------------------------------------------------------------------- stages


def binary_conv_stage(trace, stage):
    """Run a stage on a sign map: XNOR and popcount."""
    part = stage.contraction
    signs = trace.signs[part.source]
    if is_counted(part.weight, part.groups):
        words, dots = counting_constants(part, signs.shape[2:])
        acc = count_conv(signs, words, dots, part.window)
    else:
        acc = binary_conv(signs, part.weight, part.window, part.groups, part.padding_value)
    finish(trace, stage, acc)


def counting_constants(part, size):
    """Words and equal dots of a layer, made for its first frames and kept with its record."""
    known = vars(part).get("counting")
    if known is None or known[0] != size:
        dots = equal_dots(part.weight, part.window, size, part.padding_value)
        # at once: another thread may run the same network
        known = vars(part)["counting"] = (size, weight_words(part.weight), dots)
    return known[1], known[2]


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
    trace.logits = (products(vector, head.weight) + head.bias).astype(np.int32)
