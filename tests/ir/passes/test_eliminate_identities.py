import pytest

from r2b.ir.passes.eliminate_identities import EliminateIdentities


def test_1_identity(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
a = Identity(x, kind='dropout')
b = Identity(a, kind='contiguous')
o = Output(b)
"""
    assert apply(EliminateIdentities(), text) == "x = Input(shape=(1, 2, 4, 4))\no = Output(x)"


def test_2_conversion(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
zero = Constant(value=0.0)
real = ToFloat(x)
truth = Compare(real, zero, kind='gt')
y = ToFloat(truth)
o = Output(y)
"""
    assert apply(EliminateIdentities(), text).splitlines()[2:] == [
        "truth = Compare(x, zero, kind='gt')",
        "y = ToFloat(truth)",
        "o = Output(y)",
    ]


def test_3_and_5_views(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
a = Reshape(x, shape=(1, 2, 16))
b = Reshape(a, shape=(1, 2, 4, 4))
c = Reshape(b, shape=(1, 32))
o = Output(c)
"""
    assert apply(EliminateIdentities(), text) == (
        "x = Input(shape=(1, 2, 4, 4))\nc = Reshape(x, shape=(1, 32))\no = Output(c)"
    )


def test_4_expansion(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
m = GlobalAvgPool(x)
e = Expand(m, shape=(1, 2, 4, 4))
y = Arithmetic(x, e, kind='mul')
o = Output(y)
"""
    assert "y = Arithmetic(x, m, kind='mul')" in apply(EliminateIdentities(), text)


def test_4_expansion_that_gives_the_shape_stays(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
m = GlobalAvgPool(x)
e = Expand(m, shape=(1, 2, 4, 4))
o = Output(e)
"""
    assert "o = Output(e)" in apply(EliminateIdentities(), text)


_HEAD = """x = Input(shape=(1, 2, 4, 4))
zero = Constant(value=0.0)
one = Constant(value=1.0)
"""
_NORM = "gamma=[1.0, {}], beta=[0.0, 0.0], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0"

_NOTHING = {
    "6": """
c = Compare(x, zero, kind='gt')
r = Relu(x)
d = Identity(r, kind='detach')
y = Where(c, r, d)
""",
    "7 times 1": "y = Arithmetic(x, one, kind='mul')",
    "7 by 1": "y = Arithmetic(x, one, kind='div')",
    "7 plus 0": "y = Arithmetic(x, zero, kind='add')",
    "7 minus 0": "y = Arithmetic(x, zero, kind='sub')",
    "7 batch norm": f"y = BatchNorm(x, {_NORM.format(1.0)})",
    "8 max pooling": "y = MaxPool2d(x, kernel=(1, 1), stride=(1, 1))",
    "8 average pooling": "y = AdaptiveAvgPool2d(x, size=(4, 4))",
    "8 border": "y = Pad(x, padding=(0, 0, 0, 0), value=1.0)",
    "8 concatenation": "y = Concat(x)",
    "8 clamp": "y = Hardtanh(x, lo=-inf, hi=inf)",
    "8 selection": "y = Select(x, channels=(0, 1), size=(4, 4))",
}


@pytest.mark.parametrize("name", _NOTHING)
def test_what_does_nothing_goes(apply, name):
    result = apply(EliminateIdentities(), f"{_HEAD}{_NOTHING[name]}\no = Output(y)")
    assert "y = " not in result


_SOMETHING = {
    "6": """
c = Compare(x, zero, kind='gt')
r = Relu(x)
h = Hardtanh(x)
y = Where(c, r, h)
""",
    "7 zero minus": "y = Arithmetic(zero, x, kind='sub')",
    "7 one over": "y = Arithmetic(one, x, kind='div')",
    "7 batch norm": f"y = BatchNorm(x, {_NORM.format(2.0)})",
    "8 strided pooling": "y = MaxPool2d(x, kernel=(1, 1), stride=(2, 2))",
    "8 concatenation": "y = Concat(x, x)",
    "8 selection": "y = Select(x, channels=(1, 0), size=(4, 4))",
}


@pytest.mark.parametrize("name", _SOMETHING)
def test_what_does_something_stays(apply, name):
    result = apply(EliminateIdentities(), f"{_HEAD}{_SOMETHING[name]}\no = Output(y)")
    assert _SOMETHING[name].strip().splitlines()[-1] in result


def test_parameters_are_kept_where_they_are_to_be(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
one = Constant(value=1.0, origin='scale')
number = Constant(value=1.0)
a = Arithmetic(x, one, kind='mul')
b = Arithmetic(a, number, kind='mul')
o = Output(b)
"""
    found = apply(EliminateIdentities(keep_parameters=True), text)
    assert found.splitlines()[2:] == ["a = Arithmetic(x, one, kind='mul')", "o = Output(a)"]
    assert apply(EliminateIdentities(), text) == "x = Input(shape=(1, 2, 4, 4))\no = Output(x)"
