import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import DEFAULT_PASSES, canonicalize
from r2b.ir.passes.infrastructure import Pass, PassError, Pipeline
from r2b.ir.passes.recognize_add import RecognizeAdd
from r2b.ir.text import parse_graph, print_graph

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
        "2 operations are not part of any binary network r2b knows:",
        "  Unary(exp) -> float[N, 2, 4, 4] at the model",
        "  Arithmetic(maximum) -> float[N, 2, 4, 4] at the model",
    ]


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
