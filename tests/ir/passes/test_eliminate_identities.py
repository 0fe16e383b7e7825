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
