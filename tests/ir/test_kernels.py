"""The vectorised kernels against loops written from the definitions."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.ir import contractions, kernels
from r2b.ir.program import Affine, BinaryConv, Saturate, Step, Window

NO_DEADLINE = settings(deadline=None, max_examples=60)


def naive_windows(image, window):
    """For each output pixel of C x H x W: list of (tap row, tap column, row, column) inside."""
    _, height, width = image.shape
    rows, cols = window.output_size(height, width)
    found = {}
    for y in range(rows):
        for x in range(cols):
            taps = []
            for i in range(window.kernel[0]):
                for j in range(window.kernel[1]):
                    row = y * window.stride[0] - window.padding[0] + i * window.dilation[0]
                    col = x * window.stride[1] - window.padding[1] + j * window.dilation[1]
                    if 0 <= row < height and 0 <= col < width:
                        taps.append((i, j, row, col))
            found[y, x] = taps
    return found, (rows, cols)


def naive_conv(image, weight, window, groups):
    outputs, inputs = weight.shape[:2]
    found, size = naive_windows(image, window)
    acc = np.zeros((outputs, *size), np.int64)
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for (y, x), taps in found.items():
            for i, j, row, col in taps:
                for c in range(inputs):
                    acc[o, y, x] += int(weight[o, c, i, j]) * int(image[first + c, row, col])
    return acc


@st.composite
def layers(draw):
    """Geometry and a generator: groups, channels, image size, window, rng."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair.map(lambda p: (min(p[0], 2), 1)))
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, min(2, span[a % 2] - 1))) for a in range(4))
    size = [draw(st.integers(span[a], span[a] + 4)) for a in range(2)]
    groups = draw(st.integers(1, 3))
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    window = Window(kernel, stride, padding, dilation)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return groups, inputs, outputs, size, window, rng


@NO_DEADLINE
@given(layers())
def test_binary_conv(layer):
    groups, inputs, outputs, size, window, rng = layer
    signs = rng.integers(0, 2, (2, groups * inputs, *size), dtype=np.uint8)
    weight = rng.integers(0, 2, (groups * outputs, inputs, *window.kernel), dtype=np.uint8)
    found = kernels.binary_conv(signs, weight, window, groups)
    for frame in range(2):
        expected = naive_conv(
            2 * signs[frame].astype(int) - 1, 2 * weight.astype(int) - 1, window, groups
        )
        np.testing.assert_array_equal(found[frame], expected)


@NO_DEADLINE
@given(layers())
def test_real_conv_subtracts_the_zero_point_at_valid_taps_only(layer):
    groups, inputs, outputs, size, window, rng = layer
    values = rng.integers(0, 256, (2, groups * inputs, *size))
    zero_point = rng.integers(-300, 300, groups * inputs)
    weight = rng.integers(-128, 128, (groups * outputs, inputs, *window.kernel), dtype=np.int8)
    found = kernels.real_conv(values, weight, window, zero_point, None, groups)
    for frame in range(2):
        centred = values[frame] - zero_point[:, None, None]
        np.testing.assert_array_equal(found[frame], naive_conv(centred, weight, window, groups))


def test_real_conv_of_the_widest_operands_is_exact():
    # 2048 products of 2**15 * 127 plus one: 30 bits, beyond float32
    values = np.full((1, 2048, 1, 1), -(2**15))
    values[0, 0] = 1
    weight = np.full((1, 2048, 1, 1), 127, np.int8)
    zeros = np.zeros(2048, np.int64)
    found = kernels.real_conv(values, weight, Window((1, 1)), zeros, None, 1)
    assert found.item() == 127 * (1 - 2047 * 2**15)


def test_presum_sums_before_the_contraction():
    values = np.arange(16).reshape(1, 1, 4, 4)
    weight = np.full((1, 1, 1, 1), 3, np.int8)
    presum = Window((2, 2), (2, 2))
    found = kernels.real_conv(values, weight, Window((1, 1)), np.zeros(1, np.int64), presum, 1)
    expected = [[3 * (0 + 1 + 4 + 5), 3 * (2 + 3 + 6 + 7)], [3 * (8 + 9 + 12 + 13), 3 * 50]]
    assert found[0, 0].tolist() == expected


