import numpy as np
import pytest
import torch
from torch.nn import functional

from r2b.ir import ops
from r2b.ir.interpreter import SEMANTICS, evaluate, run
from r2b.ir.text import parse_graph
from r2b.ir.types import TensorType

_FRAMES = np.random.default_rng(0).standard_normal((3, 4, 7, 6))
_SIGNS = np.where(_FRAMES >= 0, 1.0, -1.0)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape)


def _torch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _assert_same(op: ops.Op, operands: list[np.ndarray], expected: torch.Tensor) -> None:
    found = evaluate(op, operands)
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", [*ops.CANONICAL_OPS, *ops.RAW_OPS], ids=lambda op: op.__name__)
def test_every_operation_has_semantics(op):
    assert op in SEMANTICS


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_conv2d(groups, stride, dilation):
    weight, bias = _random(8, 4 // groups, 3, 2), _random(8)
    expected = functional.conv2d(
        _torch(_FRAMES), _torch(weight), _torch(bias), stride, (1, 2), dilation, groups
    )
    geometry = (stride, (1, 2, 1, 2), dilation, groups)
    _assert_same(ops.Conv2d(weight, bias, *geometry), [_FRAMES], expected)
    _assert_same(ops.Convolution(*geometry), [_FRAMES, weight, bias], expected)


def test_conv2d_with_uneven_padding():
    weight = _random(2, 4, 3, 3)
    padded = functional.pad(_torch(_FRAMES), (0, 2, 1, 0))
    expected = functional.conv2d(padded, _torch(weight))
    _assert_same(ops.Conv2d(weight, padding=(1, 0, 0, 2)), [_FRAMES], expected)


def test_binary_conv2d_pads_with_zero():
    weight = np.where(_random(5, 4, 3, 3) >= 0, 1, -1)
    scale = _random(5)
    scaled = weight * scale[:, None, None, None]
    expected = functional.conv2d(_torch(_SIGNS), _torch(scaled), None, 2, 1)
    op = ops.BinaryConv2d(weight, scale, (2, 2), (1, 1, 1, 1))
    _assert_same(op, [_SIGNS], expected)


@pytest.mark.parametrize("bias", [None, _random(5)])
def test_linear(bias):
    weight, vectors = _random(5, 6), _FRAMES.reshape(-1, 6)
    expected = functional.linear(
        _torch(vectors), _torch(weight), None if bias is None else _torch(bias)
    )
    _assert_same(ops.Linear(weight, bias), [vectors], expected)
    operands = [vectors, weight] if bias is None else [vectors, weight, bias]
    _assert_same(ops.Dense(), operands, expected)


def test_batch_norm():
    gamma, beta, mean, var = _random(4), _random(4) + 1, _random(4) - 1, _random(4) ** 2
    expected = functional.batch_norm(
        _torch(_FRAMES), _torch(mean), _torch(var), _torch(gamma), _torch(beta), eps=1e-3
    )
    _assert_same(ops.BatchNorm(gamma, beta, mean, var, 1e-3), [_FRAMES], expected)
    _assert_same(ops.Normalization(1e-3), [_FRAMES, gamma, beta, mean, var], expected)


def test_prelu():
    slope = _random(4)
    expected = functional.prelu(_torch(_FRAMES), _torch(slope))
    _assert_same(ops.PRelu(slope), [_FRAMES], expected)
    one = np.array([0.3])
    _assert_same(
        ops.ParametricRelu(), [_FRAMES, one], functional.prelu(_torch(_FRAMES), _torch(one))
    )


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2)])
@pytest.mark.parametrize("stride", [(2, 2), (1, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1)])
def test_pooling(kernel, stride, padding):
    image, window = _torch(_FRAMES), (kernel, stride, padding * 2)
    expected = functional.max_pool2d(image, kernel, stride, padding)
    _assert_same(ops.MaxPool2d(*window), [_FRAMES], expected)
    for counts in (False, True):
        expected = functional.avg_pool2d(image, kernel, stride, padding, False, counts)
        _assert_same(ops.AvgPool2d(*window, counts), [_FRAMES], expected)


def test_global_pooling():
    expected = functional.adaptive_avg_pool2d(_torch(_FRAMES), 1)
    _assert_same(ops.GlobalAvgPool(), [_FRAMES], expected)
    _assert_same(ops.Mean((2, 3), True), [_FRAMES], expected)
    expected = functional.adaptive_avg_pool2d(_torch(_FRAMES), (1, 3))
    _assert_same(ops.AdaptiveAvgPool2d((1, 3)), [_FRAMES], expected)


