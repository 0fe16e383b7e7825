"""One network for each form that a canonical Graph can have: exact where integers are exact."""

import networks
import numpy as np
import pytest
from checks import check

from r2b.ir import interpreter, ops
from r2b.ir.execute import execute
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Identity,
    Multiply,
    Pad,
    RealConv,
    SpatialScale,
    Table,
)
from r2b.ir.quantize import Preprocessing, quantize
from r2b.ir.text import parse_graph

SHAPE = (2, 8, 8)


def stem(seed=0, width=6):
    b = networks.Builder(SHAPE, seed)
    b.stem(width)
    return b


def end(b, x=None):
    """Means and a last layer."""
    return b.head(b.last if x is None else x)


def steps(net):
    return [type(step) for stage in net.stages for step in stage.epilogue]


def contractions(net):
    return [type(stage.contraction) for stage in net.stages]


# -------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("kind", ["tanh", "hardswish", "silu", "elu", "softplus", "gelu"])
def test_activation_is_a_table(kind, tmp_path):
    b = stem()
    b.conv(b.put(ops.Activation(kind), b.conv(b.last, 6, 1)), 4, path="behind")
    net, _, _ = check(end(b), tmp_path)
    assert Table in steps(net)


def test_sigmoid_is_a_table(tmp_path):
    b = stem()
    b.put(ops.Add(), b.put(ops.Sigmoid(), b.conv(b.last, 6, 1)), b.last)
    assert Table in steps(check(end(b), tmp_path)[0])


def test_a_table_reads_its_ends_beyond_what_calibration_saw(tmp_path):
    b = networks.Builder((1, 4, 4))
    weight = np.full((2, 1, 1, 1), 6.0)
    x = b.put(ops.Activation("tanh"), b.put(ops.Conv2d(weight), "x", path="c"), path="t")
    graph = end(b, x)
    dark = np.random.default_rng(0).integers(0, 30, (4, 1, 4, 4), dtype=np.uint8)
    net, _ = quantize(graph, dark, 12)
    trace = execute(net, np.full((1, 1, 4, 4), 255, np.uint8))
    table = next(step for step in net.stages[0].epilogue if isinstance(step, Table))
    assert (trace.tensors["c"] == table.entries[-1]).all()


@pytest.mark.parametrize("kind", ["hardsigmoid", "tanh"])
@pytest.mark.parametrize("slope", [None, 0.5])
def test_a_slope_steeper_than_a_table_reads_its_ends(kind, slope, tmp_path):
    """A batch norm without variance: neighbouring sums lie further apart than a table is long."""
    b = stem()
    # the second is inside the table at a sum of 4 only, the third at -2, the fourth nowhere
    factors = np.array([3e4, -5e5, 1e7, 1e9, 0.2, 0.3, 0.1, 0.2])
    summands = np.array([0.7, 2e6 - 0.5, 2e7 + 0.25, -1e12, 0.0, 0.4, -1.0, 0.5])
    x = b.put(ops.BatchNorm.affine(factors, summands), b.binary(b.last, 8, scale=np.ones(8)))
    x = x if slope is None else b.put(ops.PRelu(np.full(8, slope)), x)
    b.conv(b.put(ops.Activation(kind), x, path="soft"), 4, 1, path="behind")
    net, _, _ = check(end(b), tmp_path, sqnr=40)
    assert Table in steps(net)


def test_a_sign_behind_a_rising_activation_is_a_threshold(tmp_path):
    b = stem()
    x = b.put(ops.Activation("tanh"), b.norm(b.last), path="soft")
    net, _, _ = check(end(b, b.binary(x, 4)), tmp_path, equal=1)
    assert Table not in steps(net)


def test_spatial_scale_is_a_step(tmp_path):
    b = stem()
    x = b.binary(b.last, 5, padding=(1,) * 4)
    factor = b.rng.uniform(0.2, 2, b.graph[x].type.shape[1:])
    factor *= b.rng.choice([-1, 1], factor.shape)
    x = b.prelu(b.put(ops.SpatialScale(factor), x))
    assert SpatialScale in steps(check(end(b, x), tmp_path)[0])