@NO_DEADLINE
@given(layers(), st.sampled_from([("max", max), ("sum", sum)]))
def test_pool_skips_padding(layer, rule):
    _, channels, _, size, window, rng = layer
    window = Window(window.kernel, window.stride, tuple(min(p, 1) for p in window.padding))
    window = Window(window.kernel, window.stride, (0,) * 4) if 1 in window.kernel else window
    kind, reduce = rule
    values = rng.integers(-2000, -1000, (1, channels, *size))
    found = kernels.pool(values, window, kind)
    for (y, x), taps in naive_windows(values[0], window)[0].items():
        for c in range(channels):
            expected = reduce(int(values[0, c, row, col]) for _, _, row, col in taps)
            assert found[0, c, y, x] == expected


def _rs(value, shift):
    return (value + 2 ** (shift - 1)) // 2**shift


def test_mean_vector_and_dense():
    mean = SimpleNamespace(
        reciprocal=21845,
        shift=16,
        multiplier=np.array([300, -7]),
        offset=np.array([5, 9]),
        z_shift=3,
    )
    sums = np.array([[100, -2000], [10**6, 31]])
    found = kernels.mean_vector(sums, mean)
    for frame in range(2):
        for c, (a, b) in enumerate([(300, 5), (-7, 9)]):
            m = _rs(int(sums[frame, c]) * 21845, 16)
            assert found[frame, c] == min(max(_rs(m * a + b, 3), -32768), 32767)
    layer = SimpleNamespace(
        weight=np.array([[127, -128], [3, 4]], np.int8),
        multiplier=np.array([1000, -5]),
        offset=np.array([77, 1 << 40]),
        shift=9,
    )
    result = kernels.dense(found, layer)
    for frame in range(2):
        z0, z1 = map(int, found[frame])
        assert result[frame].tolist() == [
            _rs((127 * z0 - 128 * z1) * 1000 + 77, 9),
            _rs((3 * z0 + 4 * z1) * -5 + (1 << 40), 9),
        ]


@NO_DEADLINE
@given(layers(), st.sampled_from([-1, 1]))
def test_binary_conv_meets_the_padding_value_outside_the_image(layer, value):
    groups, inputs, outputs, size, window, rng = layer
    signs = rng.integers(0, 2, (1, groups * inputs, *size), dtype=np.uint8)
    weight = rng.integers(0, 2, (groups * outputs, inputs, *window.kernel), dtype=np.uint8)
    found = kernels.binary_conv(signs, weight, window, groups, value)
    top, left, bottom, right = window.padding
    border = ((0, 0), (top, bottom), (left, right))
    padded = np.pad(2 * signs[0].astype(int) - 1, border, constant_values=value)
    inside = Window(window.kernel, window.stride, (0, 0, 0, 0), window.dilation)
    expected = naive_conv(padded, 2 * weight.astype(int) - 1, inside, groups)
    np.testing.assert_array_equal(found[0], expected)


@st.composite
def counted_layers(draw):
    """Signs, weights, window and padding value of a layer whose bits are counted."""
    _, _, outputs, size, window, rng = draw(layers())
    channels = draw(st.sampled_from([48, 63, 64, 65, 128, 200]))
    signs = rng.integers(0, 2, (draw(st.integers(1, 3)), channels, *size), dtype=np.uint8)
    weight = rng.integers(0, 2, (outputs, channels, *window.kernel), dtype=np.uint8)
    return signs, weight, window, draw(st.sampled_from([-1, 0, 1]))


@NO_DEADLINE
@given(counted_layers())
def test_counting_bits_is_the_product_of_signs(layer):
    signs, weight, window, value = layer
    assert contractions.is_counted(weight, 1)
    values = 2 * signs.astype(np.float64) - 1
    expected = contractions.convolve(values, 2 * weight.astype(int) - 1, window, 1, value)
    np.testing.assert_array_equal(kernels.binary_conv(signs, weight, window, 1, value), expected)


def test_a_layer_keeps_its_words_and_makes_them_anew_for_another_size():
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 2, (3, 64, 3, 3), dtype=np.uint8)
    part = BinaryConv("s", weight, Window((3, 3), padding=(1, 1, 1, 1)))
    for size in ((4, 5), (6, 3)):
        words, dots = kernels.counting_constants(part, size)
        assert kernels.counting_constants(part, size)[0] is words
        signs = rng.integers(0, 2, (2, 64, *size), dtype=np.uint8)
        found = kernels.count_conv(signs, words, dots, part.window)
        expected = kernels.binary_conv(signs, weight, part.window, 1)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("terms", [10922, 10923, 32768, 40000])
