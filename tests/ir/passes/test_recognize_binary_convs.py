import numpy as np
import pytest

from r2b.ir.passes.recognize_binary_convs import RecognizeBinaryConvs, binary_scale

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
