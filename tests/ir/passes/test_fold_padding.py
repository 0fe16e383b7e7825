import pytest

from r2b.ir.passes.fold_padding import FoldPadding

_HEAD = "x = Input(shape=(1, 1, 5, 5))\n"
_PAD = "p = Pad({}, padding=(1, 0, 2, 1), value={})\n"
_SIGN = "s = Sign(x, zero=-1)\n"
_CONV = "y = BinaryConv2d(p, weight=signs((1, 1, 2, 2)), scale=[2.0]{})\no = Output(y)"


def _line(result: str) -> str:
    return next(line for line in result.splitlines() if line.startswith("y = "))


@pytest.mark.parametrize("conv", ["Conv2d(p, weight=normal((1, 1, 3, 3)), ", "Convolution(p, w, "])
def test_1_zeros_in_front_of_a_convolution(apply, conv):
    text = f"{_HEAD}w = Constant(value=normal((1, 1, 3, 3)))\n{_PAD.format('x', 0.0)}"
    result = apply(FoldPadding(), f"{text}y = {conv}padding=(1, 1, 0, 0))\no = Output(y)")
    assert "padding=(2, 1, 2, 1)" in _line(result)
    assert "Pad" not in result


def test_1_another_value_in_front_of_a_real_convolution_stays(apply):
    text = (
        f"{_HEAD}{_PAD.format('x', 1.0)}y = Conv2d(p, weight=normal((1, 1, 3, 3)))\no = Output(y)"
    )
    assert "p = Pad(x, padding=(1, 0, 2, 1), value=1.0)" in apply(FoldPadding(), text)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_2_a_border_of_a_binary_convolution(apply, value):
    result = apply(FoldPadding(), f"{_HEAD}{_SIGN}{_PAD.format('s', value)}{_CONV.format('')}")
    assert _line(result).endswith(f"padding=(1, 0, 2, 1), padding_value={value:.0f})")


@pytest.mark.parametrize(("value", "folds"), [(1, True), (-1, False)])
def test_2_a_border_inside_a_padding_of_its_own(apply, value, folds):
    own = f", padding=(1, 1, 1, 1), padding_value={value}"
    result = apply(FoldPadding(), f"{_HEAD}{_SIGN}{_PAD.format('s', 1.0)}{_CONV.format(own)}")
    assert ("Pad(" not in result) == folds


@pytest.mark.parametrize(
    ("options", "folds"),
    [
        ("", True),
        (", count_include_pad=False", True),  # without padding both divisors are the same
        (", padding=(1, 1, 1, 1)", True),
        (", padding=(1, 1, 1, 1), count_include_pad=False", False),
    ],
)
def test_3_zeros_in_front_of_an_average(apply, options, folds):
    text = f"{_HEAD}{_PAD.format('x', 0.0)}y = AvgPool2d(p, kernel=(3, 3), stride=(2, 2){options})"
    assert ("Pad(" not in apply(FoldPadding(), f"{text}\no = Output(y)")) == folds


@pytest.mark.parametrize(
    ("source", "value", "kernel", "folds"),
    [
        ("Sign(x)", -1.0, 3, True),
        ("Sign(x)", 1.0, 3, False),
        ("Relu(x)", 0.0, 3, True),
        ("Relu(x)", 0.5, 3, False),
        ("Hardtanh(x, lo=-2.0)", -2.0, 3, True),
        ("BatchNorm(x, gamma=[1.0], beta=[0.0], mean=[0.0], var=[1.0])", 0.0, 3, False),
        ("Sign(x)", -1.0, 2, False),  # a window that meets the border only
    ],
)
def test_4_a_border_in_front_of_max_pooling(apply, source, value, kernel, folds):
    pool = f"y = MaxPool2d(p, kernel=({kernel}, {kernel}), stride=(1, 1))\no = Output(y)"
    result = apply(FoldPadding(), f"{_HEAD}s = {source}\n{_PAD.format('s', value)}{pool}")
    assert ("Pad(" not in result) == folds


@pytest.mark.parametrize(("value", "count"), [(0.5, 1), (0.25, 2)])
def test_5_a_border_around_a_border(apply, value, count):
    text = f"{_HEAD}{_PAD.format('x', 0.5)}y = Pad(p, padding=(1, 1, 1, 1), value={value})"
    assert apply(FoldPadding(), f"{text}\no = Output(y)").count("Pad(") == count
