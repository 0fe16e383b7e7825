"""Programs of small random networks: against a scalar interpreter, and against the float Graph."""

import json

import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.ir import interpreter, ops, program, serialize
from r2b.ir.arith import bounds
from r2b.ir.errors import CalibrationError, UnsupportedOpError
from r2b.ir.execute import execute, logits
from r2b.ir.program import ProgramError, Saturate, Skip, identical
from r2b.ir.quantize import Preprocessing, measure, quantize


def sample(kind="paper", seed=0, bits=12, **options):
    graph = networks.SAMPLES[kind](seed)
    frames = networks.frames(graph.inputs[0].type.shape[1:], 8, seed + 1)
    return graph, frames, *quantize(graph, frames, bits, **options)


# --------------------------------------------------------------------- a second, scalar executor


def rs(value, shift):
    return (value + 2 ** (shift - 1)) // 2**shift


def clamp(value, low, high):
    return min(max(value, low), high)


def at(window, y, x, size):
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            row = y * window.stride[0] - window.padding[0] + i * window.dilation[0]
            col = x * window.stride[1] - window.padding[1] + j * window.dilation[1]
            if 0 <= row < size[0] and 0 <= col < size[1]:
                yield i, j, row, col


def contract(part, values, o, y, x):
    """The accumulator at one position, from the definitions in r2b.ir.program."""
    source = values[part.source]
    size = source.shape[1:]
    if isinstance(part, program.Identity):
        return int(source[o, y, x])
    if isinstance(part, program.Pool):
        taps = [int(source[o, row, col]) for _, _, row, col in at(part.window, y, x, size)]
        return max(taps) if part.kind == "max" else sum(taps)
    outputs, inputs = part.weight.shape[:2]
    first = o // (outputs // part.groups) * inputs
    total = 0
    presum = getattr(part, "presum", None)
    seen = size if presum is None else presum.output_size(*size)
    for i, j, row, col in at(part.window, y, x, seen):
        for c in range(inputs):
            weight = int(part.weight[o, c, i, j])
            if isinstance(part, program.BinaryConv):
                total += (2 * weight - 1) * (2 * int(source[first + c, row, col]) - 1)
            elif presum is None:
                total += weight * (
                    int(source[first + c, row, col]) - int(part.zero_point[first + c])
                )
            else:
                near = at(presum, row, col, size)
                total += weight * sum(int(source[first + c, r, k]) for _, _, r, k in near)
    return total


def mean_vector(mean, sums):
    z = []
    for s, a, b in zip(sums, mean.multiplier, mean.offset, strict=True):
        m = rs(int(s) * mean.reciprocal, mean.shift)
        z.append(clamp(rs(m * int(a) + int(b), mean.z_shift), -(2**15), 2**15 - 1))
    return z


def dense(layer, vector):
    result = []
    for o in range(len(layer.weight)):
        total = sum(int(w) * v for w, v in zip(layer.weight[o], vector, strict=True))
        assert -(2**31) <= total < 2**31
        result.append(rs(total * int(layer.multiplier[o]) + int(layer.offset[o]), layer.shift))
    return result


def slopes(gate, sums):
    hidden = [clamp(v, 0, 2**15 - 1) for v in dense(gate.hidden, mean_vector(gate.mean, sums))]
    index = [clamp(v, -512, 511) for v in dense(gate.out, hidden)]
    factor = [round(65536 / (1 + np.exp(-i / 64))) for i in index]
    return [
        [
            clamp(rs(f * int(k), gate.shift), -(2**15), 2**15 - 1)
            for f, k in zip(factor, row, strict=True)
        ]
        for row in (gate.slope_n, gate.slope_p)
    ]


def epilogue(stage, values, pair, v, o, y, x):
    for step in stage.epilogue:
        if isinstance(step, Skip):
            v += int(values[step.source][o, y, x])
        elif isinstance(step, Saturate):
            v = clamp(v, step.low, step.high)
        else:
            side = int(v >= int(step.knot[o]))
            multiplier = pair[side][o] if step.gated else int(step.multiplier[side, o])
            product = v * multiplier + int(step.offset[side, o])
            assert -(2**15) <= multiplier < 2**15
            assert -(2**47) <= product + 2 ** (step.shift - 1) < 2**47
            v = rs(product, step.shift)
    return v


