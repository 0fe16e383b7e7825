from r2b.ir.passes.recognize_gates import RecognizeGates

_HEAD = "x = Input(shape=(1, 4, 3, 3))\n"
_LINEAR = """
p = GlobalAvgPool(x)
f = Flatten(p)
a = Linear(f, weight=[[1.0, 0.0, 2.0, -1.0], [0.5, 1.0, 0.0, 1.0]], bias=[1.0, 0.5])
r = Relu(a)
b = Linear(r, weight=normal((4, 2), seed=1))
s = Sigmoid(b)
"""
_GATE = "Gate(x, fc1=[[1.0, 0.0, 2.0, -1.0], [0.5, 1.0, 0.0, 1.0]], fc1_bias=[1.0, 0.5], fc2=[["
_FC1 = "[[[[1.0]], [[0.0]], [[2.0]], [[-1.0]]], [[[0.5]], [[1.0]], [[0.0]], [[1.0]]]]"


def test_1_linear_layers(apply):
    text = f"{_HEAD}{_LINEAR}v = Reshape(s, shape=(1, 4, 1, 1))\no = Output(v)"
    result = apply(RecognizeGates(), text).splitlines()
    assert len(result) == 3
    assert result[1].startswith(f"gate = {_GATE}")
    assert result[2] == "o = Output(gate)"


def test_1_a_flat_result_that_is_used_as_such(apply):
    result = apply(RecognizeGates(), f"{_HEAD}{_LINEAR}o = Output(s)").splitlines()
    assert result[2:] == ["s = Flatten(gate)", "o = Output(s)"]


def test_2_convolutions(apply):
    text = f"""{_HEAD}
p = GlobalAvgPool(x)
a = Conv2d(p, weight={_FC1}, bias=[1.0, 0.5])
r = Relu(a)
b = Conv2d(r, weight=normal((4, 2, 1, 1), seed=1))
s = Sigmoid(b)
o = Output(s)
"""
    result = apply(RecognizeGates(), text).splitlines()
    assert result[1].startswith(f"s = {_GATE}")
    assert len(result) == 3


def test_without_the_mean_it_is_no_gate(apply):
    text = f"""{_HEAD}
p = MaxPool2d(x, kernel=(3, 3), stride=(1, 1))
a = Conv2d(p, weight=normal((2, 4, 1, 1)))
r = Relu(a)
b = Conv2d(r, weight=normal((4, 2, 1, 1)))
s = Sigmoid(b)
o = Output(s)
"""
    assert "s = Sigmoid(b)" in apply(RecognizeGates(), text)


def test_another_activation_is_no_gate(apply):
    text = f"{_HEAD}{_LINEAR}o = Output(s)".replace("Relu(a)", "Hardtanh(a)")
    assert "s = Sigmoid(b)" in apply(RecognizeGates(), text)


def test_a_hard_sigmoid(apply):
    text = f"{_HEAD}{_LINEAR}o = Output(s)".replace(
        "Sigmoid(b)", "Activation(b, kind='hardsigmoid')"
    )
    result = apply(RecognizeGates(), text).splitlines()
    assert result[1].startswith(f"gate = {_GATE}")
    assert result[1].endswith("function='hardsigmoid')")


def test_3_batch_norm_behind_the_layers(apply):
    norm = "gamma=[2.0, -1.0], beta=[1.0, 0.5], mean=[0.0, 0.0], var=[1.0, 1.0], eps=0.0"
    text = f"{_HEAD}{_LINEAR}o = Output(s)".replace(
        "r = Relu(a)", f"n = BatchNorm(a, {norm})\nr = Relu(n)"
    )
    result = apply(RecognizeGates(), text).splitlines()
    assert result[1].startswith(
        "gate = Gate(x, fc1=[[2.0, 0.0, 4.0, -2.0], [-0.5, -1.0, -0.0, -1.0]], fc1_bias=[3.0, 0.0]"
    )
