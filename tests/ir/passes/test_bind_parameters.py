import pytest

from r2b.ir.passes.bind_parameters import BindParameters
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.text import parse_graph, print_graph

_CASES = {
    "1 convolution": (
        """
w = Constant(value=[[[[2.0]], [[3.0]]]])
b = Constant(value=[1.0])
y = Convolution(x, w, b, stride=(2, 2), padding=(1, 0, 1, 0))
""",
        "y = Conv2d(x, weight=[[[[2.0]], [[3.0]]]], bias=[1.0], stride=(2, 2), "
        "padding=(1, 0, 1, 0))",
    ),
    "2 dense": (
        "w = Constant(value=[[2.0, 0.0, 1.0, 1.0]])\ny = Dense(x, w)",
        "y = Linear(x, weight=[[2.0, 0.0, 1.0, 1.0]])",
    ),
    "3 normalization": (
        """
g = Constant(value=[1.0, 2.0])
b = Constant(value=[3.0, 4.0])
m = Constant(value=[5.0, 6.0])
v = Constant(value=[7.0, 8.0])
y = Normalization(x, g, b, m, v, eps=0.5)
""",
        "y = BatchNorm(x, gamma=[1.0, 2.0], beta=[3.0, 4.0], mean=[5.0, 6.0], "
        "var=[7.0, 8.0], eps=0.5)",
    ),
    "4 one slope": (
        "s = Constant(value=[0.25])\ny = ParametricRelu(x, s)",
        "y = PRelu(x, slope=[0.25, 0.25])",
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_parameters_become_fields(apply, case):
    text, wanted = _CASES[case]
    head = "x = Input(shape=(1, 2, 4, 4))\n"
    result = apply(BindParameters(), f"{head}{text}\no = Output(y)")
    assert result == f"{head}{wanted}\no = Output(y)"


def test_a_weight_per_frame_stays_an_operand(apply):
    text = """
x = Input(shape=(1, 1, 4, 4))
p = GlobalAvgPool(x)
y = Convolution(x, p)
o = Output(y)
"""
    result = Pipeline([BindParameters()]).run(parse_graph(text)).graph
    assert "y = Convolution(x, p)" in print_graph(result)