def test_gate_and_scale():
    first, second, bias = _random(2, 4), _random(5, 2), _random(5)
    mean = _torch(_FRAMES).mean((2, 3))
    hidden = torch.relu(functional.linear(mean, _torch(first)))
    expected = torch.sigmoid(functional.linear(hidden, _torch(second), _torch(bias)))
    _assert_same(ops.Gate(first, None, second, bias), [_FRAMES], expected[:, :, None, None])
    factor = _random(3, 4, 1, 1)
    _assert_same(ops.Scale(), [_FRAMES, factor], _torch(_FRAMES) * _torch(factor))


@pytest.mark.parametrize(
    ("op", "function"),
    [
        (ops.Relu(), torch.relu),
        (ops.Hardtanh(-0.5, 0.25), lambda x: functional.hardtanh(x, -0.5, 0.25)),
        (ops.Hardtanh(-np.inf, 0.25), lambda x: x.clamp(max=0.25)),
        (ops.Sigmoid(), torch.sigmoid),
        (ops.Sign(0), torch.sign),
        (ops.Flatten(), lambda x: x.flatten(1)),
        (ops.Reshape((1, 4, 42)), lambda x: x.view(3, 4, 42)),
        (ops.Identity(), lambda x: x),
        (ops.ToFloat(), lambda x: x),
        (ops.Output(), lambda x: x),
        (ops.Activation("tanh"), torch.tanh),
        (ops.Activation("hardsigmoid"), functional.hardsigmoid),
        (ops.Activation("hardswish"), functional.hardswish),
        (ops.Activation("silu"), functional.silu),
        (ops.Activation("elu"), functional.elu),
        (ops.Activation("softplus"), functional.softplus),
        (ops.Activation("gelu"), functional.gelu),
        (ops.Softmax(), lambda x: x.softmax(1)),
        (ops.Softmax(log=True), lambda x: x.log_softmax(1)),
        (ops.Pad((1, 0, 2, 3), -1.0), lambda x: functional.pad(x, (0, 3, 1, 2), value=-1.0)),
        (
            ops.Select((3, -1, 0), (1, 0), (2, 3), (3, 2)),
            lambda x: functional.pad(x, (0, 0, 0, 0, 0, 1))[:, [3, 4, 0], 1::2, :6:3],
        ),
        (ops.Unary("neg"), torch.neg),
        (ops.Unary("abs"), torch.abs),
        (ops.Unary("sqrt"), torch.sqrt),
        (ops.Unary("rsqrt"), torch.rsqrt),
        (ops.Unary("reciprocal"), torch.reciprocal),
        (ops.Unary("exp"), torch.exp),
        (ops.Unary("tanh"), torch.tanh),
    ],
    ids=lambda value: repr(value) if isinstance(value, ops.Op) else "",
)
def test_element_wise(op, function):
    frames = np.abs(_FRAMES) if getattr(op, "kind", "") in ("sqrt", "rsqrt") else _FRAMES.copy()
    frames[0, 0, 0, 0] = 1.0 if getattr(op, "kind", "") == "reciprocal" else 0.0
    _assert_same(op, [frames], function(_torch(frames)))


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_binary_conv2d_pads_with_its_value(value):
    weight = np.where(_random(6, 2, 3, 3) >= 0, 1, -1)
    padded = functional.pad(_torch(_SIGNS), (0, 2, 1, 0), value=value)
    expected = functional.conv2d(padded, _torch(weight.astype(float)), groups=2)
    op = ops.BinaryConv2d(weight, np.ones(6), (1, 1), (1, 0, 0, 2), (1, 1), 2, value)
    _assert_same(op, [_SIGNS], expected)


def test_binary_linear():
    weight, scale = np.where(_random(5, 6) >= 0, 1, -1), _random(5)
    rows = _SIGNS[0, :, 0]
    expected = functional.linear(_torch(rows), _torch(weight * scale[:, None]))
    _assert_same(ops.BinaryLinear(weight, scale), [rows], expected)


