from fractions import Fraction
from math import exp, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.ir import arith

NO_DEADLINE = settings(deadline=None)


@NO_DEADLINE
@given(st.integers(-(2**47), 2**47), st.integers(1, 40))
def test_rs_rounds_half_up(value, shift):
    assert arith.rs(value, shift) == floor(Fraction(value, 2**shift) + Fraction(1, 2))


@NO_DEADLINE
@given(st.lists(st.integers(-(2**47), 2**47), min_size=1), st.integers(1, 40))
def test_rs_is_the_same_on_arrays(values, shift):
    expected = [arith.rs(value, shift) for value in values]
    assert arith.rs(np.array(values), shift).tolist() == expected


@pytest.mark.parametrize(
    ("width", "low", "high"), [(1, -1, 0), (8, -128, 127), (16, -32768, 32767)]
)
def test_bounds(width, low, high):
    assert arith.bounds(width) == (low, high)


def test_sat():
    assert arith.sat(np.array([-9, -8, 0, 7, 8]), -8, 7).tolist() == [-8, -8, 0, 7, 7]


def test_piecewise_affine_switches_at_the_knot():
    acc = np.arange(-3, 4)
    found = arith.piecewise_affine(acc, 1, (2, 10), (1, -4), 1)
    expected = [arith.rs(a * 10 - 4, 1) if a >= 1 else arith.rs(a * 2 + 1, 1) for a in acc]
    assert found.tolist() == expected


@pytest.mark.parametrize(("flip", "expected"), [(0, [0, 0, 1, 1]), (1, [1, 1, 0, 0])])
def test_threshold(flip, expected):
    assert arith.threshold(np.arange(4), 2, flip).tolist() == expected


def test_sigmoid_table_is_the_function_in_the_middle_of_each_bin():
    table = arith.sigmoid_table()
    assert len(table) == 1024
    assert table.max() < 2**16
    for index in (-512, -100, -1, 0, 1, 63, 511):
        assert abs(table[index + 512] - 2**16 / (1 + exp(-index / 64))) <= 0.5


def test_the_gates_tables():
    assert (arith.gate_table("sigmoid") == arith.sigmoid_table()).all()
    table = arith.gate_table("hardsigmoid")
    assert table.shape == (1024,) and table.dtype == np.int64
    assert table[512] == 32768 and table[512 + 64] == round(65536 * 4 / 6)
    assert (table[: 512 - 192] == 0).all() and (table[512 + 192 :] == 65535).all()
    with pytest.raises(ValueError, match=r"^a gate's function is sigmoid or hardsigmoid, not 'x'$"):
        arith.gate_table("x")