@pytest.mark.parametrize("shape", ["channels", "pixels", "both", "one"])
def test_scale_by_any_factor_is_a_product(shape, tmp_path):
    b = stem()
    value, source = b.binary(b.last, 6, padding=(1,) * 4), b.graph.nodes()[-3].name
    width = {"channels": 6, "both": 6, "pixels": 1, "one": 1}[shape]
    factor = b.put(ops.Sigmoid(), b.conv(source, width, 1, path="k"), path="s")
    if shape in ("channels", "one"):
        factor = b.put(ops.GlobalAvgPool(), factor, path="mean")
    x = b.norm(b.put(ops.Scale(), value, factor, path="scaled"))
    net, _, _ = check(end(b, b.put(ops.Relu(), x)), tmp_path)
    assert Multiply in steps(net)


def test_the_k_of_xnor_net_from_magnitudes(tmp_path):
    b = stem()
    source = b.norm(b.last)
    magnitude = b.put(ops.PRelu(np.full(6, -1.0)), source, path="abs")
    mean = b.put(ops.Conv2d(np.full((1, 6, 1, 1), 1 / 6)), magnitude, path="mean")
    box = ops.Conv2d(np.full((1, 1, 3, 3), 1 / 9), padding=(1,) * 4)
    factor = b.put(box, mean, path="box")
    x = b.put(ops.Scale(), b.binary(source, 4, padding=(1,) * 4), factor, path="k")
    assert Multiply in steps(check(end(b, b.norm(x)), tmp_path)[0])


@pytest.mark.parametrize("function", ["sigmoid", "hardsigmoid"])
def test_a_gate_on_a_convolution_stays_fused(function, tmp_path):
    b = stem()
    source = b.norm(b.last)
    y = b.binary(source, 6, padding=(1,) * 4)
    fc1, fc2 = b.rng.normal(size=(4, 6)), b.rng.normal(size=(6, 4))
    gate = b.put(ops.Gate(fc1, None, fc2, None, function), source, path="gate")
    net, _, _ = check(end(b, b.prelu(b.put(ops.Scale(), y, gate))), tmp_path)
    (stage,) = [stage for stage in net.stages if stage.gate]
    assert stage.gate.function == function and Multiply not in steps(net)


def test_a_gate_that_reads_what_it_scales_becomes_convolutions_and_a_product(tmp_path):
    b = stem()
    y = b.norm(b.binary(b.last, 6, padding=(1,) * 4))
    net, _, _ = check(end(b, b.gate(y, y)), tmp_path)
    assert all(stage.gate is None for stage in net.stages)
    assert {Multiply, Table} <= set(steps(net))


def test_two_gates_on_one_convolution(tmp_path):
    b = stem()
    source = b.norm(b.last)
    y = b.gate(b.binary(source, 6, padding=(1,) * 4), source, "g1")
    net, _, _ = check(end(b, b.prelu(b.gate(y, source, "g2"))), tmp_path)
    assert sum(stage.gate is not None for stage in net.stages) == 1
    assert Multiply in steps(net)


# ----------------------------------------------------------------------------- sign maps as numbers


@pytest.mark.parametrize("kind", ["add", "conv", "average", "prelu", "scale"])
def test_a_sign_map_is_a_real_operand(kind, tmp_path):
    b = stem()
    sign = b.put(ops.Sign(), b.norm(b.last), path="sign")
    made = {
        "add": lambda: b.put(ops.Add(), sign, b.conv(sign, 6, 1, path="c")),
        "conv": lambda: b.conv(sign, 5, padding=(1,) * 4),
        "average": lambda: b.put(ops.AvgPool2d((2, 2), (2, 2)), sign),
        "prelu": lambda: b.prelu(sign),
        "scale": lambda: b.put(ops.Scale(), b.conv(sign, 6, 1, path="c"), sign),
    }
    check(end(b, made[kind]()), tmp_path)


def test_a_conv_that_only_looks_binary_is_real(tmp_path):
    b = stem()
    sign = b.put(ops.Sign(), b.norm(b.last), path="sign")
    weight = b.rng.choice([-1.0, 1.0], (4, 6, 3, 3)) + b.rng.normal(size=(4, 6, 3, 3)) * 0.05
    net, _, trace = check(end(b, b.put(ops.Conv2d(weight), sign, path="real")), tmp_path)
    stage = next(stage for stage in net.stages if stage.name == "real")
    assert isinstance(stage.contraction, RealConv)
    assert stage.contraction.source in trace.signs


