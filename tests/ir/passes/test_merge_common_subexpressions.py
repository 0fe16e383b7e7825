import pytest

from r2b.ir.graph import Graph
from r2b.ir.ops import Add, Input, Opaque, Output
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.passes.merge_common_subexpressions import MergeCommonSubexpressions
from r2b.ir.types import TensorType


def test_equal_expressions_become_one(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
a = Hardtanh(x)
b = Hardtanh(x)
c = Hardtanh(x, lo=-2.0)
y = Add(a, b)
z = Add(y, c)
o = Output(z)
"""
    assert apply(MergeCommonSubexpressions(), text) == (
        "x = Input(shape=(1, 2, 4, 4))\n"
        "a = Hardtanh(x)\n"
        "c = Hardtanh(x, lo=-2.0)\n"
        "y = Add(a, a)\n"
        "z = Add(y, c)\n"
        "o = Output(z)"
    )


def test_outputs_stay_apart(apply):
    text = "x = Input(shape=(1, 2, 4, 4))\no = Output(x)\np = Output(x)"
    assert apply(MergeCommonSubexpressions(), text) == text


@pytest.mark.parametrize(
    ("target", "arguments", "count"),
    [
        ("aten.erf.default", ("", ""), 1),
        ("aten.roll.default", ("shifts=[1]", "shifts=[2]"), 2),
        ("aten.rand_like.default", ("", ""), 2),
        ("aten.bernoulli.default", ("", ""), 2),
    ],
)
def test_operations_without_a_word_are_merged_if_they_are_functions(target, arguments, count):
    graph = Graph()
    graph.add(Input((1, 2, 4, 4)), name="x")
    for name, text in zip("ab", arguments, strict=True):
        graph.add(Opaque(target, "", TensorType((1, 2, 4, 4)), text), ["x"], name=name)
    graph.add(Output(), [graph.add(Add(), ["a", "b"]).name])
    result = Pipeline([MergeCommonSubexpressions()]).run(graph).graph
    assert sum(isinstance(node.op, Opaque) for node in result.nodes()) == count
