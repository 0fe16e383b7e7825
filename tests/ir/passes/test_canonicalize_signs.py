import pytest

from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns

_HEAD = """
x = Input(shape=(1, 2, 4, 4))
zero = Constant(value=0.0)
one = Constant(value=1.0)
minus_one = Constant(value=-1.0)
two = Constant(value=2.0)
"""


@pytest.mark.parametrize(
    ("kind", "branches", "zero"),
    [
        ("ge", "one, minus_one", 1),
        ("gt", "one, minus_one", -1),
        ("lt", "minus_one, one", 1),
        ("le", "minus_one, one", -1),
    ],
)
def test_1_where(apply, kind, branches, zero):
    text = f"{_HEAD}c = Compare(x, zero, kind='{kind}')\ny = Where(c, {branches})\no = Output(y)"
    sign = "Sign(x)" if zero == 1 else "Sign(x, zero=-1)"
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [f"y = {sign}", "o = Output(y)"]


def test_1_number_on_the_left(apply):
    text = f"{_HEAD}c = Compare(zero, x, kind='le')\ny = Where(c, one, minus_one)\no = Output(y)"
    assert "y = Sign(x)" in apply(CanonicalizeSigns(), text)


@pytest.mark.parametrize(("kind", "sign"), [("gt", "Sign(x, zero=-1)"), ("ge", "Sign(x)")])
def test_2_arithmetic(apply, kind, sign):
    text = f"""{_HEAD}
c = Compare(x, zero, kind='{kind}')
f = ToFloat(c)
d = Arithmetic(two, f, kind='mul')
y = Arithmetic(d, one, kind='sub')
o = Output(y)
"""
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [f"y = {sign}", "o = Output(y)"]


def test_3_threshold(apply):
    text = f"{_HEAD}c = Compare(x, two, kind='gt')\ny = Where(c, one, minus_one)\no = Output(y)"
    assert apply(CanonicalizeSigns(), text).splitlines()[2:] == [
        "over = Arithmetic(x, two, kind='sub')",
        "y = Sign(over, zero=-1)",
        "o = Output(y)",
    ]


@pytest.mark.parametrize(("kind", "sign"), [("ge", "zero=-1"), ("gt", "")])
def test_4_minus_a_sign(apply, kind, sign):
    text = f"""{_HEAD}
c = Compare(x, zero, kind='{kind}')
y = Where(c, minus_one, one)
o = Output(y)
"""
    wanted = f"y = Sign(minus, {sign})" if sign else "y = Sign(minus)"
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [
        "minus = Unary(x, kind='neg')",
        wanted,
        "o = Output(y)",
    ]


@pytest.mark.parametrize("kind", ["eq", "ne"])
def test_equality_is_no_sign(apply, kind):
    text = f"""{_HEAD}
c = Compare(x, zero, kind='{kind}')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert "y = Where(c, one, minus_one)" in apply(CanonicalizeSigns(), text)


def test_other_values_are_no_sign(apply):
    text = f"{_HEAD}c = Compare(x, zero, kind='ge')\ny = Where(c, one, two)\no = Output(y)"
    assert "y = Where(c, one, two)" in apply(CanonicalizeSigns(), text)


def test_a_comparison_of_two_values_per_frame_stays(apply):
    text = f"""{_HEAD}
r = Relu(x)
c = Compare(x, r, kind='ge')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert "y = Where(c, one, minus_one)" in apply(CanonicalizeSigns(), text)
