"""Every operation's work, counted by hand; what has no rule; parameters and memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r2b.backends.cost.accounting import count
from r2b.backends.cost.rules import CONVENTIONS, UNITS
from r2b.backends.cost.work import WORK
from r2b.ir import ops
from r2b.ir.errors import Location, UnsupportedOpError, UserError
from r2b.ir.text import parse_graph
from r2b.ir.types import TensorType
from r2b.ir.written import written

NOT_COUNTED = {
    # gone once the network is as it was written; one that is left is an error
    ops.Constant,
    ops.Compare,
    ops.Where,
    ops.ToFloat,
    ops.Opaque,
}
MERGED = {
    # made by later passes from the operations that are counted
    ops.Conv2d,
    ops.BinaryConv2d,
    ops.Linear,
    ops.BinaryLinear,
    ops.BatchNorm,
    ops.Scale,
    ops.SpatialScale,
    ops.Add,
    ops.GlobalAvgPool,
    ops.Gate,
}


def test_every_operation_has_a_rule_or_a_reason():
    vocabulary = {*ops.CANONICAL_OPS, *ops.RAW_OPS}
    assert set(WORK) == vocabulary - NOT_COUNTED - MERGED


def test_every_convention_has_a_cost_for_every_kind():
    for name, convention in CONVENTIONS.items():
        assert list(convention.costs) == list(UNITS), name


def counted(text: str, convention: str = "paper", real_bits: int = 32):
    return count(written(parse_graph(text)), convention, real_bits)


def network(line: str, shape: str = "(1, 2, 4, 6)") -> str:
    return f"x = Input(shape={shape})\n{line}\no = Output(y)\n"


X = 2 * 4 * 6
CASES = {
    "relu": ("y = Relu(x)", {"activation": X}),
    "hardtanh": ("y = Hardtanh(x, lo=-1.0, hi=1.0)", {"activation": X}),
    "sigmoid": ("y = Sigmoid(x)", {"activation": X}),
    "silu": ("y = Activation(x, kind='silu')", {"activation": X}),
    "tanh": ("y = Unary(x, kind='tanh')", {"activation": X}),
    "abs": ("y = Unary(x, kind='abs')", {"activation": X}),
    "neg": ("y = Unary(x, kind='neg')", {"sign": X}),
    "sign": ("y = Sign(x)", {"sign": X}),
    "sum": ("y = Arithmetic(x, x, kind='add')", {"sum": X}),
    "difference": ("r = Relu(x)\ny = Arithmetic(x, r, kind='sub')", {"activation": X, "sum": X}),
    "bias": ("c = Constant(value=[[[[1.0]], [[2.0]]]])\ny = Arithmetic(x, c, kind='add')",
             {"bias": X}),
    "scale": ("c = Constant(value=3.0)\ny = Arithmetic(x, c, kind='mul')", {"factor": X}),
    "division": ("c = Constant(value=3.0)\ny = Arithmetic(x, c, kind='div')", {"factor": X}),
    "product": ("r = Relu(x)\ny = Arithmetic(x, r, kind='mul')", {"activation": X, "factor": X}),
    "square": ("c = Constant(value=2.0)\ny = Arithmetic(x, c, kind='pow')", {"activation": X}),
    "gate": ("m = Mean(x, axes=(2, 3), keepdim=True)\ny = Arithmetic(x, m, kind='mul')",
             {"average": X, "factor": X}),
    "mean of channels": ("y = Mean(x, axes=(1,), keepdim=True)", {"average": X}),
    "max pool": ("y = MaxPool2d(x, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))",
                 {"max pool": 9 * 2 * 2 * 3}),
    "average pool": ("y = AvgPool2d(x, kernel=(2, 3), stride=(2, 3))", {"average": 6 * 2 * 2 * 2}),
    "adaptive": ("y = AdaptiveAvgPool2d(x, size=(2, 3))", {"average": X}),
    "views": ("y = Reshape(x, shape=(1, 48))", {"movement": X}),
    "pad": ("y = Pad(x, padding=(1, 0, 0, 1), value=0.0)", {"movement": 2 * 5 * 7}),
    "concat": ("y = Concat(x, x)", {"movement": 2 * X}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_work(name):
    line, expected = CASES[name]
    layers = counted(network(line)).layers
    found = {}
    for layer in layers:
        if layer.op not in ("input", "output"):
            for part in layer.work:
                found[part.kind] = found.get(part.kind, 0) + part.amount
    assert found == expected


CONV = """
x = Input(shape=(1, 2, 4, 6))
s = Sign(x)
w = Constant(value=[[[[{0}, -{0}]], [[{0}, {0}]]], [[[-{0}, {0}]], [[{0}, {1}]]]], origin='w')
b = Constant(value=[1.0, 2.0], origin='b')
y = Convolution({2}, w, b, stride=(1, 2), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1)
o = Output(y)
"""
TAPS = 2 * 4 * 3 * (2 * 1 * 2)


@pytest.mark.parametrize(
    ("size", "other", "operand", "macs", "flops", "stored"),
    [
        ("1.0", "1.0", "s", {(1, 1): TAPS}, 0, (8, 2)),
        # -a and +a: the signs, and a multiplication by a per output; a is stored
        ("0.5", "0.5", "s", {(1, 1): TAPS}, 24, (8, 3)),
        ("0.5", "0.5", "x", {(1, 32): TAPS}, TAPS + 24, (8, 3)),
        ("0.5", "0.7", "s", {(32, 1): TAPS}, TAPS, (0, 10)),
        ("0.5", "0.7", "x", {(32, 32): TAPS}, TAPS, (0, 10)),
    ],
)
def test_widths_of_a_convolution(size, other, operand, macs, flops, stored):
    found = counted(CONV.format(size, other, operand))
    bops = sum(number for widths, number in macs.items() if widths == (1, 1))
    assert (found.macs, found.bops, found.flops) == (macs, bops, flops)
    assert (found.stored.binary, found.stored.real) == stored
    assert found.stored.bits(16) == stored[0] + 16 * stored[1]


def test_bits_of_a_mixed_layer():
    found = counted(CONV.format("0.5", "0.7", "s"), "bops-bits", 8)
    assert (found.bops, found.flops, found.figure) == (0, 8 * TAPS, 8 * TAPS)


def test_a_box_filter_and_a_lone_weight_are_real():
    text = CONV.format("0.5", "0.5", "x").replace("-0.5", "0.5")
    assert counted(text).macs == {(32, 32): TAPS}
    lone = """
