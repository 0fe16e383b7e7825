"""A data set and a recipe so small that whole experiments take seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from r2b.train.data.dataset import ArrayImages, DataSet
from r2b.train.recipe import Recipe
from r2b.train.run import How, Settings

RECIPE = Recipe(2, (1.0,), batch_size=6, warm_up_factor=0.1, settle_frames=16)
SETTINGS = Settings("digits", seed=3, width=0.125)


def frames(count: int, seed: int) -> ArrayImages:
    """Bright or dark frames of noise, 8x8."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 128, (count, 1, 8, 8), generator=generator)
    images = noise + 127 * labels[:, None, None, None]
    return ArrayImages(images.to(torch.uint8).numpy(), labels.numpy())


@pytest.fixture(autouse=True)
def as_before():
    """Training makes PyTorch deterministic; other tests find it as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def data() -> DataSet:
    return DataSet("digits", 2, (1, 8, 8), frames(18, 0), frames(10, 1), frames(10, 2))


@pytest.fixture
def how(tmp_path: Path) -> How:
    fabric = Fabric(accelerator="cpu", devices=1)
    return How(tmp_path / "runs", fabric, save_every=1, recipes={"digits": RECIPE})


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
def still(how: How) -> How:
    """Learning rates of 0: parameters stay what they are."""
    return replace(how, recipes={"digits": replace(RECIPE, rate_factors=(0.0, 0.0, 0.0))})
