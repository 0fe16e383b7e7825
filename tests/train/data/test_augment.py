"""Augmentation: each transform acts, all randomness is the generator's; mix-up against NumPy."""

import random

import numpy as np
import pytest
import torch

from r2b.train.data.augment import augmentation, mixup
from r2b.train.data.randomness import draws_from, seed_from, seed_of

NAMES = ("digits", "cifar100", "imagenet", "folder")
CASES = [(name, stage) for name in NAMES for stage in (0, 1, 2)]
JITTERED = [(name, stage) for name in ("imagenet", "folder") for stage in (0, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(name, count=16):
    channels = 1 if name == "digits" else 3
    return torch.rand(count, channels, 32, 40, generator=generator(9))


def repeated(image, count):
    return image.expand(count, *image.shape).clone()


# ---------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_shape_range_and_input(name, stage):
    before = images(name)
    kept = before.clone()
    after = augmentation(name, stage)(before, generator())
    assert (after.shape, after.dtype) == (before.shape, torch.float32)
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(before, kept)
    assert not torch.equal(before, after)


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_a_function_of_the_generator(name, stage):
    batch = images(name)
    change = augmentation(name, stage)
    first, second = generator(4), generator(4)
    results = [change(batch, first) for _ in range(2)]
    assert torch.equal(change(batch, second), results[0])
    assert torch.equal(augmentation(name, stage)(batch, second), results[1])
    assert not torch.equal(results[0], results[1])


def global_states():
    return (
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    )  # fmt: skip


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_global_random_numbers_are_neither_read_nor_moved(name, stage):
    batch = images(name)
    change = augmentation(name, stage)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        before = global_states()
        found.append(change(batch, generator()))
        assert global_states() == before
    assert torch.equal(*found)


def test_an_empty_last_batch():
    for name, stage in CASES:
        batch = images(name)[:0]
        assert augmentation(name, stage)(batch, generator()).shape == batch.shape


@pytest.mark.parametrize(("name", "stage"), [("mnist", 1), ("digits", 3), ("digits", -1)])
def test_unknown(name, stage):
    text = (
        "^name must be one of digits, cifar100, imagenet, folder and stage one of 0, 1, 2, "
        f"not '{name}' and {stage}$"
    )
    with pytest.raises(ValueError, match=text):
        augmentation(name, stage)


# --------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_digits_move_by_up_to_two_pixels_and_nothing_else(stage):
    image = torch.rand(1, 32, 32, generator=generator(1))
    padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)))
    windows = {
        padded[:, row : row + 32, column : column + 32].tobytes(): (row, column)
        for row in range(5)
        for column in range(5)
    }
    changed = augmentation("digits", stage)(repeated(image, 600), generator(2))
    found = [windows[one.numpy().tobytes()] for one in changed]
    counts = np.zeros((5, 5), int)
    np.add.at(counts, tuple(zip(*found, strict=True)), 1)
    # 24 of each expected; 7 and 48 are five standard deviations away
    assert counts.min() > 4
    assert counts.max() < 48


def centroids(batch):
    """Row and column of each image's mass, from the middle."""
    grid = torch.arange(32.0) - 15.5
    mass = batch.sum(dim=(1, 2, 3))
    rows = (batch.sum(dim=(1, 3)) * grid).sum(dim=1) / mass
    columns = (batch.sum(dim=(1, 2)) * grid).sum(dim=1) / mass
    return rows, columns


def test_cifar100_crop():
    """A disc in the middle is moved by the crop alone."""
    grid = torch.arange(32.0) - 15.5
    disc = ((grid[:, None] ** 2 + grid[None] ** 2) < 16).float().expand(3, 32, 32)
    changed = augmentation("cifar100", 1)(repeated(disc, 1000), generator(3))
    rows, columns = centroids(changed)
    # 4 pixels each way, turned by 15 degrees: 4 (cos 15 + sin 15) = 4.9
    for offsets in (rows, columns):
        assert 3.9 < offsets.max() < 4.95
        assert -4.95 < offsets.min() < -3.9
        assert abs(offsets.mean()) < 0.3
        assert 2.3 < offsets.std() < 2.9  # of whole numbers -4 to 4: sqrt(60 / 9) = 2.58
    assert abs(torch.corrcoef(torch.stack([rows, columns]))[0, 1]) < 0.15


