import pytest

from r2b.ir.passes.recognize_activations import RecognizeActivations

_HEAD = """
x = Input(shape=(1, 2, 4, 4))
zero = Constant(value=0.0)
one = Constant(value=1.0)
three = Constant(value=3.0)
six = Constant(value=6.0)
tenth = Constant(value=0.1)
"""

_FORMS = {
    "1 relu": ("y = Arithmetic(x, zero, kind='maximum')", "Relu(x)"),
    "1 number first": ("y = Arithmetic(zero, x, kind='maximum')", "Relu(x)"),
    "1 from below": ("y = Arithmetic(x, one, kind='maximum')", "Hardtanh(x, lo=1.0, hi=inf)"),
    "1 from above": ("y = Arithmetic(x, one, kind='minimum')", "Hardtanh(x, lo=-inf)"),
    "2 tanh": ("y = Unary(x, kind='tanh')", "Activation(x, kind='tanh')"),
    "3 quotient": (
        """
n = Unary(x, kind='neg')
e = Unary(n, kind='exp')
d = Arithmetic(one, e, kind='add')
y = Arithmetic(one, d, kind='div')
""",
        "Sigmoid(x)",
    ),
    "3 reciprocal": (
        """
n = Unary(x, kind='neg')
e = Unary(n, kind='exp')
d = Arithmetic(e, one, kind='add')
y = Unary(d, kind='reciprocal')
""",
        "Sigmoid(x)",
    ),
    "4 hardsigmoid": (
        """
a = Arithmetic(x, three, kind='add')
h = Hardtanh(a, lo=0.0, hi=6.0)
y = Arithmetic(h, six, kind='div')
""",
        "Activation(x, kind='hardsigmoid')",
    ),
    "5 silu": (
        "s = Sigmoid(x)\ny = Arithmetic(x, s, kind='mul')",
        "Activation(x, kind='silu')",
    ),
    "5 hardswish": (
        "s = Activation(x, kind='hardsigmoid')\ny = Arithmetic(s, x, kind='mul')",
        "Activation(x, kind='hardswish')",
    ),
    "6 absolute value": ("y = Unary(x, kind='abs')", "PRelu(x, slope=[-1.0, -1.0])"),
    "6 maximum": (
        "m = Arithmetic(x, tenth, kind='mul')\ny = Arithmetic(x, m, kind='maximum')",
        "PRelu(x, slope=[0.1, 0.1])",
    ),
    "6 where": (
        """
m = Arithmetic(x, tenth, kind='mul')
c = Compare(x, zero, kind='gt')
y = Where(c, x, m)
""",
        "PRelu(x, slope=[0.1, 0.1])",
    ),
    "6 a mask": (
        """
c = Compare(x, zero, kind='gt')
m = ToFloat(c)
y = Arithmetic(m, x, kind='mul')
""",
        "Relu(x)",
    ),
    "6 two relus, a slope per channel": (
        """
k = Constant(value=[[[0.5]], [[0.25]]])
r = Relu(x)
n = Unary(x, kind='neg')
q = Relu(n)
m = Arithmetic(k, q, kind='mul')
y = Arithmetic(r, m, kind='sub')
""",
        "PRelu(x, slope=[0.5, 0.25])",
    ),
}


@pytest.mark.parametrize("name", _FORMS)
def test_forms(apply, name):
    text, wanted = _FORMS[name]
    result = apply(RecognizeActivations(), f"{_HEAD}{text}\no = Output(y)").splitlines()
    assert result[-2:] == [f"y = {wanted}", "o = Output(y)"]


_OTHERS = {
    "two above 0": "y = Arithmetic(x, x, kind='add')",
    "another divisor": """
a = Arithmetic(x, three, kind='add')
h = Hardtanh(a, lo=0.0, hi=6.0)
y = Arithmetic(h, three, kind='div')
""",
    "the gate of another value": """
r = Hardtanh(x)
s = Sigmoid(r)
y = Arithmetic(x, s, kind='mul')
""",
    "two values": "r = Hardtanh(x)\ny = Arithmetic(x, r, kind='maximum')",
}


@pytest.mark.parametrize("name", _OTHERS)
def test_others_stay(apply, name):
    result = apply(RecognizeActivations(), f"{_HEAD}{_OTHERS[name]}\no = Output(y)")
    assert _OTHERS[name].strip().splitlines()[-1] in result
