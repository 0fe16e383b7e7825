import numpy as np
import pytest

from r2b.ir.errors import UnsupportedOpError
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.passes.recognize_binary_convs import (
    RecognizeBinaryConvs,
    binary_scale,
    not_binary_reason,
    sign_form,
)
from r2b.ir.text import parse_graph, print_graph

_HEAD = "x = Input(shape=(1, 2, 3, 3))\ns = Sign(x)\n"


def test_1_signs_and_scales(apply):
    text = f"{_HEAD}y = Conv2d(s, weight=[[[[2.0]], [[-2.0]]], [[[0.5]], [[0.5]]]])\no = Output(y)"
    assert apply(RecognizeBinaryConvs(), text).splitlines()[2] == (
        "y = BinaryConv2d(s, weight=[[[[1]], [[-1]]], [[[1]], [[1]]]], scale=[2.0, 0.5])"
    )


def test_1_bipolar_through_pooling(apply):
    text = f"""{_HEAD}
p = MaxPool2d(s, kernel=(2, 2), stride=(1, 1))
y = Conv2d(p, weight=signs((1, 2, 1, 1)), padding=(1, 1, 1, 1))
o = Output(y)
"""
    assert "y = BinaryConv2d(p" in apply(RecognizeBinaryConvs(), text)


def test_2_bias(apply):
    text = f"{_HEAD}y = Conv2d(s, weight=[[[[1.0]], [[-1.0]]]], bias=[3.0])\no = Output(y)"
    assert apply(RecognizeBinaryConvs(), text).splitlines()[2:4] == [
        "y_binary = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[1.0])",
        "y = BatchNorm(y_binary, gamma=[1.0], beta=[3.0], mean=[0.0], var=[1.0], eps=0.0)",
    ]


@pytest.mark.parametrize(
    "weight",
    [
        "[[[[1.0]], [[0.0]]]]",  # torch.sign of a weight that is 0
        "[[[[1.0]], [[-0.999]]]]",
        "[[[[0.0]], [[0.0]]]]",
        "normal((1, 2, 1, 1))",
    ],
)
def test_3_a_weight_that_only_looks_binary(apply, weight):
    text = f"{_HEAD}y = Conv2d(s, weight={weight})\no = Output(y)"
    assert "y = Conv2d(s" in apply(RecognizeBinaryConvs(), text)


@pytest.mark.parametrize(
    "operand", ["a = Relu(s)", "a = AvgPool2d(s, kernel=(2, 2), stride=(1, 1))", "a = Hardtanh(x)"]
)
def test_4_an_operand_that_only_looks_bipolar(apply, operand):
    text = f"{_HEAD}{operand}\ny = Conv2d(a, weight=signs((1, 2, 1, 1)))\no = Output(y)"
    assert "y = Conv2d(a" in apply(RecognizeBinaryConvs(), text)


def test_float32_drift_of_a_scale_is_no_second_magnitude():
    weight = np.array([[0.1, -0.1]]) * (1 + np.array([[0, 1e-7]]))
    scale = binary_scale(weight.reshape(1, 2, 1, 1))
    assert scale is not None
    np.testing.assert_allclose(scale, 0.1, rtol=1e-6)


def test_equal_magnitudes_give_exactly_that_scale():
    scale = binary_scale(np.float64(np.float32(0.1)) * np.array([[1.0, -1.0]]).reshape(1, 2, 1, 1))
    assert scale is not None
    assert scale[0] == np.float32(0.1)


_VECTOR = "x = Input(shape=(1, 2))\ns = Sign(x)\n"


def test_1_a_linear_layer(apply):
    text = f"{_VECTOR}y = Linear(s, weight=[[2.0, -2.0], [-0.5, 0.5]])\no = Output(y)"
    assert apply(RecognizeBinaryConvs(), text).splitlines()[2] == (
        "y = BinaryLinear(s, weight=[[1, -1], [-1, 1]], scale=[2.0, 0.5])"
    )


