import pytest

from r2b.ir.passes.cancel_straight_through import CancelStraightThrough

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


def test_arithmetic_without_detach_stays(apply):
    text = f"""{_HEAD}
d = Arithmetic(hard, soft, kind='sub')
y = Arithmetic(d, soft, kind='add')
o = Output(y)
"""
    assert "y = Arithmetic(d, soft, kind='add')" in apply(CancelStraightThrough(), text)


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
