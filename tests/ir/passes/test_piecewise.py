"""Whatever is proved of a value holds for its numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2b.ir import ops
from r2b.ir.graph import Graph
from r2b.ir.interpreter import run
from r2b.ir.passes.cancel_straight_through import CancelStraightThrough
from r2b.ir.passes.canonicalize import DEFAULT_PASSES
from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.passes.piecewise import Tables, scaled_sign, two_valued
from r2b.ir.passes.recognize_activations import RecognizeActivations
from r2b.ir.text import parse_graph

# sums and products of these are exact, so that a value at a threshold is one
_NUMBERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_PIXELS = np.array([-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, 0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0])

_ONE = (
    ops.Unary("neg"),
    ops.Unary("abs"),
    ops.Relu(),
    ops.Hardtanh(),
    ops.Hardtanh(0.0, 0.5),
    ops.Sign(0),
    ops.Sign(1),
    ops.Identity("detach"),
    ops.ToFloat(),
)
_ARITHMETIC = [ops.Arithmetic(kind) for kind in ("add", "sub", "mul", "maximum", "minimum")]
_COMPARE = [ops.Compare(kind) for kind in ("ge", "gt", "le", "lt", "eq", "ne")]
_TWO = (*_ARITHMETIC, *_ARITHMETIC, *_COMPARE)


@st.composite
def expressions(draw: st.DrawFn) -> Graph:
    """A graph of up to twelve operations on one value and numbers."""
    graph = Graph()
    values = [graph.add(ops.Input((1, 1, 1, len(_PIXELS))), name="x").name]
    truths: list[str] = []
    for _ in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from((*_ONE, *_TWO, ops.Where(), ops.Where(), ops.ToFloat())))
        operands: list[str] = []
        if isinstance(op, ops.Where | ops.ToFloat):
            if not truths:
                continue
            operands.append(draw(st.sampled_from(truths)))
        wanted = {ops.Where: 2, ops.ToFloat: 0}.get(type(op), 1 if op in _ONE else 2)
        for _ in range(wanted):
            number = draw(st.sampled_from((None, None, None, *_NUMBERS)))
            if number is None:
                operands.append(draw(st.sampled_from(values)))
            else:
                operands.append(graph.add(ops.Constant(np.array(number))).name)
        node = graph.add(op, operands)
        if node.type.batched:
            (truths if isinstance(op, ops.Compare) else values).append(node.name)
    graph.add(ops.Output(), [values[-1]], name="o")
    return graph


def _run(graph: Graph) -> dict[str, np.ndarray]:
    return run(graph, _PIXELS.reshape(1, 1, 1, -1))


@pytest.mark.parametrize(
    "steps",
    [
        [CanonicalizeSigns()],
        [RecognizeActivations()],
        [CancelStraightThrough()],
        DEFAULT_PASSES,
    ],
    ids=["canonicalize-signs", "recognize-activations", "cancel-straight-through", "all"],
)
@given(graph=expressions())
def test_passes_keep_every_value_that_keeps_its_name(steps, graph):
    before, after = _run(graph), _run(Pipeline(steps).run(graph).graph)
    for name in before.keys() & after.keys():
        expected = np.broadcast_to(before[name], after[name].shape)
        np.testing.assert_allclose(after[name], expected, rtol=1e-6, atol=1e-6)


@given(graph=expressions())
def test_what_is_proved_two_valued_takes_two_values(graph):
    tables, values = Tables(graph), _run(graph)
    for node in graph.nodes():
        value = two_valued(tables[node.name])
        if value is not None and node.type.batched:
            factors = (-1, value.zero, 1)
            allowed = {float(value.offset + factor * value.scale) for factor in factors}
            assert set(np.unique(values[node.name])) <= allowed


def test_the_cases_of_one_expression():
    graph = parse_graph("""
x = Input(shape=(1, 1, 1, 1))
t = Constant(value=2.0)
c = Compare(x, t, kind='ge')
f = ToFloat(c)
y = Arithmetic(f, t, kind='sub')
""")
    table = Tables(graph)["y"]
    assert (table.variable, float(table.threshold), table.threshold_name) == ("x", 2.0, "t")
    assert [float(case) for case in table.cases] == [-2.0, -1.0, -1.0]
    value = two_valued(table)
    assert value is not None
    assert (value.zero, value.negative) == (1, False)
    assert (float(value.scale), float(value.offset)) == (0.5, -1.5)
    assert scaled_sign(table) is None
