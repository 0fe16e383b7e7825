"""Learning rates and recipes against section 4.1."""

import re

import pytest

from r2b.ir.errors import TrainingError
from r2b.train.recipe import CIFAR100, DIGITS, IMAGENET, RECIPES
from r2b.train.schedule import learning_rate


def test_the_paper_s_schedules():
    assert (CIFAR100.epochs, CIFAR100.milestones, CIFAR100.batch_size) == (
        350,
        (150, 250, 320),
        128,
    )
    assert (IMAGENET.epochs, IMAGENET.milestones, IMAGENET.batch_size) == (75, (40, 60, 70), 256)
    assert CIFAR100.mix_up > 0
    assert IMAGENET.mix_up == 0
    for recipe in (CIFAR100, IMAGENET):
        assert recipe.rate_factors == (1, 1, 1)
        assert recipe.warm_up_factor == 1


def test_every_data_set_has_a_recipe():
    assert set(RECIPES) == {"digits", "cifar100", "imagenet", "folder"}


def test_digits_take_cifar100_s_steps_in_proportion():
    ratios = [milestone / DIGITS.epochs for milestone in DIGITS.milestones]
    assert ratios == pytest.approx([150 / 350, 250 / 350, 320 / 350])
    assert DIGITS.warm_up_factor == pytest.approx(DIGITS.epochs / 350)


def test_the_rate_falls_to_a_tenth_behind_each_milestone():
    rates = [learning_rate(1e-3, epoch, (150, 250, 320)) for epoch in (1, 150, 150.01, 251, 321)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6])


def test_the_warm_up_is_a_line_from_0():
    rates = [learning_rate(1e-3, epoch, (150,), 5) for epoch in (0.5, 2.5, 5, 6)]
    assert rates == pytest.approx([1e-4, 5e-4, 1e-3, 1e-3])


def test_scaled_recipe_keeps_the_proportions():
    short = CIFAR100.scaled(0.1)
    assert (short.epochs, short.milestones) == (35, pytest.approx((15, 25, 32)))
    assert short.warm_up_factor == pytest.approx(0.1)
    assert CIFAR100.scaled(1e-6).epochs == 1
    assert CIFAR100.scaled(1.0) == CIFAR100


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), 1e9])
def test_a_scale_that_cannot_be(factor):
    text = f"--epochs-scale must be above 0 and leave a million epochs at most, not {factor:g}"
    with pytest.raises(TrainingError, match=f"^{re.escape(text)}$"):
        CIFAR100.scaled(factor)