def test_2_a_linear_layer_with_bias(apply):
    text = f"{_VECTOR}y = Linear(s, weight=[[2.0, -2.0]], bias=[3.0])\no = Output(y)"
    assert apply(RecognizeBinaryConvs(), text).splitlines()[2:4] == [
        "y_binary = BinaryLinear(s, weight=[[1, -1]], scale=[2.0])",
        "y = BatchNorm(y_binary, gamma=[1.0], beta=[3.0], mean=[0.0], var=[1.0], eps=0.0)",
    ]


def _run(step: RecognizeBinaryConvs, text: str) -> str:
    return print_graph(Pipeline([step]).run(parse_graph(text)).graph)


_REAL = f"{_HEAD}y = Conv2d(s, weight=[[[[1.0]], [[-3.0]]], [[[0.5]], [[0.5]]]])\no = Output(y)"


@pytest.mark.parametrize(("method", "scale"), [("sign", [1.0, 1.0]), ("mean", [2.0, 0.5])])
def test_3_real_weights_by_option(method, scale):
    text = _run(RecognizeBinaryConvs(method), _REAL)
    assert f"weight=[[[[1]], [[-1]]], [[[1]], [[1]]]], scale={scale})" in text


@pytest.mark.parametrize("method", ["sign", "mean"])
def test_3_two_valued_weights_keep_their_scale(method):
    text = _REAL.replace("[[1.0]], [[-3.0]]", "[[3.0]], [[-3.0]]")
    assert "scale=[3.0, 0.5])" in _run(RecognizeBinaryConvs(method), text)


def test_3_the_option_leaves_layers_of_real_operands():
    text = _REAL.replace("Conv2d(s", "Conv2d(x")
    assert "y = Conv2d(x" in _run(RecognizeBinaryConvs("sign"), text)


def test_3_weights_that_are_zero_are_refused_without_a_choice():
    text = _REAL.replace("-3.0", "0.0")
    with pytest.raises(UnsupportedOpError, match=r"\n  y: 1 of 4 weights are 0\n"):
        _run(RecognizeBinaryConvs("sign"), text)
    assert "weight=[[[[1]], [[-1]]]" in _run(RecognizeBinaryConvs("sign", -1), text)


def test_3_the_mean_counts_weights_of_zero():
    text = _REAL.replace("-3.0", "0.0")
    assert "scale=[0.5, 0.5])" in _run(RecognizeBinaryConvs("mean", 1), text)


_REASONS = {
    "its operand is real: Relu at the model": "r = Relu(x)\ny = Conv2d(r, weight={})",
    "its operand is a sign with a border of 0, three values": (
        "r = Pad(s, padding=(1, 1, 1, 1))\ny = Conv2d(r, weight={})"
    ),
    "2 of 4 weights are 0; its operand is a sign, hence --binarize-weights sign or mean would make "
    "it binary": "y = Conv2d(s, weight=[[[[1.0]], [[0.0]]], [[[0.0]], [[0.5]]]])",
    "its weights take 2 magnitudes in output channel 1; its operand is a sign, hence "
    "--binarize-weights sign or mean would make it binary": (
        "y = Conv2d(s, weight=[[[[1.0]], [[-1.0]]], [[[0.25]], [[0.5]]]])"
    ),
}


@pytest.mark.parametrize("reason", _REASONS)
def test_why_a_layer_stays_real(reason):
    text = _REASONS[reason].format("signs((2, 2, 1, 1))")
    graph = (
        Pipeline([RecognizeBinaryConvs()]).run(parse_graph(f"{_HEAD}{text}\no = Output(y)")).graph
    )
    assert not_binary_reason(graph["y"], graph) == reason


def test_the_form_of_a_sign():
    graph = parse_graph(_HEAD)
    assert (sign_form(graph["s"]), sign_form(graph["x"])) == ("sign(x)", "")
