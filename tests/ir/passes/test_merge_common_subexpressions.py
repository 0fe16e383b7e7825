from r2b.ir.passes.merge_common_subexpressions import MergeCommonSubexpressions


def test_equal_expressions_become_one(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
a = Hardtanh(x)
b = Hardtanh(x)
c = Hardtanh(x, lo=-2.0)
y = Add(a, b)
z = Add(y, c)
o = Output(z)
"""
    assert apply(MergeCommonSubexpressions(), text) == (
        "x = Input(shape=(1, 2, 4, 4))\n"
        "a = Hardtanh(x)\n"
        "c = Hardtanh(x, lo=-2.0)\n"
        "y = Add(a, a)\n"
        "z = Add(y, c)\n"
        "o = Output(z)"
    )


def test_outputs_stay_apart(apply):
    text = "x = Input(shape=(1, 2, 4, 4))\no = Output(x)\np = Output(x)"
    assert apply(MergeCommonSubexpressions(), text) == text
