import numpy as np
import pytest

from r2b.ir import ops
from r2b.ir.errors import Location
from r2b.ir.graph import Graph
from r2b.ir.text import OPS, parse_graph, print_graph

_TEXT = """\
x = Input(shape=(1, 2, 4, 4))  # float[N, 2, 4, 4]
s = Sign(x, zero=-1)  # bipolar[N, 2, 4, 4]
c = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[0.5], stride=(2, 2))  # float[N, 1, 2, 2]
h = Hardtanh(c, hi=inf)  # float[N, 1, 2, 2]
l = Hardtanh(h, lo=-inf)  # float[N, 1, 2, 2]
o = Output(l)  # float[N, 1, 2, 2]
"""


def test_what_is_printed_can_be_read():
    assert print_graph(parse_graph(_TEXT)) == _TEXT


def test_location_and_digest():
    graph = Graph()
    graph.add(ops.Input((1, 1, 4, 4)), name="x")
    weight = np.arange(9.0).reshape(1, 1, 3, 3)
    graph.add(ops.Conv2d(weight), ["x"], name="y", location=Location("stem", "net.py:7"))
    line = print_graph(graph, locations=True).splitlines()[1]
    assert line == (
        "y = Conv2d(x, weight=array((1, 1, 3, 3), '13a22b00aae8'))  "
        "# float[N, 1, 2, 2] at stem (net.py:7)"
    )


def test_a_digest_changes_with_one_weight():
    def text(value: float) -> str:
        graph = parse_graph("x = Input(shape=(1, 9))")
        weight = np.zeros((1, 9))
        weight[0, 8] = value
        graph.add(ops.Linear(weight), ["x"])
        return print_graph(graph)

    assert text(0.0) != text(1e-300)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y = Nothing(x)", "^line 2: there is no operation Nothing$"),
        ("y = 3", r"^line 2: name = Op\(operands, fields\) is expected$"),
        ("y = Relu(3)", "^line 2: an operand must be a name$"),
        (
            "y = PRelu(x, slope=array((64,), 'abc'))",
            "^line 2: the elements of an array are not in the text$",
        ),
    ],
)
def test_what_is_no_graph(line, message):
    with pytest.raises(ValueError, match=message):
        parse_graph(f"x = Input(shape=(1, 2, 4, 4))\n{line}")


def test_every_operation_has_a_name():
    found = {op.__name__ for op in vars(ops).values() if isinstance(op, type)}
    public = {
        name
        for name in found
        if issubclass(getattr(ops, name, int), ops.Op) and not name.startswith("_")
    }
    assert set(OPS) == public - {"Op", "RawOp"}


def test_the_note_of_a_sign_is_not_printed():
    graph = parse_graph("x = Input(shape=(1, 2, 4, 4))")
    graph.add(ops.Sign(1, "x >= t"), ["x"], name="y")
    assert "y = Sign(x)  #" in print_graph(graph)
