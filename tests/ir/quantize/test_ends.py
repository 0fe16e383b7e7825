"""Networks of vectors, the ends that a network can have, and signs of zero."""

import networks
import numpy as np
import pytest
from checks import check

from r2b.ir import interpreter, ops
from r2b.ir.errors import CalibrationError, UnsupportedOpError
from r2b.ir.program import Flatten
from r2b.ir.quantize import Preprocessing, quantize
from r2b.ir.text import parse_graph

SHAPE = (2, 8, 8)


def stem(seed=0, width=6):
    b = networks.Builder(SHAPE, seed)
    b.stem(width)
    return b


def contractions(net):
    return [type(stage.contraction) for stage in net.stages]


# ------------------------------------------------------------------------------------------ vectors


def vector_net(seed=0, inputs=12):
    rng = np.random.default_rng(seed)
    return networks.Builder((inputs,), seed), rng


def test_a_binary_perceptron(tmp_path):
    b, rng = vector_net()
    x = "x"
    for index, width in enumerate((16, 10, 4)):
        normal = b.norm(x, f"n{index}")
        sign = b.put(ops.Sign(), normal, path=f"s{index}")
        weight = rng.choice([-1, 1], (width, b.channels(sign)))
        x = b.put(ops.BinaryLinear(weight, np.full(width, 0.1)), sign, path=f"fc{index}")
    b.put(ops.Output(), b.norm(x, "last"))
    net, report, _ = check(b.graph, tmp_path, equal=1)
    assert net.input_shape == (12, 1, 1) and net.num_classes == 4
    assert all(stage.equal_signs in (None, 1) for stage in report.stages)


def test_frames_of_vectors_may_have_two_dimensions_or_four():
    b, rng = vector_net()
    b.put(ops.Output(), b.put(ops.Linear(rng.normal(size=(3, 12))), "x", path="fc"))
    flat = networks.frames((12,), 5)
    first, _ = quantize(b.graph, flat)
    second, _ = quantize(b.graph, flat[:, :, None, None])
    assert (first.head.weight == second.head.weight).all()
    with pytest.raises(CalibrationError, match=r"N x 12 x 1 x 1, N >= 1, not 5 x 11 x 1 x 1"):
        quantize(b.graph, flat[:, :11])


def test_real_layers_of_vectors(tmp_path):
    b, rng = vector_net()
    x = "x"
    for index in range(2):
        x = b.put(ops.Linear(rng.normal(size=(8, b.channels(x))) / 3), x, path=f"fc{index}")
        x = b.put(ops.Relu(), b.norm(x, f"n{index}"), path=f"r{index}")
    b.put(ops.Output(), b.put(ops.Linear(rng.normal(size=(3, 8))), x, path="fc"))
    check(b.graph, tmp_path)


def test_a_layer_behind_flatten_is_a_convolution_over_the_image(tmp_path):
    b = stem()
    flat = b.put(ops.Flatten(), b.norm(b.last), path="flat")
    sign = b.put(ops.Sign(), flat, path="sign")
    weight = b.rng.choice([-1, 1], (5, b.channels(sign)))
    x = b.put(ops.BinaryLinear(weight, np.full(5, 0.1)), sign, path="fc")
    b.put(ops.Output(), b.norm(x, "n"))
    net, _, _ = check(b.graph, tmp_path)
    assert Flatten not in contractions(net)
    assert net.stages[1].contraction.weight.shape == (5, 6, 4, 4)


def test_a_flatten_that_is_normalised_as_a_vector_is_a_stage(tmp_path):
    b = stem()
    flat = b.put(ops.Flatten(), b.last, path="flat")
    x = b.put(ops.Linear(b.rng.normal(size=(5, 96)) / 9), b.norm(flat), path="fc")
    b.put(ops.Output(), x)
    assert Flatten in contractions(check(b.graph, tmp_path)[0])


