from r2b.ir.passes.fold_constants import FoldConstants
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.text import parse_graph, print_graph


def test_what_depends_on_parameters_becomes_a_constant(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
w = Constant(value=[[[1.0]], [[-3.0]]])
a = Unary(w, kind='abs')
m = Mean(a, axes=(0, 1, 2))
s = Sign(w)
v = Arithmetic(m, s, kind='mul')
y = Arithmetic(x, v, kind='mul')
o = Output(y)
"""
    assert apply(FoldConstants(), text) == (
        "x = Input(shape=(1, 2, 4, 4))\n"
        "v = Constant(value=[[[2.0]], [[-2.0]]])\n"
        "y = Arithmetic(x, v, kind='mul')\n"
        "o = Output(y)"
    )


def test_float32_decides_as_pytorch_does(apply):
    # in float32 1 + 1e-9 is 1, hence the difference is 0 and its sign that of zero
    text = """
x = Input(shape=(1, 1, 1, 1))
a = Constant(value=1.000000001)
b = Constant(value=1.0)
d = Arithmetic(a, b, kind='sub')
s = Sign(d, zero=-1)
y = Arithmetic(x, s, kind='maximum')
o = Output(y)
"""
    result = Pipeline([FoldConstants()]).run(parse_graph(text)).graph
    assert "s = Constant(value=-1.0)" in print_graph(result)
