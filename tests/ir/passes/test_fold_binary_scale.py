import numpy as np

from r2b.ir import ops
from r2b.ir.errors import Location
from r2b.ir.graph import Graph
from r2b.ir.passes.fold_binary_scale import FoldBinaryScale

_HEAD = """
x = Input(shape=(1, 2, 3, 3))
s = Sign(x)
c = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[2.0])
"""


def _norm(offset: float) -> str:
    return f"BatchNorm(c, gamma=[-3.0], beta=[{offset}], mean=[0.0], var=[1.0], eps=0.0)"


def test_1_scale(apply):
    result = apply(FoldBinaryScale(), f"{_HEAD}y = {_norm(0.0)}\no = Output(y)")
    assert result.splitlines()[2:] == [
        "y = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[-6.0])",
        "o = Output(y)",
    ]


def test_2_offset_stays(apply):
    assert _norm(1.0) in apply(FoldBinaryScale(), f"{_HEAD}y = {_norm(1.0)}\no = Output(y)")


def test_2_other_users(apply):
    text = f"{_HEAD}y = {_norm(0.0)}\no = Output(y)\np = Output(c)"
    assert _norm(0.0) in apply(FoldBinaryScale(), text)


def test_1_scale_of_a_linear_layer(apply):
    text = """
x = Input(shape=(1, 2))
s = Sign(x)
c = BinaryLinear(s, weight=[[1, -1]], scale=[2.0])
y = BatchNorm(c, gamma=[-3.0], beta=[0.0], mean=[0.0], var=[1.0], eps=0.0)
o = Output(y)
"""
    assert "y = BinaryLinear(s, weight=[[1, -1]], scale=[-6.0])" in apply(FoldBinaryScale(), text)


def test_1_the_layer_stays_at_its_place_under_the_name_of_its_value():
    graph = Graph()
    graph.add(ops.Input((1, 1, 3, 3)), name="x")
    graph.add(ops.Sign(), ["x"], name="s")
    conv = ops.BinaryConv2d(np.ones((1, 1, 1, 1), np.int8), np.ones(1))
    graph.add(conv, ["s"], name="c", location=Location("body.conv", "net.py:7"))
    scale = ops.BatchNorm.affine(np.full(1, 2.0), np.zeros(1))
    graph.add(scale, ["c"], name="y", location=Location("body.norm", "net.py:8"))
    graph.add(ops.Output(), ["y"], name="o")
    assert FoldBinaryScale().call(graph)
    assert graph["y"].location == Location("body.conv", "net.py:7")
