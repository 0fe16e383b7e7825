"""Sign, binary convolution, gate and half block, each against its definition in NumPy."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from r2b.train.blocks import BinaryConv2d, Gate, HalfBlock, set_binary_weights, sign


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def numpy_conv3x3(x, weight, stride):
    """Zero-padded 3x3 convolution, one tap at a time."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    taps = (
        np.einsum(
            "nchw,oc->nohw",
            padded[:, :, r : r + height : stride, c : c + width : stride],
            weight[:, :, r, c],
        )
        for r in range(3)
        for c in range(3)
    )
    return sum(taps)


def numpy_gate(u, fc1, fc2):
    hidden = np.maximum(u.mean(axis=(2, 3)) @ fc1.T, 0)
    return 1 / (1 + np.exp(-(hidden @ fc2.T)))


def as_float64(tensor):
    return tensor.detach().numpy().astype(np.float64)


def test_sign_of_zero_is_plus_one():
    x = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 2.0])
    assert sign(x).tolist() == [-1, -1, 1, 1, 1, 1]


def test_sign_gradient_is_straight_through_inside_the_clip():
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    upstream = torch.arange(1.0, 8.0)
    sign(x).backward(upstream)
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_binary_conv_equals_numpy(stride):
    conv = BinaryConv2d(5, 7, stride)
    x = torch.randn(2, 5, 6, 6)
    x[0, 0, 0, 0] = 0.0
    expected = numpy_conv3x3(
        np.where(x.numpy() >= 0, 1, -1), np.where(conv.weight.detach().numpy() >= 0, 1, -1), stride
    )
    np.testing.assert_array_equal(conv(x).detach().numpy(), expected)


def test_binary_conv_padding_contributes_nothing():
    conv = BinaryConv2d(1, 1)
    torch.nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 3, 3))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


def test_set_binary_weights_switches_to_real_weights_and_back():
    block = HalfBlock(8, 8, 1, 8)
    x = torch.randn(1, 8, 4, 4)
    binary = block.conv(x)
    set_binary_weights(block, False)
    real = functional.conv2d(sign(x), block.conv.weight, padding=1)
    assert torch.equal(block.conv(x), real)
    set_binary_weights(block, True)
    assert torch.equal(block.conv(x), binary)


def test_gate_equals_numpy():
    gate = Gate(16, 24, reduction=8)
    u = torch.randn(3, 16, 5, 5) + 0.5
    expected = numpy_gate(as_float64(u), as_float64(gate.fc1.weight), as_float64(gate.fc2.weight))
    found = gate(u)
    assert found.shape == (3, 24, 1, 1)
    np.testing.assert_allclose(found.detach().numpy()[:, :, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("stride", "out_channels"), [(1, 8), (2, 16)])
def test_half_block_equals_numpy(stride, out_channels):
    block = HalfBlock(8, out_channels, stride, 8).eval()
    x = torch.randn(2, 8, 6, 6)
    u = as_float64(x) / np.sqrt(1 + block.norm.eps)
    signs, weight = np.where(u >= 0, 1, -1), np.where(as_float64(block.conv.weight) >= 0, 1, -1)
    scale = numpy_gate(u, as_float64(block.gate.fc1.weight), as_float64(block.gate.fc2.weight))
    y = numpy_conv3x3(signs, weight, stride) * scale[:, :, None, None]
    y = np.where(y >= 0, y, 0.25 * y)
    expected = y + as_float64(block.shortcut(x))
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_strided_shortcut_is_real_valued():
    block = HalfBlock(8, 16, 2, 8).eval()
    x = torch.randn(1, 8, 4, 4)
    pooled = as_float64(x).reshape(1, 8, 2, 2, 2, 2).mean(axis=(3, 5))
    weight = as_float64(block.shortcut.get_parameter("conv.weight"))[:, :, 0, 0]
    expected = np.einsum("nchw,oc->nohw", pooled, weight) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(block.shortcut(x).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