@pytest.mark.parametrize("shape", [(3, 1, 7, 6), (3, 4, 7, 6), (3, 4, 1, 1), (3, 1, 1, 6)])
def test_scale_broadcasts(shape):
    factor = _random(*shape)
    _assert_same(ops.Scale(), [_FRAMES, factor], _torch(_FRAMES) * _torch(factor))


def test_spatial_scale():
    factor = _random(4, 7, 6)
    _assert_same(ops.SpatialScale(factor), [_FRAMES], _torch(_FRAMES) * _torch(factor))


def test_concat():
    other = _random(3, 2, 7, 6)
    expected = torch.cat([_torch(_FRAMES), _torch(other), _torch(_FRAMES)], 1)
    _assert_same(ops.Concat(), [_FRAMES, other, _FRAMES], expected)


def test_a_gate_with_a_hard_sigmoid():
    first, second = _random(2, 4), _random(5, 2)
    hidden = torch.relu(functional.linear(_torch(_FRAMES).mean((2, 3)), _torch(first)))
    expected = functional.hardsigmoid(functional.linear(hidden, _torch(second)))
    op = ops.Gate(first, None, second, None, "hardsigmoid")
    _assert_same(op, [_FRAMES], expected[:, :, None, None])


def test_the_value_of_an_operation_without_a_word_is_not_known():
    op = ops.Opaque("aten.erf.default", "", TensorType((1, 4)))
    with pytest.raises(ValueError, match="does not know the value of aten"):
        evaluate(op, [_FRAMES])


def test_sigmoid_does_not_overflow():
    found = evaluate(ops.Sigmoid(), [np.array([-1e4, 1e4])])
    assert found.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("zero", [-1, 0, 1])
def test_sign_of_zero(zero):
    found = evaluate(ops.Sign(zero), [np.array([-2.0, 0.0, -0.0, 3.0])])
    assert found.tolist() == [-1, zero, zero, 1]


@pytest.mark.parametrize(
    "kind", ["add", "sub", "mul", "div", "maximum", "minimum", "ge", "gt", "le", "lt", "eq", "ne"]
)
def test_two_operands(kind):
    left, right = _FRAMES, np.round(_random(4, 1, 6)) + 0.5
    op = ops.Compare(kind) if kind in ("ge", "gt", "le", "lt", "eq", "ne") else ops.Arithmetic(kind)
    function = getattr(torch, kind)
    assert np.array_equal(evaluate(op, [left, right]), function(_torch(left), _torch(right)))


def test_where_pow_expand_constant():
    truth = _FRAMES > 0
    found = evaluate(ops.Where(), [truth, np.array(2.0), np.array(-1.0)])
    assert np.array_equal(found, np.where(truth, 2.0, -1.0))
    assert evaluate(ops.Arithmetic("pow"), [np.array(3.0), np.array(2.0)]) == 9
    assert evaluate(ops.Expand((1, 4, 2, 2)), [_random(3, 4, 1, 1)]).shape == (3, 4, 2, 2)
    assert evaluate(ops.Constant(np.array(2.0)), []) == 2


def test_run_gives_every_value_in_the_wanted_precision():
    graph = parse_graph("x = Input(shape=(1, 4, 7, 6))\ny = Add(x, x)\no = Output(y)")
    values = run(graph, _FRAMES, np.float32)
    assert list(values) == ["x", "y", "o"]
    assert all(value.dtype == np.float32 for value in values.values())
    np.testing.assert_array_equal(run(graph, _FRAMES)["o"], 2 * _FRAMES)


def test_run_is_the_same_for_one_frame_and_for_many():
    graph = parse_graph(
        """
x = Input(shape=(1, 4, 7, 6))
s = Sign(x)
c = BinaryConv2d(s, weight=signs((6, 4, 3, 3)), scale=[1.0, 2.0, 3.0, 0.5, 1.5, 1.0])
v = Reshape(c, shape=(1, 120))
o = Output(v)
"""
    )
    together = run(graph, _FRAMES)["o"]
    alone = [run(graph, frame[None])["o"][0] for frame in _FRAMES]
    np.testing.assert_array_equal(together, alone)


def test_frames_of_another_shape_are_refused():
    graph = parse_graph("x = Input(shape=(1, 4, 7, 6))\no = Output(x)")
    message = r"^the frames must be N x \(4, 7, 6\), not \(3, 4, 6, 7\)$"
    with pytest.raises(ValueError, match=message):
        run(graph, _FRAMES.swapaxes(2, 3))
