import pytest

from r2b.ir.errors import UnsupportedOpError
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.passes.resolve_sign_zeros import ResolveSignZeros
from r2b.ir.text import parse_graph, print_graph

_TEXT = """
x = Input(shape=(1, 2, 4, 4))
s = Sign(x)
w = Constant(value=[[[[1.0]], [[{}]]]])
a = Constant(value=0.5)
ws = Sign(w, zero=0)
wa = Arithmetic(a, ws, kind='mul')
y = Convolution({}, wa)
v = Constant(value=[[0.0, 0.0, 3.0]])
vs = Sign(v, zero=0)
m = GlobalAvgPool(y)
f = Flatten(m)
z = Reshape(s, shape=(1, 32))
t = Constant(value=normal((3, 32)))
d = Dense(z, t)
e = Sign(d)
q = Dense(e, vs)
o = Output(q)
p = Output(f)
"""


def test_1_no_zero(apply):
    text = _TEXT.format(-2.0, "s").replace("[[0.0, 0.0, 3.0]]", "[[1.0, -1.0, 3.0]]")
    assert "ws = Sign(w, zero=0)" in apply(ResolveSignZeros(), text)


@pytest.mark.parametrize("zero", [-1, 1])
def test_2_the_option_decides(zero):
    graph = canonicalize(parse_graph(_TEXT.format(0.0, "s")), sign_zero=zero)
    text = print_graph(graph)
    assert f"y = BinaryConv2d(s, weight=[[[[1]], [[{zero}]]]], scale=[0.5])" in text
    assert f"q = BinaryLinear(e, weight=[[{zero}, {zero}, 1]], scale=[1.0])" in text


def test_3_without_it_all_layers_are_listed():
    with pytest.raises(UnsupportedOpError) as raised:
        canonicalize(parse_graph(_TEXT.format(0.0, "s")))
    assert str(raised.value).splitlines() == [
        "the sign of a weight that is exactly 0 is 0 in the model, and a binary weight is -1 or "
        "+1:",
        "  y: 1 of 2 weights are 0",
        "  q: 2 of 3 weights are 0",
        "Give --sign-zero +1 or --sign-zero -1 to say which one it becomes, or change these "
        "weights in the model.",
    ]


def test_3_also_behind_a_scale_and_a_border():
    text = """
x = Input(shape=(1, 1, 4, 4))
k = Constant(value=2.0)
s = Sign(x)
a = Arithmetic(k, s, kind='mul')
b = Pad(a, padding=(1, 1, 1, 1), value=0.0)
w = Constant(value=[[[[0.0]]]])
ws = Sign(w, zero=0)
y = Convolution(b, ws)
o = Output(y)
"""
    with pytest.raises(UnsupportedOpError, match="y: 1 of 1 weights are 0"):
        canonicalize(parse_graph(text))


def test_4_weights_of_a_real_layer_may_be_zero():
    text = _TEXT.format(0.0, "x").replace("[[0.0, 0.0, 3.0]]", "[[1.0, -1.0, 3.0]]")
    graph = canonicalize(parse_graph(text))
    assert "y = Conv2d(x, weight=[[[[0.5]], [[0.0]]]])" in print_graph(graph)
