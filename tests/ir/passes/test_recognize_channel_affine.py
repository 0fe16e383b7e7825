import pytest

from r2b.ir.passes.recognize_channel_affine import RecognizeChannelAffine

_HEAD = "x = Input(shape=(1, 2, 4, 4))\n"


@pytest.mark.parametrize(
    ("constant", "line", "multiplier", "offset"),
    [
        ("[[[2.0]], [[3.0]]]", "Arithmetic(x, c, kind='mul')", [2.0, 3.0], [0.0, 0.0]),
        ("4.0", "Arithmetic(x, c, kind='div')", [0.25, 0.25], [0.0, 0.0]),
        ("[[[2.0]], [[3.0]]]", "Arithmetic(x, c, kind='add')", [1.0, 1.0], [2.0, 3.0]),
        ("2.0", "Arithmetic(x, c, kind='sub')", [1.0, 1.0], [-2.0, -2.0]),
        ("2.0", "Arithmetic(c, x, kind='sub')", [-1.0, -1.0], [2.0, 2.0]),
    ],
)
def test_1_and_2_arithmetic(apply, constant, line, multiplier, offset):
    text = f"{_HEAD}c = Constant(value={constant})\ny = {line}\no = Output(y)"
    assert apply(RecognizeChannelAffine(), text) == (
        f"{_HEAD}y = BatchNorm(x, gamma={multiplier}, beta={offset}, mean=[0.0, 0.0], "
        "var=[1.0, 1.0], eps=0.0)\no = Output(y)"
    )


def test_3_minus(apply):
    text = f"{_HEAD}y = Unary(x, kind='neg')\no = Output(y)"
    assert "gamma=[-1.0, -1.0]" in apply(RecognizeChannelAffine(), text)


@pytest.mark.parametrize(
    ("constant", "line"),
    [
        ("[1.0, 2.0, 3.0, 4.0]", "Arithmetic(x, c, kind='mul')"),  # along the width
        ("2.0", "Arithmetic(c, x, kind='div')"),  # a reciprocal
        ("2.0", "Arithmetic(x, c, kind='maximum')"),
    ],
)
def test_other_arithmetic_stays(apply, constant, line):
    text = f"{_HEAD}c = Constant(value={constant})\ny = {line}\no = Output(y)"
    assert f"y = {line}" in apply(RecognizeChannelAffine(), text)
