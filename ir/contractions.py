"""Contractions in NumPy: convolutions and pooling of N frames at once, as exact integers.

Sums of products are computed as floating-point matrix products of integers. They are exact: every
partial sum is an integer below the 24 (float32) or 53 (float64) bits of a significand, which is
checked for float32 and which the quantizer proves for float64 (accumulators have at most 32 bits),
so the order of summation does not matter. Sums of signs over many channels are counted instead, 64
channels a word. The functions import nothing but NumPy, because their source text also stands in
the emitted ``reference.py``.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import reduce

import numpy as np

FLOAT32_EXACT = 1 << 24
"""Integers up to here are exact in float32."""
COUNTED_CHANNELS = 48
"""From so many channels on, counting bits in words of 64 is faster than a matrix product."""
BLOCK_WORDS = 1 << 16
"""Words that are compared at once: they stay in a processor's second cache."""
BLOCK_PATCHES = 1 << 18
"""Values that are laid out for a matrix product at once."""
BUFFER = 512
"""Elements; by default NumPy copies rows of less than 8192 together before it computes them."""


def magnitude(values):
    """Largest absolute value."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def padded(values, padding, fill):
    """The image with a border: top, left, bottom, right of ``fill``."""
    top, left, bottom, right = padding
    frames, channels, height, width = values.shape
    shape = (frames, channels, top + height + bottom, left + width + right)
    result = np.full(shape, fill, values.dtype)
    result[:, :, top : top + height, left : left + width] = values
    return result


def sliding_windows(values, window, fill):
    """All windows of N x C x H x W: N x C x rows x columns x kh x kw, ``fill`` in the padding."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    image = padded(values, window.padding, fill) if any(window.padding) else values
    span = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    views = np.lib.stride_tricks.sliding_window_view(image, span, axis=(2, 3))
    return views[:, :, ::sh, ::sw, ::dh, ::dw]


