import pytest

from r2b.ir.graph import Graph
from r2b.ir.ops import Sign
from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.passes.piecewise import STEEP
from r2b.ir.text import parse_graph

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


def _signs(result: str) -> list[str]:
    return [line.partition(" = ")[2] for line in result.splitlines() if "= Sign(" in line]


def test_5_other_values_are_an_affine_map_of_a_sign(apply):
    text = f"{_HEAD}c = Compare(x, zero, kind='ge')\ny = Where(c, one, two)\no = Output(y)"
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [
        "minus = Unary(x, kind='neg')",
        "y_sign = Sign(minus, zero=-1)",
        "y_number = Constant(value=0.5)",
        "y_sign_1 = Arithmetic(y_sign, y_number, kind='mul')",
        "y_number_1 = Constant(value=1.5)",
        "y = Arithmetic(y_sign_1, y_number_1, kind='add')",
        "o = Output(y)",
    ]


def test_5_zero_and_one_are_not_bipolar(apply):
    text = f"{_HEAD}c = Compare(x, zero, kind='gt')\ny = ToFloat(c)\no = Output(y)"
    assert "y = Arithmetic(y_sign_1, y_number_1, kind='add')" in apply(CanonicalizeSigns(), text)


def test_4_a_scaled_sign(apply):
    text = f"""{_HEAD}
three = Constant(value=3.0)
minus_three = Constant(value=-3.0)
c = Compare(x, zero, kind='ge')
y = Where(c, three, minus_three)
o = Output(y)
"""
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [
        "y_sign = Sign(x)",
        "y_number = Constant(value=3.0)",
        "y = Arithmetic(y_sign, y_number, kind='mul')",
        "o = Output(y)",
    ]


_EXPRESSIONS = {
    "(x > 0) - (x < 0)": (
        """
p = Compare(x, zero, kind='gt')
pf = ToFloat(p)
q = Compare(x, zero, kind='lt')
qf = ToFloat(q)
y = Arithmetic(pf, qf, kind='sub')
""",
        "Sign(x, zero=0)",
    ),
    "sign(sign(x) + eps)": (
        """
eps = Constant(value=0.01)
s = Sign(x, zero=0)
e = Arithmetic(s, eps, kind='add')
y = Sign(e, zero=0)
""",
        "Sign(x)",
    ),
    "sign(sign(x) - eps)": (
        """
eps = Constant(value=0.01)
s = Sign(x, zero=0)
e = Arithmetic(s, eps, kind='sub')
y = Sign(e, zero=0)
""",
        "Sign(x, zero=-1)",
    ),
    "clamp(2 * sign(x), -1, 1)": (
        """
s = Sign(x, zero=0)
e = Arithmetic(s, two, kind='mul')
y = Hardtanh(e)
""",
        "Sign(x, zero=0)",
    ),
    "relu(sign(x)) * 2 - 1": (
        """
s = Sign(x, zero=-1)
r = Relu(s)
e = Arithmetic(r, two, kind='mul')
y = Arithmetic(e, one, kind='sub')
""",
        "Sign(x, zero=-1)",
    ),
    "x >= relu(x)": (
        """
r = Relu(x)
c = Compare(x, r, kind='ge')
y = Where(c, one, minus_one)
""",
        "Sign(x)",
    ),
    "x * (x > 0) > 0": (
        """
c = Compare(x, zero, kind='gt')
f = ToFloat(c)
p = Arithmetic(x, f, kind='mul')
d = Compare(p, zero, kind='gt')
y = Where(d, one, minus_one)
""",
        "Sign(x, zero=-1)",
    ),
}


@pytest.mark.parametrize("name", _EXPRESSIONS)
def test_expressions_that_are_signs_by_their_cases(apply, name):
    text, wanted = _EXPRESSIONS[name]
    assert _signs(apply(CanonicalizeSigns(), f"{_HEAD}{text}o = Output(y)")) == [wanted]


_QUOTIENTS = {
    "x / |x|": "a = Unary(x, kind='abs')\ny = Arithmetic(x, a, kind='div')",
    "|x| / x": "a = Unary(x, kind='abs')\ny = Arithmetic(a, x, kind='div')",
    "x / sqrt(x * x)": """
q = Arithmetic(x, x, kind='mul')
a = Unary(q, kind='sqrt')
y = Arithmetic(x, a, kind='div')
""",
    "x * (x ** 2) ** -0.5": """
q = Arithmetic(x, two, kind='pow')
r = Unary(q, kind='rsqrt')
y = Arithmetic(x, r, kind='mul')
""",
}


def _pass(text: str) -> Graph:
    # the source is no number at 0, so that the values cannot be compared there
    return Pipeline([CanonicalizeSigns()]).run(parse_graph(text)).graph


@pytest.mark.parametrize("name", _QUOTIENTS)
def test_quotients_of_equal_magnitude_are_signs(name):
    graph = _pass(f"{_HEAD}{_QUOTIENTS[name]}\no = Output(y)")
    assert (graph["y"].op, graph["y"].operands) == (Sign(0), ("x",))


def test_a_quotient_with_an_epsilon_is_no_sign(apply):
    text = f"""{_HEAD}
eps = Constant(value=0.001)
a = Unary(x, kind='abs')
b = Arithmetic(a, eps, kind='add')
y = Arithmetic(x, b, kind='div')
o = Output(y)
"""
    assert "y = Arithmetic(x, b, kind='div')" in apply(CanonicalizeSigns(), text)