def test_cifar100_flip():
    """A dot right of the middle is on the left in half of the images."""
    image = torch.zeros(3, 32, 32)
    image[:, 15:17, 24:26] = 1
    changed = augmentation("cifar100", 1)(repeated(image, 1000), generator(4))
    _, columns = centroids(changed)
    assert 420 < int((columns < 0).sum()) < 580  # five standard deviations: 500 +- 79
    assert columns.abs().min() > 3


def test_cifar100_rotation():
    """The angle of a bar is changed by the rotation alone, but for the sign."""
    image = torch.zeros(3, 32, 32)
    image[:, 15:17, 8:24] = 1
    changed = augmentation("cifar100", 1)(repeated(image, 1000), generator(5))
    grid = torch.arange(32.0)
    rows, columns = centroids(changed)
    mass = changed.sum(dim=(1, 2, 3))
    r = (grid - 15.5)[None, :, None] - rows[:, None, None]
    c = (grid - 15.5)[None, None, :] - columns[:, None, None]
    weight = changed.sum(dim=1)
    moments = [(weight * product).sum(dim=(1, 2)) / mass for product in (r * r, c * c, r * c)]
    angles = torch.rad2deg(0.5 * torch.atan2(2 * moments[2], moments[1] - moments[0]))
    assert 14 < angles.max() < 15.5
    assert -15.5 < angles.min() < -14
    assert abs(angles.mean()) < 1.5
    assert 8 < angles.std() < 9.3  # uniform over 30 degrees: 30 / sqrt(12) = 8.66


@pytest.mark.parametrize("name", ["imagenet", "folder"])
def test_stage_2_flips_and_nothing_else(name):
    image = torch.rand(3, 32, 32, generator=generator(6))
    changed = augmentation(name, 2)(repeated(image, 400), generator(7))
    plain = [torch.equal(one, image) for one in changed]
    mirrored = [torch.equal(one, image.flip(2)) for one in changed]
    assert sum(plain) + sum(mirrored) == 400
    assert 150 < sum(plain) < 250


@pytest.mark.parametrize(("name", "stage"), JITTERED)
def test_brightness(name, stage):
    """Contrast and saturation leave an even grey alone."""
    changed = augmentation(name, stage)(torch.full((400, 3, 8, 8), 0.5), generator(8))
    factors = changed.mean(dim=(1, 2, 3)) / 0.5
    assert 0.599 < factors.min() < 0.62
    assert 1.38 < factors.max() < 1.401
    assert abs(factors.mean() - 1) < 0.06


@pytest.mark.parametrize(("name", "stage"), JITTERED)
def test_contrast(name, stage):
    """Of two greys, contrast alone changes the difference over the mean."""
    image = torch.full((3, 8, 8), 0.45)
    image[:, :4] = 0.55
    changed = augmentation(name, stage)(repeated(image, 400), generator(9))
    lower, upper = changed[:, :, 4:].mean(dim=(1, 2, 3)), changed[:, :, :4].mean(dim=(1, 2, 3))
    factors = (upper - lower) / ((upper + lower) / 2) / 0.2
    assert 0.599 < factors.min() < 0.62
    assert 1.38 < factors.max() < 1.401


@pytest.mark.parametrize(("name", "stage"), JITTERED)
def test_saturation(name, stage):
    """Of an even colour, contrast and saturation each change the distance from grey."""
    image = torch.tensor([0.5, 0.45, 0.45])[:, None, None].expand(3, 8, 8)
    changed = augmentation(name, stage)(repeated(image, 400), generator(10))[:, :, 0, 0]
    weights = torch.tensor([0.299, 0.587, 0.114])
    distances = (changed[:, 0] - changed[:, 1]) / (changed @ weights)
    factors = distances / (0.05 / (image[:, 0, 0] @ weights))
    assert 0.35 < factors.min() < 0.55  # contrast alone: 0.6 at least
    assert 1.5 < factors.max() < 1.97  # contrast alone: 1.4 at most