# --------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize("softmax", [None, False, True])
@pytest.mark.parametrize("form", ["flatten", "means of maps", "norm", "vector", "map"])
def test_every_end_gives_the_class_and_the_logits(form, softmax, tmp_path):
    b = stem()
    x = b.last
    if form == "flatten":
        x = b.put(ops.Linear(b.rng.normal(size=(5, 96))), b.put(ops.Flatten(), x), path="fc")
    elif form == "means of maps":
        x = b.put(ops.GlobalAvgPool(), b.conv(x, 5, path="c"), path="mean")
    elif form == "norm":
        x = b.put(ops.Flatten(), b.put(ops.GlobalAvgPool(), x), path="flat")
        x = b.norm(b.put(ops.Linear(b.rng.normal(size=(5, 6))), x, path="fc"))
    elif form == "vector":
        x = b.put(ops.Flatten(), b.conv(x, 5, 4, path="c"), path="flat")
    else:
        x = b.conv(x, 5, 4, path="c")
    scores = x
    if softmax is not None:
        x = b.put(ops.Softmax(softmax), x, path="soft")
    b.put(ops.Output(), x)
    net, _, trace = check(b.graph, tmp_path)
    assert net.num_classes == 5
    frames = networks.frames(SHAPE, 6)
    wanted = interpreter.run(b.graph, Preprocessing().apply(frames))[scores].reshape(6, 5)
    found = trace.logits * net.logit_scale
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_an_end_that_is_no_vector_is_refused():
    b = stem()
    b.put(ops.Output(), b.last)
    text = r"Output: a network must end in class scores N x C, not N x 6 x 4 x 4; put Adaptive"
    with pytest.raises(UnsupportedOpError, match=text):
        quantize(b.graph, networks.frames(SHAPE))


def test_what_is_impossible_is_listed_at_once():
    graph = parse_graph("""
x = Input(shape=(1, 2, 4, 4))
inner = Softmax(x)
c = Conv2d(inner, weight=normal((3, 2, 4, 4)))
y = Relu(c)
output = Output(y)
second = Output(c)
""")
    with pytest.raises(UnsupportedOpError) as error:
        quantize(graph, networks.frames((2, 4, 4)))
    lines = str(error.value).splitlines()
    assert lines[0] == "2 operations of the network cannot be turned into integer stages:"
    assert "Softmax: a softmax is supported at the end only; leave it out" in str(error.value)
    assert "Output: a network must have one output, its class scores" in str(error.value)


# ------------------------------------------------------------------------------------- sign of zero


def zeros_net(*kinds):
    """Signs of torch.sign's kind behind several operations."""
    b = networks.Builder(SHAPE)
    x = b.stem(4)
    for index, kind in enumerate(kinds):
        value = b.norm(b.conv(x, 4, 1, path=f"c{index}"), f"n{index}")
        if kind == "relu":
            value = b.put(ops.Relu(), value, path=f"r{index}")
        elif kind == "pool":
            value = b.put(ops.MaxPool2d((2, 2), (1, 1)), b.put(ops.Relu(), value))
        elif kind == "sum":
            other = b.put(ops.Sign(), b.conv(x, 4, 1, path=f"d{index}"), path=f"t{index}")
            value = b.put(ops.Add(), b.put(ops.Sign(), value, path=f"s{index}"), other)
        x = b.norm(b.binary(value, 4, 1, path=f"z{index}", zero=0), f"m{index}")
    return b.head(x)


def test_all_signs_that_can_meet_a_zero_are_listed_with_their_counts():
    with pytest.raises(UnsupportedOpError) as error:
        quantize(zeros_net("relu", "real", "pool", "sum"), networks.frames(SHAPE, 3))
    head, *lines, last = str(error.value).splitlines()
    assert head.startswith("the source's sign gives 0 for 0, and an exact 0 can occur in 3 layers")
    assert [line.split()[0] for line in lines] == ["z0", "z2", "z3"]
    assert all("values of the 3 calibration frames were 0" in line for line in lines)
    assert last.startswith("say with --sign-zero +1 or --sign-zero -1")


def test_a_sign_of_real_values_needs_no_decision():
    quantize(zeros_net("real", "real"), networks.frames(SHAPE, 3))


@pytest.mark.parametrize("zero", [-1, 1])
def test_the_decision_is_followed_exactly(zero, tmp_path):
    graph = zeros_net("sum", "relu")
    net, report, trace = check(graph, tmp_path, sign_zero=zero, equal=0.97)
    nodes = {node: name for name, node in report.origins.signs.items()}
    s, t, z = (2 * trace.signs[nodes[name]].astype(int) - 1 for name in ("s0", "t0", "z0"))
    assert (z == np.where(s + t == 0, zero, np.sign(s + t))).all() and (s + t == 0).any()
    assert net.num_classes == 5
