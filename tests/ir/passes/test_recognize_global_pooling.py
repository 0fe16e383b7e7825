import pytest

from r2b.ir.passes.recognize_global_pooling import RecognizeGlobalPooling

_HEAD = "x = Input(shape=(1, 2, 4, 6))\n"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("y = Mean(x, axes=(2, 3), keepdim=True)", "y = GlobalAvgPool(x)"),
        ("y = Mean(x, axes=(2, 3))", "y_pool = GlobalAvgPool(x)\ny = Flatten(y_pool)"),
        (
            "f = Reshape(x, shape=(1, 2, 24))\ny = Mean(f, axes=(2,))",
            "y_pool = GlobalAvgPool(x)\ny = Flatten(y_pool)",
        ),
        (
            "m = Mean(x, axes=(3,))\ny = Mean(m, axes=(2,))",
            "y_pool = GlobalAvgPool(x)\ny = Flatten(y_pool)",
        ),
        (
            "m = Mean(x, axes=(2,), keepdim=True)\ny = Mean(m, axes=(3,), keepdim=True)",
            "y = GlobalAvgPool(x)",
        ),
        (
            "f = Reshape(x, shape=(1, 2, 24))\ny = Mean(f, axes=(2,), keepdim=True)",
            "y_pool = GlobalAvgPool(x)\ny = Reshape(y_pool, shape=(1, 2, 1))",
        ),
        ("y = AdaptiveAvgPool2d(x, size=(1, 1))", "y = GlobalAvgPool(x)"),
        ("y = AdaptiveAvgPool2d(x, size=(2, 2))", "y = AvgPool2d(x, kernel=(2, 3), stride=(2, 3))"),
        ("y = AvgPool2d(x, kernel=(4, 6), stride=(4, 6))", "y = GlobalAvgPool(x)"),
    ],
)
def test_averages_of_images(apply, line, wanted):
    result = apply(RecognizeGlobalPooling(), f"{_HEAD}{line}\no = Output(y)")
    assert result == f"{_HEAD}{wanted}\no = Output(y)"


@pytest.mark.parametrize(
    "line", ["y = Mean(x, axes=(1,))", "y = AvgPool2d(x, kernel=(2, 2), stride=(2, 2))"]
)
def test_other_averages_stay(apply, line):
    assert line in apply(RecognizeGlobalPooling(), f"{_HEAD}{line}\no = Output(y)")


def test_a_view_that_mixes_channels_stays(apply):
    text = f"{_HEAD}f = Reshape(x, shape=(1, 4, 12))\ny = Mean(f, axes=(2,))\no = Output(y)"
    assert "y = Mean(f, axes=(2,))" in apply(RecognizeGlobalPooling(), text)
