"""The training loop: shifts, phases, and the same result from the same seed."""

import numpy as np
import torch

from r2b.train import loop, zoo
from r2b.train.layers import BinaryConv2d

CONFIG = {"widths": [8, 16], "num_classes": 2}


def small_problem():
    """Bright or dark frames: learnable in a few steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    return torch.rand(64, 1, 16, 16, generator=generator) * 0.2 + labels[
        :, None, None, None
    ], labels


def trained(seed, epochs=2):
    model = zoo.build("real-to-binary-digits", CONFIG, seed=seed)
    images, labels = small_problem()
    log = []
    loop.fit(model, images, labels, loop.paper_phases(epochs), seed=seed, on_epoch=log.append)
    return model, log


def test_shift_moves_by_at_most_the_distance_and_keeps_every_pixel():
    images = torch.zeros(200, 1, 16, 16)
    images[:, 0, 8, 8] = 1
    moved = loop.shift(images, 2, torch.Generator().manual_seed(0))
    _, _, rows, columns = torch.nonzero(moved, as_tuple=True)
    assert sorted(set((rows - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((columns - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert len(rows) == 200


def test_shift_by_nothing_is_the_identity():
    images, _ = small_problem()
    assert torch.equal(loop.shift(images, 0, torch.Generator()), images)


def test_to_input_scales_to_one():
    frames = np.array([[[[0, 51, 255]]]], np.uint8)
    assert loop.to_input(frames).dtype == torch.float32
    np.testing.assert_allclose(loop.to_input(frames)[0, 0, 0].numpy(), [0, 0.2, 1], rtol=1e-6)


def test_phases_run_in_order_and_end_binary_in_eval_mode():
    model, log = trained(seed=0)
    assert [(epoch.phase.binary_weights, epoch.index) for epoch in log] == [
        (False, 0),
        (False, 1),
        (True, 0),
        (True, 1),
    ]
    assert not model.training
    convolutions = [part for part in model.modules() if isinstance(part, BinaryConv2d)]
    assert len(convolutions) == 4
    assert all(part.binary_weights for part in convolutions)


def test_training_learns_a_simple_problem():
    model, log = trained(seed=0, epochs=30)
    assert log[-1].loss < log[0].loss
    assert loop.accuracy(model, *small_problem()) == 1.0


def test_the_same_seed_gives_the_same_parameters():
    first, second, other = (trained(seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])