def test_sums_of_signs_are_exact_and_have_true_zeros(tmp_path):
    graph = parse_graph("""
x = Input(shape=(1, 2, 6, 6))
a = Conv2d(x, weight=normal((4, 2, 1, 1), seed=1))
b = Conv2d(x, weight=normal((4, 2, 1, 1), seed=2))
s = Sign(a)
t = Sign(b)
both = Add(s, t)
u = Sign(both, zero=-1)
c = BinaryConv2d(u, weight=signs((3, 4, 1, 1)), scale=[1., 1., 1.])
mean = GlobalAvgPool(c)
output = Output(mean)
""")
    _, report, trace = check(graph, tmp_path, bits=8)
    signs = {node: trace.signs[name] for name, node in report.origins.signs.items()}
    assert ((signs["s"] & signs["t"]) == signs["u"]).all()
    assert ((signs["s"] ^ signs["t"]) == 1).any()


@pytest.mark.parametrize("form", ["pad", "concat", "max", "flatten"])
def test_moved_sign_maps_are_sign_maps_bit_for_bit(form, tmp_path):
    b = stem(width=4)
    sign = b.put(ops.Sign(), b.norm(b.last), path="sign")
    moved = {
        "pad": lambda: b.put(
            ops.Concat(), *2 * [b.put(ops.Pad((1, 0, 2, 1), -1.0), sign, path="m")]
        ),
        "concat": lambda: b.put(ops.Concat(), sign, sign, path="m"),
        "max": lambda: b.put(ops.MaxPool2d((2, 2), (1, 1)), sign, path="m"),
        "flatten": lambda: b.put(ops.Flatten(), b.put(ops.Concat(), sign, sign), path="m"),
    }[form]()
    if form == "flatten":
        both = b.put(ops.Concat(), moved, moved, path="twice")
        weight = b.rng.choice([-1, 1], (5, b.channels(both)))
        x = b.norm(b.put(ops.BinaryLinear(weight, np.ones(5)), both, path="c"))
    else:
        weight = b.rng.choice([-1, 1], (5, b.channels(moved), 2, 2))
        x = b.norm(b.put(ops.BinaryConv2d(weight, np.ones(5)), moved, path="c"))
    b.put(ops.Output(), x if form == "flatten" else b.put(ops.GlobalAvgPool(), x))
    net, _, trace = check(b.graph, tmp_path, equal=0.995)
    stage = next(stage for stage in net.stages if stage.name == "c")
    assert isinstance(stage.contraction, BinaryConv)
    given = 2.0 * trace.signs[stage.contraction.source] - 1
    known = {sign: 2.0 * trace.signs[net.stages[0].signs[0].name] - 1}
    moves = [n for n in b.graph.nodes() if n.name.startswith(("m", "concat", "twice"))]
    for node in moves:
        known[node.name] = interpreter.evaluate(node.op, [known[o] for o in node.operands])
    assert (given == known[moves[-1].name].reshape(given.shape)).all()


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_padding_values_of_binary_convolutions_are_exact(value, tmp_path):
    b = stem()
    ones, zeros = np.ones(4), np.zeros(4)
    x = b.binary(b.last, 4, padding=(1, 1, 1, 1), padding_value=value, scale=ones)
    sign = b.put(ops.Sign(-1), b.put(ops.BatchNorm.affine(ones, zeros + 2), x), path="sign")
    net, report, trace = check(end(b, b.conv(sign, 4)), tmp_path)
    assert net.stages[1].contraction.padding_value == value
    names = {node: name for name, node in report.origins.signs.items()}
    (source,) = [names[n] for n in b.graph[x].operands]
    real = interpreter.evaluate(b.graph[x].op, [2.0 * trace.signs[source] - 1])
    assert (trace.signs[names[sign]] == (real > -2)).all()


def test_a_pad_before_a_convolution_is_its_padding(tmp_path):
    b = networks.Builder(SHAPE)
    x = b.conv(b.put(ops.Pad((1, 1, 1, 1), 0.0), "x", path="pad"), 4)
    sign = b.put(ops.Pad((1, 1, 1, 1), 1.0), b.put(ops.Sign(), x, path="s"), path="p2")
    weight = b.rng.choice([-1, 1], (3, 4, 3, 3))
    y = b.put(ops.BinaryConv2d(weight, np.ones(3)), sign, path="c")
    net, _, _ = check(end(b, b.norm(y)), tmp_path, equal=0.97)
    assert contractions(net) == [RealConv, BinaryConv]
    assert net.stages[0].contraction.window.padding == (1, 1, 1, 1)
    assert net.stages[1].contraction.padding_value == 1


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_a_pad_of_a_tensor_has_the_value_on_the_tensors_grid(value, tmp_path):
    b = stem()
    x = b.put(ops.Pad((0, 1, 2, 0), value), b.last, path="pad")
    net, _, trace = check(end(b, b.put(ops.AvgPool2d((2, 2), (1, 1)), x)), tmp_path)
    border = trace.tensors["pad"][:, :, -1, :]
    wanted = value / net.tensors["pad"].scale
    # rounded on the source's grid, which may be coarser, and by a multiplier of 16 bits
    grid = 3 + net.tensors["stem"].scale / net.tensors["pad"].scale
    assert Pad in contractions(net)
    assert (np.abs(border - wanted[:, None]) <= grid[:, None]).all()


