import pytest

from r2b.ir.passes.reorder_signs import ReorderSigns

_HEAD = "x = Input(shape=(1, 2, 4, 4))\n"


@pytest.mark.parametrize(
    ("zero", "value", "border"),
    [(1, 0.0, 1.0), (-1, 0.0, -1.0), (0, 0.0, 0.0), (1, -0.5, -1.0), (0, 3.0, 1.0)],
)
def test_1_a_border_takes_the_sign_of_its_value(apply, zero, value, border):
    pad = f"p = Pad(x, padding=(1, 1, 1, 1), value={value})"
    result = apply(ReorderSigns(), f"{_HEAD}{pad}\ny = Sign(p, zero={zero})\no = Output(y)")
    written = f", value={border}" if border else ""
    assert f"y = Pad(y_inner, padding=(1, 1, 1, 1){written})" in result
    assert "y_inner = Sign(x" in result


_POOL = "y = MaxPool2d(s, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))\no = Output(y)"


@pytest.mark.parametrize("zero", [-1, 0, 1])
def test_2_bipolar_max_pooling(apply, zero):
    result = apply(ReorderSigns(), f"{_HEAD}s = Sign(x, zero={zero})\n{_POOL}").splitlines()
    assert result[1].startswith("y_inner = MaxPool2d(x")
    assert result[2].startswith("y = Sign(y_inner")


def test_2_a_sign_that_others_read_stays_in_front(apply):
    result = apply(ReorderSigns(), f"{_HEAD}s = Sign(x)\n{_POOL}\nq = Output(s)")
    assert "y = MaxPool2d(s" in result


@pytest.mark.parametrize("op", ["Hardtanh(x)", "Activation(x, kind='tanh')"])
def test_3_what_keeps_the_sign_goes(apply, op):
    result = apply(ReorderSigns(), f"{_HEAD}h = {op}\ny = Sign(h)\no = Output(y)")
    assert result.splitlines()[1:] == ["y = Sign(x)", "o = Output(y)"]


@pytest.mark.parametrize("op", ["Hardtanh(x, lo=0.0)", "Hardtanh(x, lo=0.5)", "Relu(x)"])
def test_3_what_does_not_keep_the_sign_stays(apply, op):
    result = apply(ReorderSigns(), f"{_HEAD}h = {op}\ny = Sign(h)\no = Output(y)")
    assert "y = Sign(h)" in result


@pytest.mark.parametrize(("factor", "moves"), [(2.0, True), (-2.0, False)])
def test_4_a_scale_moves_behind_pooling(apply, factor, moves):
    norm = f"gamma=[{factor}, 1.0], beta=[0.0, 0.0], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0"
    result = apply(ReorderSigns(), f"{_HEAD}b = Sign(x)\ns = BatchNorm(b, {norm})\n{_POOL}")
    assert ("y = BatchNorm(y_inner" in result) == moves
