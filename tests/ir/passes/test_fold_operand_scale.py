import pytest

from r2b.ir.passes.fold_operand_scale import FoldOperandScale

_HEAD = "x = Input(shape=(1, 2, 1, 2))\ns = Sign(x)\n"
_NORM = (
    "b = BatchNorm({}, gamma=[{}, {}], beta=[{}, 0.0], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0)"
)
_CONV = "y = Conv2d(b, weight=[[[[1.0]], [[-1.0]]]], bias=[0.5])\no = Output(y)"


def test_1_one_scale(apply):
    result = apply(FoldOperandScale(), f"{_HEAD}{_NORM.format('s', 3.0, 3.0, 0.0)}\n{_CONV}")
    assert "y = Conv2d(s, weight=[[[[3.0]], [[-3.0]]]], bias=[0.5])" in result


def test_1_two_scales_in_a_row(apply):
    first = _NORM.format("s", 3.0, 3.0, 0.0).replace("b = ", "a = ")
    text = f"{_HEAD}{first}\n{_NORM.format('a', -2.0, -2.0, 0.0)}\n{_CONV}"
    assert "y = Conv2d(s, weight=[[[[-6.0]], [[6.0]]]], bias=[0.5])" in apply(
        FoldOperandScale(), text
    )


def test_2_in_front_of_flatten(apply):
    text = f"""{_HEAD}{_NORM.format("s", 3.0, 5.0, 0.0)}
f = Flatten(b)
y = Linear(f, weight=[[1.0, 1.0, 1.0, 1.0]])
o = Output(y)
"""
    result = apply(FoldOperandScale(), text).splitlines()
    assert result[2:4] == [
        "y_flat = Flatten(s)",
        "y = Linear(y_flat, weight=[[3.0, 3.0, 5.0, 5.0]])",
    ]


def test_3_scales_per_channel_of_a_depthwise_convolution(apply):
    conv = "y = Conv2d(b, weight=[[[[1.0]]], [[[-1.0]]]], groups=2)\no = Output(y)"
    result = apply(FoldOperandScale(), f"{_HEAD}{_NORM.format('s', 3.0, 5.0, 0.0)}\n{conv}")
    assert "y = Conv2d(s, weight=[[[[3.0]]], [[[-5.0]]]], groups=2)" in result


@pytest.mark.parametrize(
    ("source", "gamma", "beta"), [("x", 3.0, 0.0), ("s", 3.0, 1.0), ("s", 0.0, 0.0)]
)
def test_what_is_no_scaled_sign_stays(apply, source, gamma, beta):
    result = apply(FoldOperandScale(), f"{_HEAD}{_NORM.format(source, gamma, 3.0, beta)}\n{_CONV}")
    assert "y = Conv2d(b, " in result