def test_hue_stays():
    image = torch.tensor([0.5, 0.4, 0.3])[:, None, None].expand(3, 8, 8)
    changed = augmentation("imagenet", 1)(repeated(image, 400), generator(11))[:, :, 0, 0]
    middle = (changed[:, 1] - changed[:, 2]) / (changed[:, 0] - changed[:, 2])
    np.testing.assert_allclose(middle, 0.5, atol=1e-5)


# ------------------------------------------------------------------------------------------- mix-up


def mixed(alpha, seed, count=12, batch=None):
    batch = torch.rand(count, 3, 4, 5, generator=generator(12)) if batch is None else batch
    return batch, *mixup(batch, torch.arange(count), count, alpha, generator(seed))


def order_and_share(probabilities):
    """Each image has a class of its own, so the labels tell who was mixed, and how much."""
    table = probabilities.numpy()
    own = np.diag(table)
    others = np.where(np.eye(len(table)), 0, table).argmax(axis=1)
    return np.where(own == 1, range(len(table)), others).tolist(), own[own < 1][0]


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_its_formula(seed):
    batch, found, probabilities = mixed(0.4, seed)
    order, share = order_and_share(probabilities)
    assert sorted(order) == list(range(12))
    x, one_hot = batch.numpy(), np.eye(12, dtype=np.float32)
    exact = share_of(seed, 0.4)
    assert np.float32(exact) == share
    np.testing.assert_array_equal(found.numpy(), exact * x + (1 - exact) * x[order])
    np.testing.assert_array_equal(
        probabilities.numpy(), exact * one_hot + (1 - exact) * one_hot[order]
    )


def test_mixup_pairs_at_random():
    orders = {tuple(order_and_share(mixed(0.4, seed)[2])[0]) for seed in range(20)}
    assert len(orders) == 20


def share_of(seed, alpha):
    """The factor in double precision: that of images and labels which are doubles."""
    batch = torch.zeros(12, 1, 1, 1, dtype=torch.float64)
    _, _, probabilities = mixed(alpha, seed, batch=batch)
    return next(float(value) for value in probabilities.diag() if value < 1)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_beta(alpha):
    first = torch.zeros(2, 1, 1, 1)
    shares = []
    state = generator(13)
    for _ in range(600):
        _, table = mixup(first, torch.tensor([0, 1]), 2, alpha, state)
        if table[0, 0] < 1:
            shares.append(float(table[0, 0]))
    assert abs(np.mean(shares) - 0.5) < 0.08
    assert abs(np.std(shares) - np.sqrt(1 / (4 * (2 * alpha + 1)))) < 0.04


def test_no_mixup():
    batch, found, probabilities = mixed(0.0, 1)
    assert torch.equal(found, batch)
    assert torch.equal(probabilities, torch.eye(12))


def test_mixup_is_a_function_of_the_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    _, first, table = mixed(0.2, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    _, again, same = mixed(0.2, 3)
    assert torch.equal(first, again)
    assert torch.equal(table, same)
    assert not torch.equal(mixed(0.2, 4)[1], first)


@pytest.mark.parametrize("alpha", [-0.5, float("nan")])
def test_wrong_alpha(alpha):
    with pytest.raises(ValueError, match=rf"^alpha must be 0 or more, not {alpha}$"):
        mixed(alpha, 1)


# --------------------------------------------------------------------------------------- randomness


def test_seeds():
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)
    seeds = {seed_of(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert max(seeds) < 2**64
    drawn = [seed_from(generator(seed)) for seed in range(50)]
    assert len(set(drawn)) == 50
    assert min(drawn) >= 0


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_draws_end_with_the_block_even_by_an_error(seed):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(KeyError), draws_from(seed):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
