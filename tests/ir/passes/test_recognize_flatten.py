from r2b.ir.passes.recognize_flatten import RecognizeFlatten


def test_a_view_as_vectors(apply):
    text = "x = Input(shape=(1, 2, 4, 4))\ny = Reshape(x, shape=(1, 32))\no = Output(y)"
    assert apply(RecognizeFlatten(), text) == (
        "x = Input(shape=(1, 2, 4, 4))\ny = Flatten(x)\no = Output(y)"
    )


def test_other_views_stay(apply):
    text = "x = Input(shape=(1, 2, 4, 4))\ny = Reshape(x, shape=(1, 2, 16))\no = Output(y)"
    assert "y = Reshape(x, shape=(1, 2, 16))" in apply(RecognizeFlatten(), text)
