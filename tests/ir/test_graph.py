import numpy as np
import pytest

from r2b.ir import ops
from r2b.ir.errors import Location
from r2b.ir.graph import Graph
from r2b.ir.text import parse_graph, print_graph
from r2b.ir.types import DType, TensorType
from r2b.ir.verify import VerifyError, verify

_DIAMOND = """
x = Input(shape=(1, 2, 4, 4))
a = Relu(x)
b = Hardtanh(x)
y = Add(a, b)
o = Output(y)
"""


def _names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes()]


def test_order_is_that_of_building():
    assert _names(parse_graph(_DIAMOND)) == ["x", "a", "b", "y", "o"]


def test_near_takes_the_place_of_another_node():
    graph = parse_graph(_DIAMOND)
    made = graph.add(ops.Sigmoid(), ["x"], near="a")
    graph.replace("b", ops.Add(), ["x", made.name])
    assert _names(graph) == ["x", "a", "sigmoid", "b", "y", "o"]


def test_near_gives_the_location():
    graph = Graph()
    graph.add(ops.Input((1, 1, 2, 2)), name="x", location=Location("stem", "net.py:3"))
    assert graph.add(ops.Relu(), ["x"], near="x").location == Location("stem", "net.py:3")


def test_operands_and_users():
    graph = parse_graph(_DIAMOND)
    assert [node.name for node in graph.operands("y")] == ["a", "b"]
    assert [node.name for node in graph.users("x")] == ["a", "b"]
    assert [node.name for node in graph.inputs + graph.outputs] == ["x", "o"]


def test_one_value_twice():
    graph = parse_graph("x = Input(shape=(1, 2, 4, 4))\ny = Add(x, x)\no = Output(y)")
    assert [node.name for node in graph.operands("y")] == ["x", "x"]
    assert [node.name for node in graph.users("x")] == ["y"]
    verify(graph)


def test_names_are_made_unique():
    graph = parse_graph(_DIAMOND)
    assert graph.add(ops.Relu(), ["x"], name="a").name == "a_1"
    assert graph.add(ops.Relu(), ["x"], name="a").name == "a_2"
    assert graph.add(ops.Relu(), ["x"]).name == "relu"


def test_replace_keeps_name_users_and_place():
    graph = parse_graph(_DIAMOND)
    graph.replace("a", ops.Sigmoid())
    assert _names(graph) == ["x", "a", "b", "y", "o"]
    assert graph["a"].op == ops.Sigmoid()
    assert [node.name for node in graph.users("a")] == ["y"]


def test_replace_uses_spares_the_new_value():
    graph = parse_graph(_DIAMOND)
    made = graph.add(ops.Sigmoid(), ["a"], near="a")
    graph.replace_uses("a", made.name)
    assert graph["y"].operands == (made.name, "b")
    assert graph[made.name].operands == ("a",)


def test_a_cycle_is_refused():
    graph = parse_graph(_DIAMOND)
    with pytest.raises(ValueError, match=r"^a = Relu at the model: operand y would make a cycle$"):
        graph.replace("a", ops.Relu(), ["y"])


def test_a_used_node_is_not_removed():
    graph = parse_graph(_DIAMOND)
    with pytest.raises(
        ValueError, match=r"^a = Relu at the model is used by y, remove that first$"
    ):
        graph.remove("a")


def test_prune_keeps_what_outputs_need():
    graph = parse_graph(_DIAMOND)
    graph.add(ops.Sigmoid(), [graph.add(ops.Relu(), ["a"]).name])
    assert graph.prune() == 2
    assert _names(graph) == ["x", "a", "b", "y", "o"]


def test_a_copy_is_its_own():
    graph = parse_graph(_DIAMOND)
    before = print_graph(graph)
    twin = graph.copy()
    twin.replace("a", ops.Sigmoid())
    twin.add(ops.Relu(), ["a"])
    assert print_graph(graph) == before
    assert print_graph(twin) != before


