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
    rs,
    sat,
    threshold,
)
from r2b.ir.contractions import (
    FLOAT32_EXACT,
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
    weight_limit,
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
    reach : dict of str to int
        A bound of the magnitude of each fixed tensor.
    logits : int32 array N x classes
    """

    def __init__(self, frames):
        """Begin with the frames alone."""
        self.tensors = {"frame": frames.astype(np.int32)}
        self.signs = {}
        self.sums = {}
        self.slopes = {}
        self.reach = {"frame": 255}
        self.logits = np.zeros((len(frames), 0), np.int32)


def value_of(trace, name, kind: type = np.int64):
    """Value of a source: the frames, a fixed tensor, or a sign map as -1 and +1."""
    return piece_of(trace, name, (slice(None), slice(None)), kind)


def piece(array, part):
    """The frames and channels of constants N x C x H x W; a size of 1 is part of all."""
    return array[
        tuple(s if n > 1 else slice(None) for s, n in zip(part, array.shape, strict=False))
    ]


def piece_of(trace, name, part, kind: type = np.int64):
    """Some frames and channels of a value; a size of 1 is part of all."""
    if name in trace.tensors:
        return piece(trace.tensors[name], part).astype(kind, copy=False)
    return 2 * piece(trace.signs[name], part).astype(kind) - 1


def reach_of(trace, name):
    """Bound of the magnitude of a value."""
    return trace.reach.get(name, 1 << 31) if name in trace.tensors else 1


def kept(record, make):
    """What is made of a record for its first frames, and stays with it."""
    known = vars(record)
    if "kept" not in known:
        known["kept"] = make(record)  # at once: another thread may run the same network
    return known["kept"]


# ------------------------------------------------------------------- vectors: gate and head


def mean_vector(sums, mean):
    """Channel sums N x C to normalised channel means: ``m = rs(S * reciprocal, shift)``, then z.

    ``z = sat(rs(m * multiplier + offset, z_shift))``.
    """
    means = rs(sums * mean.reciprocal, mean.shift)
    return sat(rs(means * mean.multiplier + mean.offset, mean.z_shift), *bounds(VECTOR_BITS))


def dense(vector, layer):
    """``rs(multiplier[o] * sum_c(weight[o,c] * vector[c]) + offset[o], shift)``."""
    sums = products(vector, layer)
    return rs(sums * layer.multiplier + layer.offset, layer.shift)


def products(vector, layer):
    """``sum_c(weight[o,c] * vector[c])``; at most 32 bits, so exact in float64."""
    return (vector.astype(np.float64) @ kept(layer, real_matrix)).astype(np.int64)


def real_matrix(layer):
    """Weights of a fully connected layer, transposed."""
    return layer.weight.T.astype(np.float64)


def gate_slopes(sums, gate):
    """Slopes ``(gn, gp)`` of a gate for each frame and output channel."""
    low, high = bounds(VECTOR_BITS)
    hidden = sat(dense(mean_vector(sums, gate.mean), gate.hidden), 0, high)
    half = SIGMOID_ENTRIES // 2
    index = sat(dense(hidden, gate.out), -half, half - 1)
    factor = kept(gate, lambda gate: gate_table(gate.function))[index + half]
    slopes = [rs(factor * slope, gate.shift) for slope in (gate.slope_n, gate.slope_p)]
    return sat(np.stack(slopes), low, high)


# -------------------------------------------------------------------------------------- epilogue


def integer_type(largest):
    """int32, or int64 where numbers of this magnitude need it."""
    return np.int32 if largest < 1 << 31 else np.int64


def affine_step(trace, stage, step, reach):
    """Piecewise affine per channel; a gated step takes its multipliers from the gate.

    :func:`r2b.ir.arith.piecewise_affine` as one line through the knot, bent by an absolute value:
    twice the result at a distance ``u`` from the knot is ``u * (m0 + m1) + abs(u) * (m1 - m0)``
    plus twice the value at the knot, and from there on what the offsets make it jump.
    """
    low, high = trace.slopes[stage.name] if step.gated else step.multiplier[:, None]
    start = low * step.knot + step.offset[0]
    jump = 2 * (high * step.knot + step.offset[1] - start)
    rounded = 2 * start + (1 << step.shift)
    farthest = reach + magnitude(step.knot)
    largest = farthest * (magnitude(low + high) + magnitude(high - low))
    largest += magnitude(rounded) + magnitude(jump)
    kind = integer_type(largest)
    knot, line, bend, jump, rounded = (
        np.atleast_2d(x)[:, :, None, None].astype(kind)
        for x in (step.knot, low + high, high - low, jump, rounded)
    )

    def apply(values, part):
        values = values.astype(kind, copy=False)
        if knot.any():
            values -= piece(knot, part)
        more = []
        if bend.any():
            more += [np.abs(values) * piece(bend, part)]
        if jump.any():
            more += [(values >= 0) * piece(jump, part)]
        values *= piece(line, part)
        for summand in (piece(rounded, part), *more):
            values += summand
        values >>= step.shift + 1
        return values

    return apply, (largest >> (step.shift + 1)) + 1


def skip_step(trace, stage, step, reach):
    """Add a stored tensor."""
    largest = reach + reach_of(trace, step.source)
    kind = integer_type(largest)

    def apply(values, part):
        values = values.astype(kind, copy=False)
        values += piece_of(trace, step.source, part, kind)
        return values

    return apply, largest


def saturate_step(trace, stage, step, reach):
    """Keep values within ``low`` and ``high``."""

    def apply(values, part):
        limits = np.iinfo(values.dtype)
        return np.clip(values, max(step.low, limits.min), min(step.high, limits.max), out=values)

    return apply, min(reach, max(-step.low, step.high))


def multiply_step(trace, stage, step, reach):
    """Multiply by a stored tensor, broadcast where its size is 1."""

    def apply(values, part):
        return rs(values * piece_of(trace, step.source, part), step.shift)

    return apply, reach * reach_of(trace, step.source)


def spatial_scale_step(trace, stage, step, reach):
    """Multiply by a factor of each position."""

    def apply(values, part):
        return rs(values * step.multiplier[part[1]], step.shift)

    return apply, reach * magnitude(step.multiplier)


def table_step(trace, stage, step, reach):
    """Look values up: a function of one number on an even grid."""
    last = step.low + len(step.entries) - 1

    def apply(values, part):
        return step.entries[sat(values, step.low, last) - step.low]

    return apply, magnitude(step.entries)


STEPS = {
    "affine": affine_step,
    "skip": skip_step,
    "saturate": saturate_step,
    "multiply": multiply_step,
    "spatial_scale": spatial_scale_step,
    "table": table_step,
}
"""What prepares a step, by its kind: of a trace, a stage, the step and the largest magnitude that
its values may have, it makes the function of values and of the part they are (frames, channels),
which may change the values where they lie, and the largest magnitude of the result."""


def directions(stage):
    """Channels whose epilogue never decreases (1) or never increases (-1); None if one is neither.

    The maximum of the results is then the result of the maximum, or of the minimum.
    """
    found = np.ones(1, np.int64)
    for step in stage.epilogue:
        if step.kind == "saturate":
            continue
        if step.kind != "affine" or step.gated:
            return None
        (low, high), (first, second) = step.multiplier, step.offset
        edge = rs(high * step.knot + second, step.shift)  # the first value on the other line
        edge -= rs(low * (step.knot - 1) + first, step.shift)
        smallest = np.minimum(np.minimum(low, high), edge)
        largest = np.maximum(np.maximum(low, high), edge)
        if ((smallest < 0) & (largest > 0)).any():
            return None
        found = found * np.where(smallest >= 0, 1, -1)
    return found[None, :, None, None]


def epilogue(stage, steps, reach, first, values, part):
    """All steps of a stage, and its maximum over a window, for some frames and channels.

    The maximum comes first where ``first`` has the directions of the channels.
    """
    values = values[part].astype(integer_type(reach), order="C")  # a copy
    if first is not None:
        sign = piece(first, part).astype(values.dtype)
        values = pool(values * sign, stage.pool, "max") * sign
    for apply in steps:
        values = apply(values, part)
    return values if stage.pool is None or first is not None else pool(values, stage.pool, "max")


def prepared(trace, stage, reach):
    """Functions of a stage's steps, and the largest magnitude of their results."""
    steps = []
    for step in stage.epilogue:
        apply, reach = STEPS[step.kind](trace, stage, step, reach)
        steps.append(apply)
    return steps, reach


def make_sinks(trace, stage, shape):
    """Make room for all that a stage writes: values N x C x H x W."""
    if stage.tensor is not None:
        trace.tensors[stage.tensor] = np.empty(shape, np.int32)
    for sink in stage.signs:
        trace.signs[sink.name] = np.empty(shape, np.uint8)
    if stage.sums is not None:
        trace.sums[stage.sums] = np.empty(shape[:2], np.int64)


def write_sinks(trace, stage, values, part, total):
    """Write the values of some frames and channels: the tensor, its signs, its sums.

    ``total`` is a type that holds the sums.
    """
    if stage.tensor is not None:
        trace.tensors[stage.tensor][part] = values
    for sink in stage.signs:
        theta, flip = kept(sink, thresholds)
        bits = threshold(values, theta[part[1]], flip[part[1]])
        trace.signs[sink.name][part] = bits
    if stage.sums is not None:
        trace.sums[stage.sums][part] = values.sum(axis=(2, 3), dtype=total)


def thresholds(sink):
    """Thresholds of a sink, C x 1 x 1, int32 where they fit, and which bits are flipped."""
    theta = sink.theta.astype(integer_type(magnitude(sink.theta)))
    return theta[:, None, None], sink.flip[:, None, None] != 0


def finish(trace, stage, values):
    """Epilogue, maximum over a window and sinks: what every stage does with its accumulators."""
    if stage.gate is not None:
        trace.slopes[stage.name] = gate_slopes(trace.sums[stage.gate.mean.sums], stage.gate)
    frames, channels, *size = values.shape
    shape, total, reach = None, np.int64, magnitude(values)
    steps, largest = prepared(trace, stage, reach)
    trace.reach[stage.tensor] = largest
    first = None if stage.pool is None else directions(stage)
    with small_buffers():
        for part in blocks(frames, channels, math.prod(size), BLOCK):
            found = epilogue(stage, steps, reach, first, values, part)
            if shape is None:  # the first block shows what a maximum makes of the image
                shape = (frames, channels, *found.shape[2:])
                total = integer_type(largest * math.prod(found.shape[2:]))
                make_sinks(trace, stage, shape)
            write_sinks(trace, stage, found, part, total)
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
    taps = 1 if part.presum is None else math.prod(part.presum.kernel)
    reach = reach_of(trace, part.source) + magnitude(part.zero_point)
    values = value_of(trace, part.source, integer_type(taps * reach))
    weight, limit = kept(part, real_weights)
    acc = real_conv(values, weight, part.window, part.zero_point, part.presum, part.groups, limit)
    finish(trace, stage, acc)


def real_weights(part):
    """Weights of a convolution as numbers to compute with, and :func:`weight_limit` of them."""
    exact = np.float32 if magnitude(part.weight) < FLOAT32_EXACT else np.float64
    return part.weight.astype(exact), weight_limit(part.weight)


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
    trace.logits = (products(vector, head) + head.bias).astype(np.int32)
