import pytest

from r2b.ir.passes.recognize_spatial_scale import RecognizeSpatialScale

_HEAD = """
x = Input(shape=(1, 2, 2, 2))
r = Constant(value=[[[2.0], [4.0]]])
c = Constant(value=[[[3.0, 5.0]]])
"""
_NORM = "BatchNorm(x, gamma=[2.0, 3.0], beta=[{0}, {0}], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0)"


@pytest.mark.parametrize("operands", ["x, r", "r, x"])
def test_1_a_scale_per_row(apply, operands):
    text = f"{_HEAD}y = Arithmetic({operands}, kind='mul')\no = Output(y)"
    factor = [[[2.0, 2.0], [4.0, 4.0]]] * 2
    assert f"y = SpatialScale(x, factor={factor})" in apply(RecognizeSpatialScale(), text)


def test_1_a_quotient(apply):
    text = f"{_HEAD}y = Arithmetic(x, r, kind='div')\no = Output(y)"
    factor = [[[0.5, 0.5], [0.25, 0.25]]] * 2
    assert f"y = SpatialScale(x, factor={factor})" in apply(RecognizeSpatialScale(), text)


def test_1_a_reciprocal_value_stays(apply):
    text = f"{_HEAD}y = Arithmetic(r, x, kind='div')\no = Output(y)"
    assert "y = Arithmetic(r, x, kind='div')" in apply(RecognizeSpatialScale(), text)


_TWO = f"{_HEAD}a = Arithmetic(x, r, kind='mul')\ny = Arithmetic(a, c, kind='mul')\no = Output(y)"


def test_2_rank_one_factors_become_one(apply):
    factor = [[[6.0, 10.0], [12.0, 20.0]]] * 2
    assert apply(RecognizeSpatialScale(), _TWO).splitlines()[1:] == [
        f"y = SpatialScale(x, factor={factor})",
        "o = Output(y)",
    ]


def test_2_a_first_with_other_users_stays(apply):
    assert apply(RecognizeSpatialScale(), f"{_TWO}\nq = Output(a)").count("SpatialScale(") == 2


@pytest.mark.parametrize(("offset", "count"), [(0.0, 0), (1.0, 1)])
def test_3_a_scale_per_channel_in_front(apply, offset, count):
    text = f"{_HEAD}a = {_NORM.format(offset)}\ny = Arithmetic(a, r, kind='mul')\no = Output(y)"
    assert apply(RecognizeSpatialScale(), text).count("BatchNorm") == count


def test_a_summand_per_pixel_stays(apply):
    text = f"{_HEAD}y = Arithmetic(x, r, kind='add')\no = Output(y)"
    assert "y = Arithmetic(x, r, kind='add')" in apply(RecognizeSpatialScale(), text)
