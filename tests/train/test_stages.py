"""Losses, features and stages together: each stage of section 4.2 lowers its own loss."""

import copy

import pytest
import torch
from torch.optim import Adam

from r2b.train.layers import set_binarization
from r2b.train.losses import attention_loss, label_loss, logit_loss
from r2b.train.zoo import build

CONFIG = {"widths": [16, 32], "num_classes": 4, "blocks": [1, 1]}
REAL = {"order": "post", "skips": "block", "activation": "relu", "scale": "none"}
REAL |= {"convolution": "real", "shortcut": "strided"}


def problem():
    """Four classes of noisy stripes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 4
    phase = torch.arange(16) * (labels[:, None] + 1) * 0.4
    stripes = torch.sin(phase)[:, None, None, :].expand(-1, 1, 16, 16)
    return stripes + 0.3 * torch.randn(32, 1, 16, 16, generator=generator), labels


def losses_of(model, teacher, with_attention, steps=25):
    images, labels = problem()
    optimizer = Adam(model.train().parameters(), lr=2e-3)
    history = []
    for _ in range(steps):
        found, wanted = model.forward_features(images), teacher.forward_features(images)
        loss = label_loss(found.logits, labels) + logit_loss(found.logits, wanted.logits)
        if with_attention:
            loss = loss + attention_loss(found.blocks, wanted.blocks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


@pytest.mark.parametrize("scale", ["gate", "channel"])
def test_every_stage_learns_from_the_one_before(scale):
    teacher = build("real-to-binary-digits", CONFIG | REAL, seed=1)
    student = build("real-to-binary-digits", CONFIG | {"scale": scale}, seed=2)
    for activations, weights in (("tanh", False), ("sign", False), ("sign", True)):
        set_binarization(student, activations=activations, weights=weights)
        history = losses_of(student, teacher, with_attention=not weights)
        assert history[-1] < 0.8 * history[0]
        teacher = copy.deepcopy(student)