def test_counting_is_exact_on_both_sides_of_int16(terms):
    # a dot and twice the bits: from 10923 on more than 15 bits
    weight = np.stack([np.zeros((terms, 1, 1), np.uint8), np.ones((terms, 1, 1), np.uint8)])
    signs = np.ones((1, terms, 1, 2), np.uint8)
    signs[0, 0, 0, 1] = 0
    found = kernels.binary_conv(signs, weight, Window((1, 1)), 1)
    assert found.dtype == (np.int16 if 3 * terms < 2**15 else np.int32)
    assert found.tolist() == [[[[-terms, 2 - terms]], [[terms, terms - 2]]]]


@pytest.mark.parametrize("terms", [1, 3, 4, 1023, 1024])
def test_differing_bits_do_not_overflow(terms):
    left = np.zeros((terms, 2), np.uint64)
    right = np.full((terms, 5), 2**64 - 1, np.uint64)
    right[:, 3] = 5
    expected = [[64 * terms] * 3 + [2 * terms, 64 * terms]] * 2
    assert contractions.differing_bits(left, right).tolist() == expected
    assert contractions.differing_bits(right, left).T.tolist() == expected


@given(st.tuples(*[st.integers(0, 9)] * 2), st.integers(0, 5), st.integers(1, 40))
def test_blocks_cover_each_place_once(shape, size, limit):
    seen = np.zeros(shape, int)
    for part in contractions.blocks(*shape, size, limit):
        assert 1 in seen[part].shape or seen[part].size * size <= limit
        seen[part] += 1
    assert (seen == 1).all()


def test_small_buffers_are_given_back():
    before = np.getbufsize()
    with pytest.raises(KeyError), contractions.small_buffers():
        assert np.getbufsize() == contractions.BUFFER
        raise KeyError
    assert np.getbufsize() == before


WIDTHS = st.integers(1, 31)


@NO_DEADLINE
@given(WIDTHS, st.integers(1, 16), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32))
def test_an_affine_step_in_int32_is_the_definition(width, factor, summand, shift, seed):
    rng = np.random.default_rng(seed)

    def numbers(bits, *shape):
        """Numbers of all magnitudes, the largest too."""
        found = rng.integers(-(1 << bits), (1 << bits) - 1, shape, endpoint=True)
        return np.where(
            rng.random(shape) < 0.3, rng.choice([-(1 << bits), 1 << bits], shape), found
        )

    values = numbers(width, 2, 3, 2, 2)
    step = Affine(numbers(width, 3), numbers(factor, 2, 3), numbers(summand, 2, 3), shift)
    apply, reach = kernels.affine_step(None, None, step, int(np.abs(values).max()))
    found = apply(values.copy(), (slice(0, 2), slice(0, 3)))
    assert np.abs(found).max() <= reach
    for place in np.ndindex(values.shape):
        acc, c = int(values[place]), place[1]
        row = int(acc >= step.knot[c])
        expected = _rs(acc * int(step.multiplier[row, c]) + int(step.offset[row, c]), shift)
        assert found[place] == expected


@pytest.mark.parametrize("reach", [2**29 - 2, 2**29 - 1, 2**29, 2**31])
def test_an_affine_step_is_exact_on_both_sides_of_int32(reach):
    # twice the products, 4 * reach, and the rounding: from 2**29 on more than 31 bits
    none = np.zeros((2, 1), np.int64)
    apply, _ = kernels.affine_step(None, None, Affine(none[0], none + 2, none, 1), reach)
    values = np.array([reach, -reach, 0, 1]).reshape(1, 1, 2, 2)
    found = apply(values.copy(), (slice(None), slice(None)))
    assert found.dtype == (np.int32 if 4 * reach + 2 < 2**31 else np.int64)
    np.testing.assert_array_equal(found, values)