def blocks(outer, inner, size, limit):
    """Slices that cut two dimensions into pieces of at most ``limit`` values where they can.

    ``size`` values belong to each place; the inner dimension is cut only if it is too long.
    """
    height = max(1, limit // max(1, inner * size))
    width = max(1, limit // max(1, size))
    for top in range(0, outer, height):
        for left in range(0, inner, width):
            yield slice(top, top + height), slice(left, left + width)


@contextmanager
def small_buffers():
    """Compute rows of a few hundred elements where they lie."""
    before = np.setbufsize(BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)


def convolve(values, weight, window, groups, fill=0):
    """``acc[n,o,y,x] = sum over taps and channels of weight * values``, an exact integer.

    The result has the type of ``values``, the floating-point type that is computed in; ``fill``
    is what taps in the padding meet, 0 for taps that contribute nothing.
    """
    windows = sliding_windows(values, window, fill).transpose(0, 1, 4, 5, 2, 3)
    frames, rows, cols = len(windows), *windows.shape[4:]
    matrix = weight.astype(values.dtype, copy=False).reshape(groups, len(weight) // groups, -1)
    acc = np.empty((frames, *matrix.shape[:2], rows * cols), values.dtype)
    terms = groups * matrix.shape[2]
    for some, band in blocks(frames, rows, terms * cols, BLOCK_PATCHES):
        part = windows[some, ..., band, :]
        patches = part.reshape(len(part), groups, matrix.shape[2], -1)
        np.matmul(matrix, patches, out=acc[some, ..., band.start * cols : band.stop * cols])
    return acc.reshape(frames, len(weight), rows, cols)


def packed(bits):
    """Bits N x C x H x W in words of 64 channels: uint64, N x words x H x W, 0 beyond C."""
    octets = np.packbits(np.ascontiguousarray(bits.transpose(0, 2, 3, 1)), axis=3)
    missing = -octets.shape[3] % 8
    if missing:
        octets = np.pad(octets, ((0, 0), (0, 0), (0, 0), (0, missing)))
    return octets.view(np.uint64).transpose(0, 3, 1, 2)


def differing_bits(left, right):
    """``count[i,j] = sum over k of popcount(left[k,i] ^ right[k,j])``, block by block: uint16."""
    if left.shape[1] > right.shape[1]:
        return differing_bits(right, left).T
    rows, cols = left.shape[1], right.shape[1]
    count = np.zeros((rows, cols), np.uint16 if 64 * len(left) < 1 << 16 else np.uint32)
    with small_buffers():
        for few, many in blocks(rows, cols, 1, BLOCK_WORDS):
            add_differing_bits(count[few, many], left[:, few, None], right[:, many])
    return count


def add_differing_bits(count, left, right):
    """Add the bits in which words differ, three words at a time: their sum fits into 8 bits."""
    for first in range(0, len(left), 3):
        octets = np.bitwise_count(left[first] ^ right[first])
        for k in range(first + 1, min(first + 3, len(left))):
            octets += np.bitwise_count(left[k] ^ right[k])
        count += octets


def weight_words(weight):
    """Weights in words, uint64 K x C_out, in the order of a window's words."""
    return packed(weight).reshape(len(weight), -1).T.copy()


def equal_dots(weight, window, size, padding_value):
    """What :func:`binary_conv` gives where no bit differs, 1 x C_out x rows x columns.

    A tap in the padding meets bits of 0, that is -1; the sum of its weights puts that right. The
    type is the narrower of int16 and int32 in which twice as many bits can be subtracted.
    """
    inside = np.zeros((1, 1, *size), np.float32)
    sums = (2 * weight.astype(np.int64) - 1).sum(axis=1, keepdims=True)
    outside = convolve(inside, (padding_value + 1) * sums, window, 1, fill=1)
    dots = weight[0].size + outside.astype(np.int32)
    lowest = magnitude(dots) + 2 * weight[0].size
    return dots.astype(np.int16) if lowest < 1 << 15 else dots


def count_conv(signs, words, dots, window):
    """:func:`binary_conv` without groups: ``dots - 2 * differing bits``."""
    windows = sliding_windows(packed(signs), window, 0).transpose(1, 4, 5, 0, 2, 3)
    count = differing_bits(words, windows.reshape(len(words), -1))
    shape = (words.shape[1], len(signs), *dots.shape[2:])
    acc = count.reshape(shape).swapaxes(0, 1).astype(dots.dtype, order="C")
    acc *= -2
    acc += dots
    return acc


def binary_conv(signs, weight, window, groups, padding_value=0):
    """``acc = sum over taps of a * w``; a and w are bits that stand for -1 and +1.

    A tap in the padding meets ``padding_value``.
    """
    if is_counted(weight, groups):
        dots = equal_dots(weight, window, signs.shape[2:], padding_value)
        return count_conv(signs, weight_words(weight), dots, window)
    exact = np.float32 if weight[0].size < FLOAT32_EXACT else np.float64
    bipolar = 2 * signs.astype(exact) - 1
    return convolve(bipolar, 2 * weight.astype(np.int8) - 1, window, groups, padding_value)


def is_counted(weight, groups):
    """Tell whether bits are counted rather than signs multiplied: whichever is faster."""
    return groups == 1 and weight.shape[1] >= COUNTED_CHANNELS


def real_conv(values, weight, window, zero_point, presum, groups, limit=None):
    """``acc = sum over valid taps of w * u``, u the input less its zero point, or window sums.

    Values have a type that holds every u; ``limit`` is :func:`weight_limit` where it is known.
    """
    centred = values - zero_point.astype(values.dtype)[:, None, None]
    if presum is not None:
        centred = pool(centred, presum, "sum")
    largest = magnitude(centred) * (weight_limit(weight) if limit is None else limit)
    exact = np.float32 if largest < FLOAT32_EXACT else np.float64
    return convolve(centred.astype(exact), weight, window, groups)


def weight_limit(weight):
    """How many times the magnitude of the values a partial sum may have, at most."""
    return magnitude(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1))


def pool(values, window, kind):
    """Maximum or sum over the valid positions of each window: over its rows, then its columns."""
    fill, join = (np.iinfo(values.dtype).min, np.maximum) if kind == "max" else (0, np.add)
    found = padded(values, window.padding, fill) if any(window.padding) else values
    for axis, (kernel, stride, dilation) in enumerate(
        zip(window.kernel, window.stride, window.dilation, strict=True), start=2
    ):
        last = found.shape[axis] - dilation * (kernel - 1)  # past the first tap's last position
        taps = [slice(dilation * tap, dilation * tap + last, stride) for tap in range(kernel)]
        found = reduce(join, [found[(slice(None),) * axis + (tap,)] for tap in taps])
    return found


def bordered(values, padding, value):
    """The image with a border of ``value[c]``."""
    top, left, bottom, right = padding
    frames, channels, height, width = values.shape
    result = np.empty((frames, channels, top + height + bottom, left + width + right), np.int64)
    result[:] = value[:, None, None]
    result[:, :, top : top + height, left : left + width] = values
    return result