def test_a_concat_of_tensors_is_the_tensors(tmp_path):
    b = stem()
    first, second = b.last, b.norm(b.conv(b.last, 3, 1, path="c"), path="n")
    x = b.put(ops.Concat(), first, second, path="cat")
    net, _, trace = check(end(b, x), tmp_path)
    stage = next(stage for stage in net.stages if isinstance(stage.contraction, Concat))
    parts = [trace.tensors[name] for name in stage.contraction.sources]
    np.testing.assert_array_equal(trace.tensors["cat"], np.concatenate(parts, axis=1))


def test_a_dense_block_signs_concatenated_values(tmp_path):
    b = stem()
    x = b.last
    for index in range(3):
        y = b.norm(b.binary(b.norm(x, f"n{index}"), 3, path=f"c{index}", padding=(1,) * 4))
        x = b.put(ops.Concat(), x, y, path=f"cat{index}")
    check(end(b, x), tmp_path)


# ---------------------------------------------------------------------------------------- the frame


def test_signs_of_the_frame_are_thresholds_on_pixels(tmp_path):
    b = networks.Builder(SHAPE)
    x = b.binary(b.put(ops.BatchNorm.affine(np.ones(2), np.full(2, -0.5)), "x", path="n"), 4)
    graph = end(b, b.norm(x))
    net, report, trace = check(graph, tmp_path, equal=1)
    assert isinstance(net.stages[0].contraction, Identity)
    frames = networks.frames(SHAPE, 6)
    (bits,) = trace.signs.values()
    assert (bits == (frames >= 128)).all() and report.stages[0].equal_signs == 1


@pytest.mark.parametrize(
    "op", [ops.MaxPool2d((2, 2), (2, 2)), ops.AvgPool2d((2, 2), (2, 2), (1, 1, 0, 0)), ops.Relu()]
)
def test_the_frame_goes_into_anything(op, tmp_path):
    b = networks.Builder(SHAPE)
    x = b.put(op, "x", path="first")
    settings = Preprocessing((0.4, 0.5), (0.2, 0.3))
    check(end(b, b.conv(x, 4)), tmp_path, preprocessing=settings)


def test_an_average_that_leaves_padding_out_divides_by_position(tmp_path):
    b = stem()
    pool = ops.AvgPool2d((3, 3), (1, 1), (1, 1, 1, 1), count_include_pad=False)
    net, _, _ = check(end(b, b.put(pool, b.last, path="pool")), tmp_path)
    assert SpatialScale in steps(net)


@pytest.mark.parametrize("limits", [(-np.inf, 0.4), (0.1, np.inf), (-0.3, 0.7)])
def test_hardtanh_with_any_bounds(limits, tmp_path):
    b = stem()
    x = b.put(ops.Hardtanh(*limits), b.norm(b.conv(b.last, 4, 1)), path="h")
    check(end(b, x), tmp_path)


def test_chains_without_contractions(tmp_path):
    b = stem()
    x = b.norm(b.put(ops.Hardtanh(), b.prelu(b.norm(b.last), path="p1"), path="h"), path="n2")
    y = b.put(ops.Relu(), b.put(ops.Add(), x, x, path="double"), path="r")
    check(end(b, b.prelu(b.put(ops.Add(), y, x), path="p2")), tmp_path)


def test_a_sign_of_what_rises_and_falls(tmp_path):
    """|x| - 0.5 has two thresholds; the magnitude becomes a value of its own."""
    b = stem()
    magnitude = b.put(ops.PRelu(np.full(6, -1.0)), b.norm(b.last), path="abs")
    shifted = b.put(ops.BatchNorm.affine(np.ones(6), np.full(6, -0.5)), magnitude, path="less")
    check(end(b, b.norm(b.binary(shifted, 4))), tmp_path)