@NO_DEADLINE
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_a_maximum_before_the_steps_is_that_after_them(shift, seed):
    rng = np.random.default_rng(seed)
    affine = Affine(*(rng.integers(-9, 9, n) for n in ((4,), (2, 4), (2, 4))), shift)
    stage = SimpleNamespace(epilogue=(affine, Saturate(-20, 15)))
    signs = kernels.directions(stage)
    every = np.arange(-60, 61)[None, None, :, None].repeat(4, axis=1)
    steps, _ = kernels.prepared(None, stage, 60)
    found = every.copy()
    for apply in steps:
        found = apply(found, (slice(None), slice(None)))
    change = np.diff(found[0, :, :, 0])
    both_ways = ((change > 0).any(axis=1) & (change < 0).any(axis=1)).any()
    assert not both_ways or signs is None
    if signs is not None:
        assert (change * np.broadcast_to(signs, (1, 4, 1, 1))[0, :, :, 0] >= 0).all()


def test_a_border_has_a_value_for_each_channel():
    found = kernels.bordered(np.array([[[[1, 2]], [[3, 4]]]]), (1, 0, 0, 2), np.array([7, -8]))
    assert found[0].tolist() == [
        [[7, 7, 7, 7], [1, 2, 7, 7]],
        [[-8, -8, -8, -8], [3, 4, -8, -8]],
    ]


@pytest.mark.parametrize("value", [2**30, -(2**30), 2**31 - 1])
def test_sinks_hold_the_widest_values(value):
    trace = kernels.Trace(np.zeros((1, 1, 1, 1), np.uint8))
    theta = np.array([2**31, -(2**31) - 1, value, value + 1])
    sink = SimpleNamespace(name="s", theta=theta, flip=np.array([0, 1, 0, 0], np.uint8))
    stage = SimpleNamespace(name="x", tensor="t", signs=[sink], sums="z", pool=None, gate=None)
    stage.epilogue = ()
    kernels.finish(trace, stage, np.full((1, 4, 2, 3), value))
    assert trace.signs["s"][0, :, 0, 0].tolist() == [0, 0, 1, 0]
    assert trace.sums["z"].tolist() == [[6 * value] * 4]
    assert (trace.tensors["t"] == value).all()


def test_sums_over_an_image_that_a_maximum_made_larger():
    trace = kernels.Trace(np.zeros((1, 1, 1, 1), np.uint8))
    pool = Window((2, 2), (1, 1), (1, 1, 1, 1))  # one pixel becomes four
    stage = SimpleNamespace(name="x", tensor=None, signs=[], sums="z", pool=pool, gate=None)
    stage.epilogue = ()
    kernels.finish(trace, stage, np.full((1, 2, 1, 1), 2**30))
    assert trace.sums["z"].tolist() == [[2**32] * 2]


def trace_of():
    trace = kernels.Trace(np.zeros((1, 1, 1, 1), np.uint8))
    trace.tensors |= {"t": np.array([[[[5, -6]]]])}
    trace.signs |= {"s": np.array([[[[0, 1]]]], np.uint8)}
    return trace


def test_a_sign_map_counts_as_minus_and_plus_one():
    trace = trace_of()
    assert kernels.value_of(trace, "s").tolist() == [[[[-1, 1]]]]
    assert kernels.value_of(trace, "t").tolist() == [[[[5, -6]]]]
    assert kernels.value_of(trace, "frame").tolist() == [[[[0]]]]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (SimpleNamespace(kind="skip", source="s"), [[9, -8], [99, -99]]),
        (SimpleNamespace(kind="multiply", source="t", shift=2), [[13, 14], [125, 150]]),
        (SimpleNamespace(kind="multiply", source="s", shift=1), [[-5, -4], [-50, -50]]),
        (
            SimpleNamespace(
                kind="spatial_scale", multiplier=np.array([[[3, -5]], [[1, 7]]]), shift=1
            ),
            [[15, 23], [50, -350]],
        ),
        (SimpleNamespace(kind="table", entries=np.array([-4, 0, 9]), low=-1), [[9, -4], [9, -4]]),
    ],
)
def test_steps(step, expected):
    values = np.array([[[[10, -9]], [[100, -100]]]])
    part = (slice(0, 1), slice(0, 2))
    apply, reach = kernels.STEPS[step.kind](trace_of(), None, step, 100)
    found = apply(values, part)
    assert np.abs(found).max() <= reach
    assert found[0, :, 0].tolist() == expected


def test_every_step_has_a_kernel():
    kinds = {step.kind for step in Step.__args__}
    assert set(kernels.STEPS) == kinds
