from r2b.ir.passes.recognize_add import RecognizeAdd


def test_a_skip(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
r = Relu(x)
y = Arithmetic(x, r, kind='add')
o = Output(y)
"""
    assert "y = Add(x, r)" in apply(RecognizeAdd(), text)


def test_a_sum_that_broadcasts_stays(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
r = GlobalAvgPool(x)
y = Arithmetic(x, r, kind='add')
o = Output(y)
"""
    assert "y = Arithmetic(x, r, kind='add')" in apply(RecognizeAdd(), text)


def test_2_a_difference(apply):
    text = """
x = Input(shape=(1, 2, 4, 4))
r = Relu(x)
y = Arithmetic(x, r, kind='sub')
o = Output(y)
"""
    assert apply(RecognizeAdd(), text).splitlines()[2:4] == [
        "y_minus = BatchNorm(r, gamma=[-1.0, -1.0], beta=[0.0, 0.0], mean=[0.0, 0.0], "
        "var=[1.0, 1.0], eps=0.0)",
        "y = Add(x, y_minus)",
    ]
