"""The residual block in every form that a named configuration uses, against NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from r2b.train.blocks import Place, Residual
from r2b.train.zoo import CONFIGURATIONS, REAL_TO_BINARY, STRONG_BASELINE, XNOR_NET

FORMS = {
    **{name: options for name, options in CONFIGURATIONS.items() if not name.endswith("34")},
    "rank-one": replace(STRONG_BASELINE, scale="rank-one"),
    "alpha-map": replace(XNOR_NET, scale="alpha-map"),
    "gate, binary downsample": replace(REAL_TO_BINARY, downsample="binary"),
    "gate, post": replace(REAL_TO_BINARY, order="post"),
    "gate, single skip": replace(REAL_TO_BINARY, skips="block"),
}
# more than one hidden unit in the gates of these narrow blocks
FORMS = {name: replace(options, reduction=2) for name, options in FORMS.items()}
PLACES = {"first": Place(8, 16, 2, (3, 4)), "other": Place(8, 8, 1, (6, 8))}


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def convolve(x, weight, stride):
    """Zero-padded, by the definition: one output pixel at a time."""
    kernel = weight.shape[-1]
    half = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
    size = [-(-extent // stride) for extent in x.shape[2:]]
    y = np.zeros((len(x), len(weight), *size))
    for row, column in np.ndindex(*size):
        top, left = row * stride, column * stride
        window = padded[:, :, top : top + kernel, left : left + kernel]
        y[:, :, row, column] = np.tensordot(window, weight, axes=([1, 2, 3], [1, 2, 3]))
    return y


class Reference:
    """One residual in NumPy, written from the table of Table 1 and its options."""

    def __init__(self, options, place, state):
        self.options, self.place, self.state = options, place, state

    def norm(self, x, name):
        mean, var, gamma, beta = (
            self.state[f"{name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta

    def activation(self, x, suffix):
        match self.options.activation:
            case "relu":
                return np.maximum(x, 0)
            case "hardtanh":
                return np.clip(x, -1, 1)
            case "prelu":
                slope = self.state[f"activation{suffix}.weight"][:, None, None]
                return np.where(x >= 0, x, slope * x)
        return x

    def factor(self, u, suffix, stride):
        state, scale = self.state, f"scale{suffix}"
        weight = state[f"conv{suffix}.weight"]
        alpha = np.abs(weight).mean(axis=(1, 2, 3))[:, None, None]
        match self.options.scale:
            case "alpha":
                return alpha
            case "alpha-map":
                box = np.full((1, 1, 3, 3), 1 / 9)
                return alpha * convolve(np.abs(u).mean(axis=1, keepdims=True), box, stride)
            case "channel":
                return state[f"{scale}.weight"][:, None, None]
            case "rank-one":
                parts = [state[f"{scale}.{key}"] for key in ("channel", "row", "column")]
                return np.einsum("o,h,w->ohw", *parts)
            case "gate":
                fc1, fc2 = (state[f"gate{suffix}.fc{i}.weight"] for i in (1, 2))
                hidden = np.maximum(u.mean(axis=(2, 3)) @ fc1.T, 0)
                return 1 / (1 + np.exp(-hidden @ fc2.T))[:, :, None, None]
        return 1.0

    def conv(self, u, suffix, stride):
        weight = self.state[f"conv{suffix}.weight"]
        if self.options.convolution == "binary":
            y = convolve(sign(u), sign(weight), stride)
        else:
            y = convolve(u, weight, stride)
        return y * self.factor(u, suffix, stride)

    def shortcut(self, x):
        if self.place.stride == 1:
            return x
        stride, weight = 2, self.state["shortcut.conv.weight"]
        if self.options.shortcut == "pooled":
            n, c, h, w = x.shape
            x, stride = x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5)), 1
        if self.options.downsample == "binary":
            x, weight = sign(x), sign(weight)
        return self.norm(convolve(x, weight, stride), "shortcut.norm")

    def __call__(self, x):
        suffixes = [""] if self.options.skips == "conv" else ["1", "2"]
        y, stride = x, self.place.stride
        if self.options.order == "pre":
            for suffix in suffixes:
                y = self.conv(self.norm(y, f"norm{suffix}"), suffix, stride)
                y, stride = self.activation(y, suffix), 1
            return y + self.shortcut(x)
        for suffix in suffixes:
            y, stride = self.norm(self.conv(y, suffix, stride), f"norm{suffix}"), 1
            if suffix == suffixes[-1]:
                y = y + self.shortcut(x)
            y = self.activation(y, suffix)
        return y


def shaken(module):
    """Give every parameter and statistic a value of its own."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.is_floating_point():
                value.normal_(generator=generator)
    return module.double().eval()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_residual_equals_numpy(options, place):
    block = shaken(Residual(options, place))
    state = {name: value.numpy() for name, value in block.state_dict().items()}
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(2, 8, 6, 8, generator=generator, dtype=torch.float64)
    found = block(x).detach().numpy()
    assert found.shape == (2, place.out_channels, *place.size)
    np.testing.assert_allclose(found, Reference(options, place, state)(x.numpy()), rtol=1e-9)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_every_parameter_gets_a_gradient(options):
    block = shaken(Residual(options, PLACES["first"])).train()
    x = torch.randn(2, 8, 6, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    x.requires_grad_()
    block(x).square().sum().backward()
    missing = [
        name
        for name, value in block.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert not missing
    assert x.grad is not None
    assert x.grad.any()


def test_the_gate_reads_the_output_of_the_batch_norm():
    block = Residual(REAL_TO_BINARY, PLACES["other"]).eval()
    seen = {}
    block.get_submodule("norm").register_forward_hook(lambda m, i, o: seen.update(norm=o))
    block.get_submodule("gate").register_forward_hook(lambda m, i, o: seen.update(gate=i[0]))
    block.get_submodule("conv").register_forward_hook(lambda m, i, o: seen.update(conv=i[0]))
    block(torch.randn(1, 8, 6, 8))
    assert seen["gate"] is seen["norm"]
    assert seen["conv"] is seen["norm"]


def test_names_of_the_layers():
    def names(options):
        return [name for name, _ in Residual(options, PLACES["first"]).named_children()]

    assert names(REAL_TO_BINARY) == ["norm", "conv", "gate", "activation", "shortcut"]
    assert names(XNOR_NET) == [
        *("norm1", "conv1", "scale1", "activation1"),
        *("norm2", "conv2", "scale2", "activation2"),
        "shortcut",
    ]
    assert isinstance(Residual(REAL_TO_BINARY, PLACES["other"]).shortcut, nn.Identity)
