"""A legal Graph has the canonical one's values under its names, in feature maps alone."""

import networks
import numpy as np
import pytest
import random_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.ir import interpreter, ops
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.quantize.legalize import legalize
from r2b.ir.text import parse_graph, print_graph

RECIPES = st.lists(
    st.tuples(st.sampled_from(random_graphs.KINDS), st.integers(0, 10**6)), max_size=10
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([(2, 6, 7), (3, 5, 4), (12,)]), RECIPES, st.sampled_from(random_graphs.ENDS))
def test_values_keep_their_names(shape, recipe, end):
    graph = random_graphs.grow(shape, recipe, end)
    legal = legalize(graph)
    frames = networks.frames(shape, 2) / 255
    wanted = interpreter.run(graph, frames)
    found = interpreter.run(legal.graph, frames.reshape(2, *(*shape, 1, 1)[:3]))
    for node in legal.graph:
        assert len(node.type.shape) == 4
        # a border that became a window's padding is not in the values before that window
        if node.name in graph and not isinstance(graph[node.name].op, ops.Output):
            np.testing.assert_allclose(
                found[node.name].reshape(wanted[node.name].shape), wanted[node.name], atol=1e-9
            )
    scores = found[legal.head.logits].reshape(2, -1)
    last = graph.outputs[0].operands[0]
    if not isinstance(graph[last].op, ops.Softmax):
        np.testing.assert_allclose(scores, wanted[last].reshape(2, -1), atol=1e-9)


def legal_text(text):
    return print_graph(legalize(parse_graph(text)).graph)


def test_a_layer_behind_flatten_becomes_a_convolution():
    text = legal_text("""
x = Input(shape=(1, 1, 2, 2))
r = Relu(x)
f = Flatten(r)
s = Sign(f)
b = BinaryLinear(s, weight=signs((3, 4)), scale=[1., 1., 1.])
n = BatchNorm(b, gamma=[1., 1., 1.], beta=[0., 0., 0.], mean=[0., 0., 0.], var=[1., 1., 1.])
output = Output(n)
""")
    lines = [line.split("  #")[0] for line in text.splitlines()]
    assert lines[2] == "s = Sign(r)"
    assert lines[3].startswith("b = BinaryConv2d(s, weight=array((3, 1, 2, 2)")
    assert lines[-1] == "output = Output(n)" and len(lines) == 6


def test_a_softmax_at_the_end_is_left_out():
    text = legal_text("""
x = Input(shape=(1, 4))
a = Linear(x, weight=normal((3, 4)))
p = Softmax(a)
output = Output(p)
""")
    assert [line.split()[0] for line in text.splitlines()] == ["x", "x_tensor", "a", "output"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "y = Linear(x, weight=normal((3, 4)))\noutput = Output(y)",
            "Linear: a fully connected layer takes N x C; put Flatten before it",
        ),
        (
            "output = Output(x)",
            "Output: a network must end in class scores N x C, not N x 2 x 4 x 4",
        ),
        (
            "y = Unary(x, kind='exp')\nz = GlobalAvgPool(y)\noutput = Output(z)",
            "Unary: it is no canonical operation; run canonicalize first",
        ),
    ],
)
def test_what_has_no_integer_form_is_named(lines, message):
    with pytest.raises(UnsupportedOpError) as error:
        legalize(parse_graph(f"x = Input(shape=(1, 2, 4, 4))\n{lines}"))
    assert message in str(error.value)