def run_stage(stage, values, signs, sums, size):
    pair = slopes(stage.gate, sums[stage.gate.mean.sums]) if stage.gate else None
    sources = signs if isinstance(stage.contraction, program.BinaryConv) else values
    result = np.zeros((stage.shape[0], *size), np.int64)
    for o, y, x in np.ndindex(*result.shape):
        acc = contract(stage.contraction, sources, o, y, x)
        assert -(2**31) <= acc < 2**31
        result[o, y, x] = epilogue(stage, values, pair, acc, o, y, x)
    if stage.pool is not None:
        pooled = np.zeros(stage.shape, np.int64)
        for o, y, x in np.ndindex(*stage.shape):
            pooled[o, y, x] = max(result[o, r, c] for _, _, r, c in at(stage.pool, y, x, size))
        result = pooled
    return result


def size_before_pool(stage, values, signs):
    part = stage.contraction
    source = (signs if isinstance(part, program.BinaryConv) else values)[part.source].shape[1:]
    if isinstance(part, program.Identity):
        return source
    presum = getattr(part, "presum", None)
    return part.window.output_size(*(presum.output_size(*source) if presum else source))


def run_naively(net, frame):
    values, signs, sums = {"frame": frame}, {}, {}
    for stage in net.stages:
        result = run_stage(stage, values, signs, sums, size_before_pool(stage, values, signs))
        assert result.shape == tuple(stage.shape)
        if stage.tensor:
            low, high = bounds(net.act_bits)
            assert low <= result.min() and result.max() <= high
            values[stage.tensor] = result
        for sink in stage.signs:
            theta, flip = sink.theta[:, None, None], sink.flip[:, None, None] == 1
            signs[sink.name] = ((result >= theta) != flip).astype(np.uint8)
        if stage.sums:
            sums[stage.sums] = result.sum(axis=(1, 2))
    z = mean_vector(net.head.mean, sums[net.head.mean.sums])
    rows = zip(net.head.weight, net.head.bias, strict=True)
    return (
        values,
        signs,
        sums,
        [int(b) + sum(int(w) * v for w, v in zip(r, z, strict=True)) for r, b in rows],
    )


@pytest.mark.parametrize("kind", networks.SAMPLES)
@pytest.mark.parametrize(("seed", "bits"), [(0, 12), (1, 8), (2, 16)])
def test_execute_equals_a_scalar_interpreter(kind, seed, bits):
    _, frames, net, _ = sample(kind, seed, bits)
    trace = execute(net, frames[:1])
    values, signs, sums, result = run_naively(net, frames[0].astype(np.int64))
    assert set(values) == set(trace.tensors) and set(signs) == set(trace.signs)
    for name, value in values.items():
        np.testing.assert_array_equal(trace.tensors[name][0], value, err_msg=name)
    for name, value in signs.items():
        np.testing.assert_array_equal(trace.signs[name][0], value, err_msg=name)
    for name, value in sums.items():
        np.testing.assert_array_equal(trace.sums[name][0], value, err_msg=name)
    assert trace.logits[0].tolist() == result


# ------------------------------------------------------------------------- against the float net


@pytest.mark.parametrize("kind", networks.SAMPLES)
@pytest.mark.parametrize("seed", range(4))
def test_every_stage_follows_the_float_network(kind, seed):
    _, _, _, report = sample(kind, seed, 16)
    for stage in report.stages:
        assert stage.equal_signs is None or stage.equal_signs > 0.985, stage
        assert stage.sqnr_db is None or stage.sqnr_db > 33, stage


def test_more_bits_give_less_noise():
    noise = [
        np.mean([s.sqnr_db for s in sample("paper", 3, bits)[3].stages if s.sqnr_db])
        for bits in (8, 10, 12)
    ]
    assert noise[0] + 8 < noise[1] and noise[1] + 4 < noise[2]


def test_preprocessing_equals_the_same_normalisation_in_the_model():
    plain = networks.paper(5)
    frames = networks.frames((2, 9, 8), 8)
    mean, std = (0.4, 0.6), (0.2, 0.5)
    outside, _ = quantize(plain, frames, preprocessing=Preprocessing(mean, std))
    inside = networks.paper(5)
    first = inside.users("x")[0]
    normal = ops.BatchNorm.affine(1 / np.array(std), -np.array(mean) / np.array(std))
    node = inside.add(normal, ("x",), name="normal", near="x")
    inside.replace(first.name, first.op, (node.name,))
    folded, _ = quantize(inside, frames)
    assert (logits(outside, frames) == logits(folded, frames)).all()
    assert folded.stages[0].contraction.zero_point.tolist() == [102, 153]


