import pytest

from r2b.ir.passes.hoist_views import HoistViews

_HEAD = "x = Input(shape=(1, 2, 2, 2))\n"


def test_1_a_view_of_a_view(apply):
    text = f"""{_HEAD}
a = Reshape(x, shape=(1, 4, 2))
f = Flatten(a)
g = Flatten(f)
o = Output(g)
"""
    assert apply(HoistViews(), text).splitlines()[1:] == ["f = Flatten(x)", "o = Output(f)"]


@pytest.mark.parametrize("op", ["Sign(f)", "Relu(f)", "Hardtanh(f)", "Activation(f, kind='tanh')"])
def test_2_element_wise_operations(apply, op):
    result = apply(HoistViews(), f"{_HEAD}f = Flatten(x)\ny = {op}\no = Output(y)")
    assert result.splitlines()[1:] == [
        f"y_image = {op.replace('(f', '(x')}",
        "y = Flatten(y_image)",
        "o = Output(y)",
    ]


@pytest.mark.parametrize(
    ("slopes", "wanted"),
    [
        ([0.1] * 4 + [0.2] * 4, "y_image = PRelu(x, slope=[0.1, 0.2])"),
        ([0.1, 0.2] * 4, "y = PRelu(f, slope=[0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2])"),
    ],
)
def test_2_per_channel_if_the_pixels_are_alike(apply, slopes, wanted):
    text = f"{_HEAD}f = Flatten(x)\ny = PRelu(f, slope={slopes})\no = Output(y)"
    assert wanted in apply(HoistViews(), text)


@pytest.mark.parametrize(("last", "moves"), [(1.0, True), (5.0, False)])
def test_2_batch_norm_per_channel(apply, last, moves):
    gamma, beta = [1.0] * 7 + [last], [0.5] * 8
    norm = f"BatchNorm(f, gamma={gamma}, beta={beta}, mean={[0.0] * 8}, var={[1.0] * 8}, eps=0.0)"
    result = apply(HoistViews(), f"{_HEAD}f = Flatten(x)\ny = {norm}\no = Output(y)")
    assert ("y = Flatten(y_image)" in result) == moves


def test_3_vectors_are_computed_as_images(apply):
    text = f"""{_HEAD}
m = GlobalAvgPool(x)
f = Flatten(m)
a = Linear(f, weight=[[1.0, 2.0], [3.0, 4.0]], bias=[0.5, 0.25])
r = BatchNorm(a, gamma=[1.0, 2.0], beta=[0.0, 0.0], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0)
s = Sigmoid(r)
y = Reshape(s, shape=(1, 2, 1, 1))
z = Scale(x, y)
o = Output(z)
"""
    result = apply(HoistViews(), text)
    assert "Reshape" not in result
    assert (
        "a_image = Conv2d(m, weight=[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]], bias=[0.5, 0.25])"
        in (result)
    )
    assert "z = Scale(x, s_image)" in result


def test_3_a_vector_from_a_large_image_stays(apply):
    text = f"""{_HEAD}
f = Flatten(x)
a = Linear(f, weight=normal((2, 8)))
y = Reshape(a, shape=(1, 2, 1, 1))
z = Scale(x, y)
o = Output(z)
"""
    assert "y = Reshape(a, shape=(1, 2, 1, 1))" in apply(HoistViews(), text)
