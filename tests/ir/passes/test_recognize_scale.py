import pytest

from r2b.ir.passes.recognize_scale import RecognizeScale

_HEAD = "x = Input(shape=(1, 4, 3, 3))\np = GlobalAvgPool(x)\n"


@pytest.mark.parametrize("operands", ["x, p", "p, x"])
def test_a_factor_per_channel(apply, operands):
    result = apply(
        RecognizeScale(), f"{_HEAD}y = Arithmetic({operands}, kind='mul')\no = Output(y)"
    )
    assert result == f"{_HEAD}y = Scale(x, p)\no = Output(y)"


def test_a_factor_per_pixel(apply):
    text = """
x = Input(shape=(1, 4, 3, 3))
k = Conv2d(x, weight=normal((1, 4, 1, 1)))
y = Arithmetic(k, x, kind='mul')
o = Output(y)
"""
    assert "y = Scale(x, k)" in apply(RecognizeScale(), text)


def test_a_factor_of_the_same_shape(apply):
    text = f"{_HEAD}r = Relu(x)\ny = Arithmetic(x, r, kind='mul')\no = Output(y)"
    assert "y = Scale(x, r)" in apply(RecognizeScale(), text)


@pytest.mark.parametrize("line", ["Arithmetic(x, p, kind='div')", "Arithmetic(x, p, kind='add')"])
def test_other_arithmetic_stays(apply, line):
    text = f"x = Input(shape=(1, 4, 3, 3))\np = GlobalAvgPool(x)\ny = {line}\no = Output(y)"
    assert f"y = {line}" in apply(RecognizeScale(), text)