_STEEP = {
    "clamp": "y = Hardtanh(s)",
    "tanh": "y = Unary(s, kind='tanh')",
    "Activation": "y = Activation(s, kind='tanh')",
    "2 * sigmoid - 1": """
g = Sigmoid(s)
d = Arithmetic(g, two, kind='mul')
y = Arithmetic(d, one, kind='sub')
""",
}


@pytest.mark.parametrize("name", _STEEP)
@pytest.mark.parametrize(("slope", "is_sign"), [(STEEP, True), (0.99 * STEEP, False)])
def test_6_a_steep_slope_is_a_sign_from_a_limit_on(name, slope, is_sign):
    text = f"{_HEAD}k = Constant(value={slope})\ns = Arithmetic(x, k, kind='mul')\n{_STEEP[name]}"
    graph = _pass(f"{text}\no = Output(y)")
    assert (graph["y"].op == Sign(0)) == is_sign


def test_3_thresholds_per_channel(apply):
    text = f"""{_HEAD}
t = Constant(value=[[[0.5]], [[-0.5]]])
c = Compare(x, t, kind='ge')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [
        "t = Constant(value=[[[0.5]], [[-0.5]]])",
        "over = Arithmetic(x, t, kind='sub')",
        "y = Sign(over)",
        "o = Output(y)",
    ]


def test_cases_at_two_thresholds_stay(apply):
    text = f"""{_HEAD}
p = Compare(x, zero, kind='gt')
q = Compare(x, two, kind='gt')
y = Where(p, one, minus_one)
z = Where(q, one, minus_one)
m = Arithmetic(y, z, kind='mul')
o = Output(m)
"""
    assert "m = Arithmetic(y, z, kind='mul')" in apply(CanonicalizeSigns(), text)


def test_channels_of_both_signs_stay(apply):
    text = f"""{_HEAD}
a = Constant(value=[[[2.0]], [[-2.0]]])
b = Constant(value=[[[-2.0]], [[2.0]]])
c = Compare(x, zero, kind='gt')
y = Where(c, a, b)
o = Output(y)
"""
    assert "y = Where(c, a, b)" in apply(CanonicalizeSigns(), text)


def test_a_comparison_of_two_values_per_frame_stays(apply):
    text = f"""{_HEAD}
r = Hardtanh(x)
c = Compare(x, r, kind='ge')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert "y = Where(c, one, minus_one)" in apply(CanonicalizeSigns(), text)


def test_weights_keep_what_their_sign_gives_for_zero():
    graph = _pass(f"""{_HEAD}
w = Constant(value=[[[[1.0]], [[0.0]]]])
p = Compare(w, zero, kind='gt')
pf = ToFloat(p)
q = Compare(w, zero, kind='lt')
qf = ToFloat(q)
s = Arithmetic(pf, qf, kind='sub')
y = Convolution(x, s)
o = Output(y)
""")
    assert (graph["s"].op, graph["s"].operands) == (Sign(0), ("w",))


def test_the_written_form_is_noted():
    text = f"{_HEAD}c = Compare(x, zero, kind='ge')\ny = Where(c, one, minus_one)\no = Output(y)"
    assert _pass(text)["y"].op.form == "x >= 0"


def test_the_written_form_of_a_threshold_is_noted():
    text = f"{_HEAD}c = Compare(x, two, kind='ge')\ny = Where(c, one, minus_one)\no = Output(y)"
    assert _pass(text)["y"].op.form == "x >= t"


@pytest.mark.parametrize(
    ("kind", "branches", "sign"),
    [("ge", "one, minus_one", "Sign(r)"), ("lt", "minus_one, one", "Sign(r)")],
)
def test_7_a_sign_that_is_constant_is_that_of_the_nearest_value(apply, kind, branches, sign):
    text = f"""{_HEAD}
r = Relu(x)
c = Compare(r, zero, kind='{kind}')
y = Where(c, {branches})
o = Output(y)
"""
    assert apply(CanonicalizeSigns(), text).splitlines()[1:] == [
        "r = Relu(x)",
        f"y = {sign}",
        "o = Output(y)",
    ]


def test_7_arithmetic_with_a_comparison_of_a_relu(apply):
    text = f"""{_HEAD}
r = Relu(x)
c = Compare(r, zero, kind='ge')
f = ToFloat(c)
d = Arithmetic(two, f, kind='mul')
y = Arithmetic(d, one, kind='sub')
o = Output(y)
"""
    assert "y = Sign(r)" in apply(CanonicalizeSigns(), text)


def test_7_a_steep_slope_behind_a_relu(apply):
    text = f"""{_HEAD}
r = Relu(x)
k = Constant(value=1e9)
m = Arithmetic(r, k, kind='mul')
y = Hardtanh(m)
o = Output(y)
"""
    assert "y = Sign(r, zero=0)" in apply(CanonicalizeSigns(), text)


def test_7_slopes_of_both_signs(apply):
    text = f"""{_HEAD}
p = PRelu(x, slope=[0.25, -0.25])
c = Compare(p, zero, kind='ge')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert "y = Sign(p)" in apply(CanonicalizeSigns(), text)


def test_7_a_sign_of_the_farthest_value_comes_first(apply):
    text = f"""{_HEAD}
p = PRelu(x, slope=[0.25, 0.25])
c = Compare(p, zero, kind='ge')
y = Where(c, one, minus_one)
o = Output(y)
"""
    assert "y = Sign(x)" in apply(CanonicalizeSigns(), text)