def test_raw_pixels():
    graph = networks.paper(6)
    frames = networks.frames((2, 9, 8), 8)
    net, report = quantize(graph, frames, preprocessing=Preprocessing(raw=True))
    assert net.stages[0].contraction.zero_point.tolist() == [0, 0]
    assert report.stages[0].sqnr_db > 30


# ----------------------------------------------------------------------------- shape of a Program


def test_a_gated_half_block_is_one_stage():
    _, _, net, _ = sample()
    stage = next(stage for stage in net.stages if stage.name == "b1.conv")
    assert [step.kind for step in stage.epilogue] == ["affine", "skip", "saturate"]
    assert stage.epilogue[0].gated and stage.gate is not None


def test_the_shortcut_runs_before_the_strided_convolution():
    _, _, net, _ = sample()
    names = [stage.name for stage in net.stages]
    assert names.index("b3.shortcut") < names.index("b3.conv")
    shortcut = net.stages[names.index("b3.shortcut")]
    assert shortcut.contraction.presum is not None
    assert net.stages[names.index("b3.conv")].epilogue[1] == Skip("b3.shortcut")


def test_tensors_joined_by_skip_and_pooling_share_a_scale():
    _, _, net, _ = sample()
    scales = [net.tensors[name].scale for name in ("stem", "b1.conv", "b2.conv")]
    assert all((scale == scales[0]).all() for scale in scales)
    assert (net.tensors["b3.shortcut"].scale == net.tensors["b4.conv"].scale).all()


def test_only_signs_are_kept_where_only_signs_are_used():
    _, _, net, _ = sample("plain")
    stage = next(stage for stage in net.stages if stage.name == "c1")
    assert stage.tensor is None and stage.epilogue == () and len(stage.signs) == 1


def test_the_slopes_are_exchanged_for_a_negative_scale():
    graph, _, net, _ = sample()
    stage = next(stage for stage in net.stages if stage.name == "b1.conv")
    scale = next(
        n.op.scale for n in graph if n.location.module_path == "b1.conv" and hasattr(n.op, "scale")
    )
    slope = next(n.op.slope for n in graph if n.location.module_path == "b1.act")
    small = np.where(scale > 0, stage.gate.slope_n, stage.gate.slope_p)
    large = np.where(scale > 0, stage.gate.slope_p, stage.gate.slope_n)
    assert (np.sign(large) == np.sign(scale)).all()
    np.testing.assert_allclose(small / large, slope, atol=0.01)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0, 1]))
def test_thresholds_give_the_sign_of_the_batch_norm_for_every_value(seed, at_zero):
    b = networks.Builder((1, 6, 6), seed)
    gamma = b.rng.choice([-1.3, -0.5, 0.0, 0.7, 1.0], 8)
    x = b.stem(8)
    normal = b.norm(x, "bn", gamma=gamma)
    y = b.binary(normal, 8, path="c", padding=(1,) * 4, zero=1 if at_zero else -1)
    graph = b.head(b.put(ops.Add(), y, x))
    net, _ = quantize(graph, networks.frames((1, 6, 6), 4), 8)
    (sink,) = net.stages[0].signs
    values = np.arange(-128, 128)[:, None]
    real = interpreter.evaluate(graph[normal].op, [values * net.tensors["stem"].scale])
    expected = (real >= 0) if at_zero else (real > 0)
    assert (((values >= sink.theta) ^ (sink.flip == 1)) == expected).all()
    assert sink.theta.min() >= -128 and sink.theta.max() <= 127


def test_dead_channels_keep_a_scale():
    b = networks.Builder((1, 6, 6), 0)
    x = b.conv("x", 4, path="c")
    weight = b.graph[x].op.weight.copy()
    weight[1] = 0
    b.graph.replace(x, ops.Conv2d(weight))
    net, _ = quantize(b.head(b.put(ops.Relu(), x)), networks.frames((1, 6, 6)))
    assert (net.tensors["c"].scale > 0).all()


