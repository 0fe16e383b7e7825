import pytest

from r2b.ir.ops import Arithmetic, Identity, Opaque, Output
from r2b.ir.passes.cancel_straight_through import CancelStraightThrough
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.text import parse_graph
from r2b.ir.types import TensorType

_HEAD = """
x = Input(shape=(1, 2, 4, 4))
hard = Sign(x)
soft = Hardtanh(x)
"""

_FORMS = {
    "hard.detach() - soft.detach() + soft": """
h = Identity(hard, kind='detach')
s = Identity(soft, kind='detach')
d = Arithmetic(h, s, kind='sub')
y = Arithmetic(d, soft, kind='add')
""",
    "soft + (hard - soft).detach()": """
d = Arithmetic(hard, soft, kind='sub')
f = Identity(d, kind='detach')
y = Arithmetic(soft, f, kind='add')
""",
    "soft - (soft - hard).detach()": """
d = Arithmetic(soft, hard, kind='sub')
f = Identity(d, kind='detach')
y = Arithmetic(soft, f, kind='sub')
""",
    "hard.detach() + soft - soft.detach()": """
h = Identity(hard, kind='detach')
a = Arithmetic(h, soft, kind='add')
s = Identity(soft, kind='detach')
y = Arithmetic(a, s, kind='sub')
""",
}


@pytest.mark.parametrize("form", _FORMS)
def test_every_arrangement_becomes_the_hard_part(apply, form):
    result = apply(CancelStraightThrough(), f"{_HEAD}{_FORMS[form]}o = Output(y)")
    assert result.splitlines()[2:] == [
        "y = Identity(hard, kind='straight-through')",
        "o = Output(y)",
    ]


def test_a_sum_as_soft_part_is_not_opened(apply):
    text = f"""{_HEAD}
p = Arithmetic(x, soft, kind='add')
h = Identity(hard, kind='detach')
s = Identity(p, kind='detach')
d = Arithmetic(h, s, kind='sub')
y = Arithmetic(d, p, kind='add')
o = Output(y)
"""
    assert "y = Identity(hard, kind='straight-through')" in apply(CancelStraightThrough(), text)


def test_5_without_a_detach_what_is_two_valued_remains(apply):
    text = f"""{_HEAD}
d = Arithmetic(hard, soft, kind='sub')
y = Arithmetic(d, soft, kind='add')
o = Output(y)
"""
    assert "y = Identity(hard, kind='straight-through')" in apply(CancelStraightThrough(), text)


def test_5_without_a_detach_real_arithmetic_stays(apply):
    text = f"""{_HEAD}
d = Arithmetic(x, soft, kind='sub')
y = Arithmetic(d, soft, kind='add')
o = Output(y)
"""
    assert "y = Arithmetic(d, soft, kind='add')" in apply(CancelStraightThrough(), text)


_COEFFICIENTS = {
    "0.5*soft + (hard - 0.5*soft).detach()": """
k = Constant(value=0.5)
half = Arithmetic(soft, k, kind='mul')
d = Arithmetic(hard, half, kind='sub')
f = Identity(d, kind='detach')
y = Arithmetic(half, f, kind='add')
""",
    "soft/3 + (hard - (1/3)*soft).detach()": """
k = Constant(value=3.0)
r = Constant(value=0.3333333432674408)
left = Arithmetic(soft, k, kind='div')
right = Arithmetic(r, soft, kind='mul')
d = Arithmetic(hard, right, kind='sub')
f = Identity(d, kind='detach')
y = Arithmetic(left, f, kind='add')
""",
    "-((soft - hard).detach() - soft)": """
d = Arithmetic(soft, hard, kind='sub')
f = Identity(d, kind='detach')
e = Arithmetic(f, soft, kind='sub')
y = Unary(e, kind='neg')
""",
    "2*(hard/2 - soft).detach() + 2*soft": """
k = Constant(value=2.0)
h = Arithmetic(hard, k, kind='div')
d = Arithmetic(h, soft, kind='sub')
f = Identity(d, kind='detach')
e = Arithmetic(k, f, kind='mul')
g = Arithmetic(soft, k, kind='mul')
y = Arithmetic(e, g, kind='add')
""",
    "hard.detach() * 1 + soft - soft.detach()": """
k = Constant(value=1.0)
h = Identity(hard, kind='detach')
m = Arithmetic(h, k, kind='mul')
a = Arithmetic(m, soft, kind='add')
s = Identity(soft, kind='detach')
y = Arithmetic(a, s, kind='sub')
""",
    "hard.detach() + p(x) - p(x.detach())": """
h = Identity(hard, kind='detach')
p = Arithmetic(x, x, kind='mul')
e = Identity(x, kind='detach')
q = Arithmetic(e, e, kind='mul')
a = Arithmetic(h, p, kind='add')
y = Arithmetic(a, q, kind='sub')
""",
    "an estimator of an estimator": """
d = Arithmetic(hard, soft, kind='sub')
f = Identity(d, kind='detach')
inner = Arithmetic(soft, f, kind='add')
other = Relu(x)
g = Arithmetic(inner, other, kind='sub')
j = Identity(g, kind='detach')
y = Arithmetic(j, other, kind='add')
""",
}


