"""From real to binary weights: nothing changes but what the signs change."""

from __future__ import annotations

import copy

import pytest
import torch

from r2b.train import zoo
from r2b.train.blocks import Residual
from r2b.train.layers import BinaryConv2d, set_binarization
from r2b.train.magnitudes import keep_magnitudes
from r2b.train.randomness import generator

SMALL = {"input_shape": [1, 16, 16], "num_classes": 5, "widths": [8, 16], "blocks": [1, 1]}
PRE = {"stem": "3x3", "order": "pre", "reduction": 4}
CASES = {
    "gate": {**PRE, "scale": "gate"},
    "gate, binary shortcuts": {**PRE, "scale": "gate", "downsample": "binary"},
    "no scale, skips over two": {**PRE, "scale": "none", "skips": "block"},
    "channel": {**PRE, "scale": "channel"},
    "channel, binary shortcuts": {**PRE, "scale": "channel", "downsample": "binary"},
    "rank-one": {**PRE, "scale": "rank-one"},
    "post": {**PRE, "scale": "none", "order": "post"},
    "post, channel": {**PRE, "scale": "channel", "order": "post"},
    "post, skips over two": {**PRE, "scale": "none", "order": "post", "skips": "block"},
    "alpha": {**PRE, "scale": "alpha"},
    "alpha, binary shortcuts": {**PRE, "scale": "alpha", "downsample": "binary"},
}


def network(options: dict, *, one_alpha: bool):
    """Real weights that are +-alpha, one alpha per output channel of each layer.

    With ``one_alpha`` the last convolutions of a group's residuals have the same. Everything else
    is random, the batch norms' statistics too.
    """
    source = generator(7, "magnitudes")
    found = zoo.build("real-to-binary-32", {**SMALL, **options}, seed=1)
    with torch.no_grad():
        for value in [*found.parameters(), *found.buffers()]:
            if value.is_floating_point() and value.ndim == 1:
                value.copy_(0.5 + torch.rand(value.shape, generator=source))
        for group in found.body.children():
            shared = None
            for residual in group.children():
                assert isinstance(residual, Residual)
                for conv in residual.convolutions():
                    alpha = torch.rand(len(conv.weight), generator=source)
                    if one_alpha and conv is residual.convolutions()[-1]:
                        shared = alpha = alpha if shared is None else shared
                    conv.weight.copy_(conv.weight.sign() * (0.02 + alpha)[:, None, None, None])
        for module in found.modules():
            if isinstance(module, BinaryConv2d) and module.kernel_size == 1:
                drawn = torch.rand(len(module.weight), generator=source)
                module.weight.copy_(module.weight.sign() * (0.02 + drawn)[:, None, None, None])
    return found.eval()


def logits(net, *, binary: bool) -> torch.Tensor:
    set_binarization(net, activations="sign", weights=binary)
    frames = torch.rand((8, 1, 16, 16), generator=generator(8, "frames"))
    with torch.no_grad():
        return net(frames)


@pytest.mark.parametrize("name", CASES)
def test_signs_do_what_the_weights_did(name):
    # only what the skips add up needs one alpha for a whole group
    options = CASES[name]
    in_skips = options["order"] == "pre" and options["scale"] in ("gate", "none")
    real = network(options, one_alpha=in_skips)
    expected = logits(real, binary=False)
    binary = copy.deepcopy(real)
    keep_magnitudes(binary)
    torch.testing.assert_close(logits(binary, binary=True), expected, rtol=1e-3, atol=1e-3)
    if name != "alpha":
        without = logits(copy.deepcopy(real), binary=True)
        assert (without - expected).abs().max() > 0.1


def test_different_alphas_in_a_group_are_met_in_the_middle():
    real = network(CASES["gate"], one_alpha=False)
    expected = logits(real, binary=False)
    kept = copy.deepcopy(real)
    keep_magnitudes(kept)
    near, far = (
        (logits(net, binary=True) - expected).abs().mean() for net in (kept, copy.deepcopy(real))
    )
    assert near < 0.75 * far


def test_hardtanh_networks_stay_as_they_are():
    real = network({**PRE, "scale": "none", "activation": "hardtanh"}, one_alpha=True)
    kept = copy.deepcopy(real)
    keep_magnitudes(kept)
    assert all(map(torch.equal, real.state_dict().values(), kept.state_dict().values()))


def silence(net, channel: int) -> None:
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BinaryConv2d):
                module.weight[channel] *= 1e-9


def test_a_learned_factor_keeps_a_silent_channel_silent():
    real = network(CASES["channel"], one_alpha=False)
    silence(real, 0)
    expected = logits(real, binary=False)
    keep_magnitudes(real)
    torch.testing.assert_close(logits(real, binary=True), expected, rtol=1e-3, atol=1e-3)


def test_a_silent_channel_moves_no_other_ones_scale():
    """The scale of a channel is the mean over the convolutions that have a size there."""
    real = network(CASES["gate"], one_alpha=True)
    silenced = copy.deepcopy(real)
    first = next(part for part in silenced.modules() if isinstance(part, Residual))
    silence(first, 0)
    keep_magnitudes(real)
    keep_magnitudes(silenced)
    for name, value in silenced.named_parameters():
        if not name.startswith("body.group1.0.conv"):
            assert torch.equal(value, real.get_parameter(name))


def test_weights_of_0_divide_nothing_by_0():
    real = network(CASES["gate, binary shortcuts"], one_alpha=True)
    with torch.no_grad():
        for module in real.modules():
            if isinstance(module, BinaryConv2d):
                module.weight[0] = 0
    keep_magnitudes(real)
    assert all(torch.isfinite(value).all() for value in real.state_dict().values())