x = Input(shape=(1, 1))
w = Constant(value=[[0.5], [-0.25]], origin='w')
y = Dense(x, w)
o = Output(y)
"""
    assert counted(lone).macs == {(32, 32): 2}


NEUTRAL = """
x = Input(shape=(1, 1, 2, 2))
c = Constant(value={}, origin='{}')
y = Arithmetic(x, c, kind='mul')
o = Output(y)
"""


def test_a_parameter_that_is_1_is_a_scale_and_a_number_that_is_1_is_nothing():
    assert counted(NEUTRAL.format("[[[[1.0]]]]", "scale")).flops == 4
    assert counted(NEUTRAL.format("1.0", "")).flops == 0


def test_equal_layers_with_equal_parameters_are_two_layers():
    text = """
x = Input(shape=(1, 1, 2, 2))
a = Constant(value=[1.0], origin='n1.weight')
b = Constant(value=[0.0], origin='n1.bias')
c = Constant(value=[1.0], origin='n2.weight')
d = Constant(value=[0.0], origin='n2.bias')
n = Normalization(x, a, b, b, a, eps=1e-05)
m = Normalization(x, c, d, d, c, eps=1e-05)
y = Arithmetic(n, m, kind='add')
o = Output(y)
"""
    found = counted(text)
    assert found.by_kind() == {"batch norm": (0, 16), "sum": (0, 8)}
    assert found.stored.real == 4


def test_a_shared_parameter_is_stored_once():
    text = """
x = Input(shape=(1, 2))
w = Constant(value=[[0.5, 0.25], [-0.25, 1.0]], origin='w')
h = Dense(x, w)
y = Dense(h, w)
o = Output(y)
"""
    found = counted(text)
    assert (found.flops, found.stored.real) == (8, 4)
    assert [layer.stored.real for layer in found.layers] == [0, 4, 0, 0]


def test_memory_of_values_that_live_together():
    text = """
x = Input(shape=(1, 2, 2, 2))
r = Relu(x)
s = Sign(r)
v = Reshape(s, shape=(1, 8))
t = Sigmoid(x)
f = Reshape(t, shape=(1, 8))
y = Arithmetic(v, f, kind='add')
o = Output(y)
"""
    found = counted(text, real_bits=16)
    assert [layer.activation_bits for layer in found.layers] == [128, 128, 8, 0, 128, 0, 128, 0]
    # x, s and t at the sigmoid; s, t and y at the sum
    assert found.peak_activation_bits == 128 + 8 + 128


# ------------------------------------------------------------------------------------------ errors


def test_operations_without_a_rule_are_all_named():
    graph = parse_graph(network("y = Relu(x)"))
    for name, source in (("aten.erf.default", "net.py:3"), ("aten.flip.default", "net.py:7")):
        opaque = ops.Opaque(name, "", TensorType((1, 2, 4, 6)))
        place = Location("block.act", source)
        made = graph.add(opaque, ["x"], location=place)
        graph.add(ops.Output(), [made.name])
    with pytest.raises(UnsupportedOpError) as error:
        count(written(graph))
    assert str(error.value) == (
        "2 operations have no rule to be counted by:\n"
        "  aten.erf.default -> float[N, 2, 4, 6] at block.act (net.py:3)\n"
        "  aten.flip.default -> float[N, 2, 4, 6] at block.act (net.py:7)\n"
        "A count that leaves an operation out is none. r2b-count --rules lists what has a rule; "
        "write these places with such operations, or report the operation as missing."
    )


def test_a_comparison_that_is_no_sign_is_named():
    text = network("r = Sigmoid(x)\nc = Compare(x, r, kind='ge')\ny = Where(c, r, x)")
    with pytest.raises(UnsupportedOpError, match=r"Compare\(ge\) -> bool\[N, 2, 4, 6\] at"):
        counted(text)


def test_unknown_options():
    with pytest.raises(UserError) as error:
        counted(network("y = Relu(x)"), "flops")
    assert str(error.value) == (
        "there is no convention 'flops'; there are paper, macs, ops, bops-bits"
    )
    with pytest.raises(UserError) as error:
        counted(network("y = Relu(x)"), real_bits=4)
    assert str(error.value) == "what is not binary has one of 32, 16, 8 bits, not 4"


def test_what_a_layer_says():
    layer = counted(CONV.format("0.5", "0.5", "s")).layers[2]
    assert (layer.name, layer.op) == ("y", "binary conv 1x2")
    assert (layer.input_shape, layer.output_shape) == ((2, 4, 6), (2, 4, 3))
    assert (layer.parameter_bits, layer.activation_bits) == (8 + 32 * 3, 24 * 32)
    assert replace(layer, name="z") != layer