def test_programs_are_deterministic_and_serialize(tmp_path):
    first, second = (sample(seed=4)[2] for _ in range(2))
    assert identical(first, second)
    serialize.save(first, tmp_path)
    assert identical(serialize.load(tmp_path), first)


def test_report_is_json():
    _, frames, _, report = sample()
    text = json.dumps(report.to_dict())
    assert json.loads(text)["stages"][0]["name"] == "stem"
    assert 0 <= report.top1_agreement <= 1 and report.num_frames == len(frames)


def test_measure_on_other_frames():
    graph, frames, net, report = sample()
    again = measure(graph, net, report.origins, frames, Preprocessing(), batch=3)
    assert [s.equal_signs for s in again.stages] == [s.equal_signs for s in report.stages]


# -------------------------------------------------------------------------------------- bad input

SHAPE = (2, 9, 8)
NEEDED = "calibration frames must be uint8, N x 2 x 9 x 8, N >= 1"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([1], f"{NEEDED}, not a list; give a NumPy array"),
        (np.zeros((2, *SHAPE)), f"{NEEDED}, not float64; give raw pixels 0..255"),
        (np.full((2, *SHAPE), np.nan), f"{NEEDED}, not float64 with NaN; give raw pixels 0..255"),
        (
            np.zeros(SHAPE, np.uint8),
            f"{NEEDED}, not 2 x 9 x 8; give frames as the network takes them",
        ),
        (np.zeros((0, *SHAPE), np.uint8), f"{NEEDED}, not 0 frames; give some samples"),
    ],
)
def test_bad_frames(frames, message):
    with pytest.raises(CalibrationError) as error:
        quantize(networks.paper(), frames)
    assert str(error.value) == message


@pytest.mark.parametrize("bits", [7, 17, 0, -1])
def test_bad_width(bits):
    with pytest.raises(CalibrationError, match=rf"^activations have 8 to 16 bits, not {bits}; "):
        quantize(networks.paper(), networks.frames(SHAPE), bits)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (Preprocessing(std=0.0), "^std must be positive and of sane size, not 0.0$"),
        (Preprocessing(mean=float("nan")), "^mean must be one finite number"),
        (
            Preprocessing(mean=(1.0, 2.0, 3.0)),
            "^mean must be one finite number, or one for each of the 2",
        ),
    ],
)
def test_bad_preprocessing(preprocessing, message):
    with pytest.raises(CalibrationError, match=message):
        quantize(networks.paper(), networks.frames(SHAPE), preprocessing=preprocessing)


def test_a_sign_of_zero_is_refused_or_decided():
    def graph():
        b = networks.Builder((1, 8, 8))
        x = b.binary(b.stem(4), 4, path="c1", padding=(1,) * 4)
        x = b.binary(x, 4, path="c2", zero=0)
        return b.head(b.norm(x))

    frames = networks.frames((1, 8, 8))
    with pytest.raises(
        UnsupportedOpError, match=r"can occur in 1 layer; [^\n]*\n  c2 \(m.py:1\): Sign"
    ):
        quantize(graph(), frames)
    # where the scale is negative, the bit of a falling value is flipped
    plus, minus = (
        quantize(graph(), frames, sign_zero=bit)[0].stages[1].signs[0] for bit in (1, -1)
    )
    assert (plus.theta != minus.theta).all()


def test_a_width_that_does_not_suffice_names_the_layer():
    b = networks.Builder((1, 8, 8))
    x = b.stem(4)
    y = b.binary(x, 4, path="wide.conv", padding=(1,) * 4)
    y = b.put(ops.BatchNorm.affine(np.array([1e12, 1, 1, 1]), np.zeros(4)), y, path="wide.norm")
    z = b.put(ops.Hardtanh(-1.0, 1.0), y, path="clip")
    with pytest.raises(
        ProgramError, match=r"^wide.conv \(m.py:1\): the epilogue needs factors up to"
    ):
        quantize(b.head(z), networks.frames((1, 8, 8)))


def test_infinite_values_name_the_operation():
    b = networks.Builder((1, 8, 8))
    x = b.stem(4)
    x = b.put(ops.BatchNorm.affine(np.full(4, np.inf), np.zeros(4)), x, path="broken")
    with pytest.raises(
        CalibrationError, match=r"^broken \(m.py:1\): BatchNorm gives NaN or infinity"
    ):
        quantize(b.head(x), networks.frames((1, 8, 8)))
