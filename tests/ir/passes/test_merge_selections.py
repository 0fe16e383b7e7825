import numpy as np
import pytest

from r2b.ir.interpreter import run
from r2b.ir.passes.merge_selections import MergeSelections
from r2b.ir.text import parse_graph

_TEXT = """\
x = Input(shape=(1, 3, 9, 8))
a = Select(x, channels=(2, -1, 0, 0), start=(1, 0), step=(2, 3), size=(4, 3))
b = Select(a, channels=(-1, 3, 0, 1), start=(0, 1), step=(2, 1), size=(2, 2))
o = Output(b)"""


def test_1_two_selections_in_a_row(apply):
    found = apply(MergeSelections(), _TEXT)
    assert found.splitlines()[1:] == [
        "b = Select(x, channels=(-1, 0, 2, -1), start=(1, 3), step=(4, 3), size=(2, 2))",
        "o = Output(b)",
    ]
    frames = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
    first, second = (run(parse_graph(text), frames)["b"] for text in (_TEXT, found))
    np.testing.assert_array_equal(first, second)


def test_2_an_inner_selection_with_another_user(apply):
    text = f"{_TEXT}\np = Output(a)"
    assert apply(MergeSelections(), text) == text


@pytest.mark.parametrize(
    "fields",
    [
        "channels=(3,), size=(9, 8)",
        "channels=(), size=(9, 8)",
        "channels=(0,), size=(10, 8)",
        "channels=(0,), start=(1, 0), size=(9, 8)",
        "channels=(0,), step=(2, 1), size=(6, 8)",
        "channels=(0,), size=(0, 8)",
    ],
)
def test_a_selection_stays_inside_its_operand(fields):
    with pytest.raises(ValueError, match=r"Select (takes channels|must stay inside)"):
        parse_graph(f"x = Input(shape=(1, 3, 9, 8))\na = Select(x, {fields})\no = Output(a)")