def test_types_follow_a_change():
    graph = parse_graph(
        "x = Input(shape=(1, 2, 4, 4))\na = Relu(x)\n"
        "p = MaxPool2d(a, kernel=(2, 2), stride=(2, 2))\no = Output(p)"
    )
    graph.replace("a", ops.Sign())
    with pytest.raises(VerifyError, match="p = MaxPool2d"):
        verify(graph)
    graph.infer_types()
    verify(graph)
    assert graph["p"].type == TensorType((1, 2, 2, 2), DType.BIPOLAR)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y = Add(x)", "Add takes 2 operands, not 1"),
        ("y = Relu(z)", "there is no value z"),
        (
            "y = BinaryConv2d(x, weight=signs((1, 2, 1, 1)), scale=[1.0])",
            r"the operand of BinaryConv2d must be bipolar, not float\[N, 2, 4, 4\]",
        ),
        (
            "y = Conv2d(x, weight=normal((1, 3, 1, 1)))",
            "Conv2d with a weight for 3 input channels was given 2",
        ),
        (
            "y = Conv2d(x, weight=normal((1, 2, 5, 5)))",
            "the window of 5 is larger than the padded image of 4",
        ),
        ("y = PRelu(x, slope=[1.0])", r"the slope of PRelu must hold one value .* not \(1,\)"),
        (
            "m = MaxPool2d(x, kernel=(2, 2), stride=(2, 2))\ny = Scale(x, m)",
            r"the factor of Scale must broadcast to float\[N, 2, 4, 4\], not float\[N, 2, 2, 2\]",
        ),
        (
            "y = SpatialScale(x, factor=[[[1.0]]])",
            r"the factor of SpatialScale must be \(2, 4, 4\), not \(1, 1, 1\)",
        ),
        (
            "v = Flatten(x)\ny = Concat(x, v)",
            r"the operands of Concat must agree but for channels, not float\[N, 2, 4, 4\] and "
            r"float\[N, 32\]",
        ),
        ("y = Pad(x, padding=(0, -1, 0, 0))", "Pad must not cut the image"),
        (
            "y = BinaryLinear(x, weight=signs((1, 2)), scale=[1.0])",
            r"the operand of BinaryLinear must be bipolar N x C, not float\[N, 2, 4, 4\]",
        ),
        (
            "y = Mean(x, axes=(0,))",
            "a mean over the frames is not allowed",
        ),
        ("y = Reshape(x, shape=(1, 5))", r"float\[N, 2, 4, 4\] cannot be viewed as \(1, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused(line, message):
    with pytest.raises(ValueError, match=f"^y at the model: {message}$"):
        parse_graph(f"x = Input(shape=(1, 2, 4, 4))\n{line}")


def test_verify_lists_missing_ends():
    with pytest.raises(VerifyError, match=r"^the graph has no input\nthe graph has no output$"):
        verify(Graph())


def test_arrays_of_operations_are_copies_and_read_only():
    weight = np.ones((1, 2))
    op = ops.Linear(weight)
    weight[:] = 5
    assert op.weight.tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0, 0] = 2


def test_operations_compare_by_value():
    assert ops.Linear(np.ones((1, 2))) == ops.Linear(np.ones((1, 2)))
    assert ops.Linear(np.ones((1, 2))) != ops.Linear(np.zeros((1, 2)))
    assert ops.Sign(1) != ops.Sign(-1)
    assert ops.Relu() != ops.Sigmoid()


def test_batch_norm_is_an_affine_map():
    norm = ops.BatchNorm(np.array([2.0]), np.array([1.0]), np.array([3.0]), np.array([4.0]), 0.0)
    assert (norm.multiplier.tolist(), norm.offset.tolist()) == ([1.0], [-2.0])
    affine = ops.BatchNorm.affine(np.array([-0.1]), np.array([0.3]))
    assert (affine.multiplier.tolist(), affine.offset.tolist()) == ([-0.1], [0.3])


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 0, 4, 4)])
def test_impossible_types(shape):
    with pytest.raises(ValueError, match="dimension"):
        TensorType(shape)


@pytest.mark.parametrize(("value", "dtype"), [(1.0, "bipolar"), (-1.0, "bipolar"), (0.0, "float")])
def test_a_border_of_a_bipolar_image(value, dtype):
    pad = f"Pad(s, padding=(1, 0, 1, 2), value={value})"
    text = f"x = Input(shape=(1, 2, 4, 4))\ns = Sign(x)\ny = {pad}"
    assert str(parse_graph(text)["y"].type) == f"{dtype}[N, 2, 6, 6]"


@pytest.mark.parametrize(("other", "dtype"), [("s", "bipolar"), ("x", "float")])
def test_a_concatenation_is_bipolar_if_all_are(other, dtype):
    text = f"x = Input(shape=(1, 2, 4, 4))\ns = Sign(x)\ny = Concat(s, {other}, s)"
    assert str(parse_graph(text)["y"].type) == f"{dtype}[N, 6, 4, 4]"


def test_the_note_of_a_sign_does_not_count():
    assert ops.Sign(0, "x >= t") == ops.Sign(0)
    assert ops.Opaque("aten.roll", "", TensorType((1,)), "1") != ops.Opaque(
        "aten.roll", "", TensorType((1,)), "2"
    )
