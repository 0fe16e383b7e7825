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
