"""Binary convolution, its stages, and the scale factors, each against NumPy."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from r2b.train.layers import (
    Alpha,
    BinaryConv2d,
    ChannelScale,
    Gate,
    MagnitudeMap,
    RankOneScale,
    set_binarization,
    set_binary_weights,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def numpy_conv(x, weight, stride):
    """Zero-padded convolution with an odd kernel, one tap at a time."""
    kernel = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    height, width = x.shape[2:]
    taps = (
        np.einsum(
            "nchw,oc->nohw",
            padded[:, :, r : r + height : stride, c : c + width : stride],
            weight[:, :, r, c],
        )
        for r in range(kernel)
        for c in range(kernel)
    )
    return sum(taps)


def numpy_sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def as_float64(tensor):
    return tensor.detach().numpy().astype(np.float64)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_binary_conv_equals_numpy(stride, kernel):
    conv = BinaryConv2d(5, 7, stride, kernel)
    x = torch.randn(2, 5, 6, 6)
    x[0, 0, 0, 0] = 0.0
    expected = numpy_conv(numpy_sign(x.numpy()), numpy_sign(as_float64(conv.weight)), stride)
    np.testing.assert_array_equal(conv(x).detach().numpy(), expected)


def test_binary_conv_padding_contributes_nothing():
    conv = BinaryConv2d(1, 1)
    torch.nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 3, 3))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


STAGES = {
    "real": ("off", False, lambda x: x, lambda w: w),
    "stage 0": ("tanh", False, np.tanh, lambda w: w),
    "stage 1": ("sign", False, numpy_sign, lambda w: w),
    "stage 2": ("sign", True, numpy_sign, numpy_sign),
}


@pytest.mark.parametrize(
    ("activations", "weights", "operand", "kernel"), STAGES.values(), ids=STAGES
)
def test_stages_of_training(activations, weights, operand, kernel):
    conv = BinaryConv2d(5, 7)
    set_binarization(nn.Sequential(conv), activations=activations, weights=weights)
    x = torch.randn(2, 5, 6, 6)
    expected = numpy_conv(operand(as_float64(x)), kernel(as_float64(conv.weight)), 1)
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_new_convolution_is_binary_and_stages_are_no_state():
    conv = BinaryConv2d(2, 2)
    assert (conv.activations, conv.binary_weights) == ("sign", True)
    set_binarization(conv, activations="tanh", weights=False)
    assert list(conv.state_dict()) == ["weight"]


def test_unknown_stage():
    text = "activations must be one of off, tanh, sign, not 'hard'"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        set_binarization(nn.Identity(), activations="hard", weights=True)


def test_set_binary_weights_switches_to_real_weights_and_back():
    conv = BinaryConv2d(8, 8)
    x = torch.randn(1, 8, 4, 4)
    binary = conv(x)
    set_binary_weights(conv, False)
    real = functional.conv2d(torch.where(x >= 0, 1.0, -1.0), conv.weight, padding=1)
    assert torch.equal(conv(x), real)
    set_binary_weights(conv, True)
    assert torch.equal(conv(x), binary)


def test_both_operands_get_the_gradient_of_their_own_estimator():
    conv = BinaryConv2d(1, 1, kernel_size=1, gradient="polynomial", weight_gradient="clipped")
    with torch.no_grad():
        conv.weight.fill_(-0.5)
    x = torch.tensor([0.25, -1.5]).reshape(1, 1, 1, 2).requires_grad_()
    conv(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [-1.5, 0]  # sign(w) * (2 - 2 * 0.25), and outside
    assert conv.weight.grad is not None
    assert conv.weight.grad.item() == 0  # signs of x: 1 - 1
    conv.weight.grad = None
    conv(x.detach().abs()).sum().backward()
    assert conv.weight.grad.item() == 2


def test_alpha_is_the_mean_magnitude_and_1_for_real_weights():
    conv = BinaryConv2d(5, 7)
    u = torch.randn(1, 5, 4, 4)
    expected = np.abs(as_float64(conv.weight)).mean(axis=(1, 2, 3))
    found = Alpha()(u, conv)
    assert found.shape == (1, 7, 1, 1)
    np.testing.assert_allclose(as_float64(found)[0, :, 0, 0], expected, rtol=1e-6)
    set_binary_weights(conv, False)
    assert Alpha()(u, conv).tolist() == torch.ones(1, 7, 1, 1).tolist()


def test_alpha_times_signs_is_the_nearest_to_the_weights():
    conv = BinaryConv2d(5, 7)
    alpha, weight = as_float64(Alpha()(torch.zeros(1), conv)).reshape(7), as_float64(conv.weight)

    def distance(factors):
        return ((weight - factors[:, None, None, None] * numpy_sign(weight)) ** 2).sum()

    assert all(distance(alpha) < distance(alpha * factor) for factor in (0.99, 1.01))


@pytest.mark.parametrize("stride", [1, 2])
def test_magnitude_map_equals_numpy(stride):
    conv = BinaryConv2d(5, 7, stride)
    u = torch.randn(2, 5, 6, 6)
    box = np.full((1, 1, 3, 3), 1 / 9)
    expected = numpy_conv(np.abs(as_float64(u)).mean(axis=1, keepdims=True), box, stride)
    found = MagnitudeMap()(u, conv)
    assert found.shape[2:] == conv(u).shape[2:]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    set_binarization(conv, activations="tanh", weights=True)
    assert MagnitudeMap()(u, conv).flatten().tolist() == [1]


def test_learned_scales_begin_as_1_and_broadcast():
    u, conv = torch.zeros(1), BinaryConv2d(2, 3)
    channel, rank_one = ChannelScale(3), RankOneScale(3, (4, 5))
    assert torch.equal(channel(u, conv), torch.ones(1, 3, 1, 1))
    assert torch.equal(rank_one(u, conv), torch.ones(1, 3, 4, 5))
    for vector in rank_one.parameters():
        torch.nn.init.normal_(vector)
    parts = [as_float64(part) for part in (rank_one.channel, rank_one.row, rank_one.column)]
    expected = np.einsum("o,h,w->ohw", *parts)
    np.testing.assert_allclose(as_float64(rank_one(u, conv))[0], expected, rtol=1e-5)


def test_gate_equals_numpy():
    gate = Gate(16, 24, reduction=8)
    u = torch.randn(3, 16, 5, 5) + 0.5
    fc1, fc2 = as_float64(gate.fc1.weight), as_float64(gate.fc2.weight)
    hidden = np.maximum(as_float64(u).mean(axis=(2, 3)) @ fc1.T, 0)
    expected = 1 / (1 + np.exp(-(hidden @ fc2.T)))
    found = gate(u)
    assert found.shape == (3, 24, 1, 1)
    np.testing.assert_allclose(as_float64(found)[:, :, 0, 0], expected, rtol=1e-5)
    assert [tuple(p.shape) for p in gate.parameters()] == [(2, 16), (24, 2)]
