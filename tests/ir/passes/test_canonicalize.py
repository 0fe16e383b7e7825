import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from r2b.ir import ops
from r2b.ir.advice import way_out
from r2b.ir.errors import Location, UnsupportedOpError
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import DEFAULT_PASSES, canonicalize
from r2b.ir.passes.infrastructure import Pass, PassError, Pipeline
from r2b.ir.passes.recognize_add import RecognizeAdd
from r2b.ir.text import parse_graph, print_graph
from r2b.ir.types import TensorType

_TEXT = """
x = Input(shape=(1, 2, 4, 4))
zero = Constant(value=0.0)
one = Constant(value=1.0)
minus_one = Constant(value=-1.0)
c = Compare(x, zero, kind='ge')
s = Where(c, one, minus_one)
w = Constant(value=[[[[1.0]], [[-4.0]]]])
wc = Compare(w, zero, kind='ge')
ws = Where(wc, one, minus_one)
y = Convolution(s, ws)
o = Output(y)
"""


@pytest.mark.parametrize("step", DEFAULT_PASSES, ids=lambda step: step.name)
def test_class_file_name_and_test_share_one_name(step):
    snake = re.sub("(?<!^)([A-Z])", r"_\1", type(step).__name__).lower()
    assert step.name == snake.replace("_", "-")
    assert type(step).__module__.endswith(f".{snake}")
    assert (Path(__file__).parent / f"test_{snake}.py").exists()


def test_a_binary_convolution_from_comparisons():
    assert [
        line.partition("  #")[0]
        for line in print_graph(canonicalize(parse_graph(_TEXT))).splitlines()
    ] == [
        "x = Input(shape=(1, 2, 4, 4))",
        "s = Sign(x)",
        "y = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[1.0])",
        "o = Output(y)",
    ]


def test_the_argument_is_left_alone():
    graph = parse_graph(_TEXT)
    before = print_graph(graph)
    canonicalize(graph)
    assert print_graph(graph) == before


def test_twice_is_once():
    once = canonicalize(parse_graph(_TEXT))
    assert print_graph(canonicalize(once)) == print_graph(once)


def test_the_result_names_the_passes_that_changed_something():
    modified = Pipeline(DEFAULT_PASSES).run(parse_graph(_TEXT)).modified
    assert modified == (
        "canonicalize-signs",
        "fold-constants",
        "bind-parameters",
        "recognize-binary-convs",
    )


def test_everything_that_is_left_over_is_listed():
    text = """
x = Input(shape=(1, 2, 4, 4))
a = Unary(x, kind='exp')
b = Arithmetic(x, a, kind='maximum')
o = Output(b)
"""
    with pytest.raises(UnsupportedOpError) as raised:
        canonicalize(parse_graph(text))
    assert str(raised.value).splitlines()[:3] == [
        "2 operations are not supported:",
        "  Unary(exp) -> float[N, 2, 4, 4] at the model",
        "    way out: use relu, prelu, leaky_relu, hardtanh, clamp, sigmoid, tanh, hardswish, "
        "silu, gelu or elu",
    ]
    assert "  Arithmetic(maximum) -> float[N, 2, 4, 4] at the model" in str(raised.value)


def test_an_operation_without_a_word_is_named_as_pytorch_names_it_with_its_place():
    graph = parse_graph("x = Input(shape=(1, 2, 4, 4))\ns = Softmax(x)")
    place = Location("stem.act", "net.py:12")
    opaque = ops.Opaque("aten.cumsum.default", "it needs an order", TensorType((1, 2, 4, 4)))
    graph.add(opaque, ["s"], name="y", location=place)
    graph.add(ops.Output(), ["y"], name="o")
    with pytest.raises(UnsupportedOpError) as raised:
        canonicalize(graph)
    lines = str(raised.value).splitlines()
    assert lines[:5] == [
        "2 operations are not supported:",
        "  Softmax -> float[N, 2, 4, 4] at the model",
        "    way out: softmax is supported as the last operation; move it to the end of the "
        "network",
        "  aten.cumsum.default (it needs an order) -> float[N, 2, 4, 4] at stem.act (net.py:12)",
        "    way out: write it with supported operations, or leave it outside the compiled module",
    ]
    assert lines[5].startswith("Supported: Input, Output, Conv2d, BinaryConv2d, ")


def test_softmax_at_the_end_is_canonical():
    text = "x = Input(shape=(1, 2, 4, 4))\ns = Softmax(x, log=True)\no = Output(s)"
    assert "s = Softmax(x, log=True)" in print_graph(canonicalize(parse_graph(text)))


@pytest.mark.parametrize("op", ops.RAW_OPS, ids=lambda op: op.__name__)
def test_every_raw_operation_has_a_way_out(op):
    kinds = {
        ops.Arithmetic: [{"kind": kind} for kind in typing.get_args(_kind_of(ops.Arithmetic))],
        ops.Unary: [{"kind": "exp"}],
        ops.Compare: [{"kind": "ge"}],
        ops.Constant: [{"value": np.ones(2)}],
        ops.Mean: [{"axes": (1,)}],
        ops.Reshape: [{"shape": (1, 4)}],
        ops.Expand: [{"shape": (1, 4)}],
        ops.AdaptiveAvgPool2d: [{"size": (2, 2)}],
        ops.Opaque: [{"target": "aten.erf.default", "reason": "", "type": TensorType((1, 4))}],
    }
    for fields in kinds.get(op, [{}]):
        assert len(way_out(op(**fields))) > 10


def _kind_of(op: type[ops.Op]) -> object:
    return typing.get_type_hints(op)["kind"]


_REAL_WEIGHTS = """
x = Input(shape=(1, 2, 4, 4))
s = Sign(x)
w = Constant(value=[[[[3.0]], [[-1.0]]]])
y = Convolution(s, w)
o = Output(y)
"""


@pytest.mark.parametrize(("method", "scale"), [("sign", 1.0), ("mean", 2.0)])
def test_real_weights_are_binarised_on_demand(method, scale):
    graph = canonicalize(parse_graph(_REAL_WEIGHTS), binarize_weights=method)
    wanted = f"y = BinaryConv2d(s, weight=[[[[1]], [[-1]]]], scale=[{scale}])"
    assert wanted in print_graph(graph)
    assert "y = Conv2d(s" in print_graph(canonicalize(parse_graph(_REAL_WEIGHTS)))


@dataclass(frozen=True)
class _Break(Pass):
    name: ClassVar[str] = "break"

    def call(self, graph: Graph) -> bool:
        graph.replace("o", ops.Relu())
        return True


def test_a_pass_that_breaks_the_graph_is_named():
    with pytest.raises(
        PassError, match=r"^pass break failed \(passes before it: recognize-add\): "
    ):
        Pipeline([RecognizeAdd(), _Break()]).run(parse_graph(_TEXT))
