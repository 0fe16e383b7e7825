"""Parameters from a seed alone, and batch-norm statistics from frames."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from r2b.train.initialize import initialize, settle_batch_norms
from r2b.train.network import Network
from r2b.train.zoo import build, resolve

NARROW = {"width_multiplier": 0.125, "num_classes": 10}
ARCHS = ["real-to-binary-32", "bnn-32", "strong-baseline-32", "full-precision-32"]


def equal(first, second):
    first, second = first.state_dict(), second.state_dict()
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def frames():
    return torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", ARCHS)
def test_the_seed_alone_decides(arch):
    torch.manual_seed(1)
    first = build(arch, NARROW, seed=3)
    torch.manual_seed(2)
    torch.rand(5)
    assert equal(first, build(arch, NARROW, seed=3))
    assert not equal(first, build(arch, NARROW, seed=4))
    assert equal(build(arch, NARROW), build(arch, NARROW, seed=0))


def test_the_global_generator_is_not_moved():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(ARCHS[0], NARROW)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_numbers_are_those_of_the_constructors(arch):
    torch.manual_seed(7)
    assert equal(Network(resolve(arch, NARROW)), build(arch, NARROW, seed=7))


@pytest.mark.parametrize("scale", ["none", "alpha", "alpha-map", "channel", "rank-one", "gate"])
def test_every_value_is_set(scale):
    model = build("real-to-binary-32", {**NARROW, "scale": scale})
    expected = build("real-to-binary-32", {**NARROW, "scale": scale}, seed=5)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else 99)
    initialize(model, torch.Generator().manual_seed(5))
    assert equal(model, expected)


def test_on_the_meta_device_nothing_is_drawn():
    with torch.device("meta"):
        model = build(ARCHS[0], NARROW)
    assert all(value.is_meta for value in model.state_dict().values())


def test_a_module_without_a_rule_is_refused():
    text = "inner is a GroupNorm, and there is no rule to initialize its weight, bias"
    model = nn.ModuleDict({"inner": nn.GroupNorm(2, 4)})
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        initialize(model, torch.Generator())


@pytest.mark.parametrize(
    ("num_frames", "batch_size", "batches"), [(10, 64, [10]), (9, 4, [3, 3, 3]), (5, 2, [3, 2])]
)
def test_statistics_are_means_over_the_batches(frames, num_frames, batch_size, batches):
    model, frames = build(ARCHS[0], NARROW), frames[:num_frames]
    settle_batch_norms(model, frames, batch_size)
    with torch.no_grad():
        maps = model.get_submodule("stem.conv")(frames)
    parts = [part.double().numpy() for part in maps.split(batches)]
    norm = model.get_submodule("stem.norm")
    mean = np.mean([part.mean(axis=(0, 2, 3)) for part in parts], axis=0)
    variance = np.mean([part.var(axis=(0, 2, 3), ddof=1) for part in parts], axis=0)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4)
    assert norm.num_batches_tracked == len(batches)


def test_statistics_do_not_depend_on_what_was_there_before(frames):
    first, second = build(ARCHS[0], NARROW), build(ARCHS[0], NARROW)
    settle_batch_norms(second, frames * 3 + 1)
    for model in (first, second):
        settle_batch_norms(model, frames, 4)
    assert equal(first, second)


@pytest.mark.parametrize("training", [True, False])
def test_only_statistics_change(frames, training):
    model = build(ARCHS[0], NARROW).train(training)
    settle_batch_norms(model, frames)
    fresh = build(ARCHS[0], NARROW)
    changed = {
        name.rsplit(".", 1)[1]
        for name, value in model.state_dict().items()
        if not torch.equal(value, fresh.state_dict()[name])
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert all(part.training == training for part in model.modules())
    assert all(value.grad is None for value in model.parameters())


def test_settled_networks_keep_their_activations_in_range(frames):
    """Without statistics the binary sums of an untrained network grow from block to block."""
    model = build("bi-real-net-32", NARROW)
    settle_batch_norms(model, frames)
    with torch.no_grad():
        for maps in model.eval().forward_features(frames).blocks:
            assert 0.1 < maps.std() < 10


def test_too_few_frames(frames):
    model = build(ARCHS[0], NARROW)
    text = "batch-norm statistics need 2 frames or more, not 1"
    with pytest.raises(ValueError, match=f"^{text}$"):
        settle_batch_norms(model, frames[:1])
    with pytest.raises(ValueError, match=r"^batch_size must be 2 or more, not 1$"):
        settle_batch_norms(model, frames, 1)