@pytest.mark.parametrize("form", _COEFFICIENTS)
def test_coefficients_and_factors(apply, form):
    result = apply(CancelStraightThrough(), f"{_HEAD}{_COEFFICIENTS[form]}o = Output(y)")
    assert "y = Identity(hard, kind='straight-through')" in result


def test_3_a_common_factor_that_is_no_number(apply):
    text = f"""{_HEAD}
a = Constant(value=[[[2.0]], [[3.0]]])
d = Arithmetic(hard, soft, kind='sub')
f = Identity(d, kind='detach')
e = Arithmetic(a, f, kind='mul')
g = Arithmetic(a, soft, kind='mul')
y = Arithmetic(e, g, kind='add')
o = Output(y)
"""
    assert "y = Arithmetic(a, hard, kind='mul')" in apply(CancelStraightThrough(), text)


def test_3_what_remains_keeps_its_coefficient(apply):
    text = f"""{_HEAD}
k = Constant(value=0.5)
d = Arithmetic(hard, soft, kind='sub')
f = Identity(d, kind='detach')
e = Arithmetic(f, k, kind='mul')
g = Arithmetic(soft, k, kind='mul')
y = Arithmetic(e, g, kind='add')
o = Output(y)
"""
    result = apply(CancelStraightThrough(), text)
    assert "y_factor = Constant(value=0.5)" in result
    assert "y = Arithmetic(hard, y_factor, kind='mul')" in result


_LEFT = {
    "soft - hard.detach() + soft": """
h = Identity(hard, kind='detach')
d = Arithmetic(soft, h, kind='sub')
y = Arithmetic(d, soft, kind='add')
""",
    "a.detach() - b.detach() + c": """
b = Relu(x)
h = Identity(hard, kind='detach')
s = Identity(soft, kind='detach')
d = Arithmetic(h, s, kind='sub')
y = Arithmetic(d, b, kind='add')
""",
    "0.5*soft + (hard - soft).detach()": """
k = Constant(value=0.5)
half = Arithmetic(soft, k, kind='mul')
d = Arithmetic(hard, soft, kind='sub')
f = Identity(d, kind='detach')
y = Arithmetic(half, f, kind='add')
""",
}


@pytest.mark.parametrize("form", _LEFT)
def test_what_does_not_cancel_stays(apply, form):
    result = apply(CancelStraightThrough(), f"{_HEAD}{_LEFT[form]}o = Output(y)")
    assert _LEFT[form].strip().splitlines()[-1] in result


def _opaque(name: str, target: str, operand: str) -> tuple[str, Opaque, list[str]]:
    return name, Opaque(target, "", TensorType((1, 2, 4, 4))), [operand]


@pytest.mark.parametrize(
    ("target", "cancels"), [("aten.erf.default", True), ("aten.rand_like.default", False)]
)
def test_soft_parts_without_a_word_cancel_unless_they_are_random(target, cancels):
    graph = parse_graph("x = Input(shape=(1, 2, 4, 4))\nhard = Sign(x)")
    graph.add(Identity("detach"), ["x"], name="e")
    for name, op, operands in (_opaque("p", target, "x"), _opaque("q", target, "e")):
        graph.add(op, operands, name=name)
    graph.add(Arithmetic("sub"), ["hard", "q"], name="d")
    graph.add(Arithmetic("add"), ["d", "p"], name="y")
    graph.add(Output(), ["y"], name="o")
    result = Pipeline([CancelStraightThrough()]).run(graph).graph
    assert (result["y"].op == Identity("straight-through")) == cancels


def test_soft_parts_that_differ_stay(apply):
    text = f"""{_HEAD}
other = Hardtanh(x, lo=-2.0)
h = Identity(hard, kind='detach')
s = Identity(soft, kind='detach')
d = Arithmetic(h, s, kind='sub')
y = Arithmetic(d, other, kind='add')
o = Output(y)
"""
    assert "y = Arithmetic(d, other, kind='add')" in apply(CancelStraightThrough(), text)
