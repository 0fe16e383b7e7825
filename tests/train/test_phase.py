"""What the loop does to each batch and to the optimizer: a spy on every step of a phase."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from lightning_fabric import Fabric

from r2b.train import experiment, phase, run, zoo
from r2b.train.data import DataSet, mixup
from r2b.train.data.dataset import ArrayImages
from r2b.train.evaluate import to_input
from r2b.train.files import read_tensors
from r2b.train.objective import terms
from r2b.train.randomness import batches, derive, generator
from r2b.train.schedule import learning_rate
from r2b.train.state import State
from tests.train.conftest import RECIPE, frames

SEED, EPOCHS, BATCH = 5, 2, 6
PLACES = [(epoch, step) for epoch in range(EPOCHS) for step in range(3)]


class Dated(ArrayImages):
    """Frames whose first pixel is the epoch; notes what it is told."""

    def __init__(self, images: ArrayImages) -> None:
        super().__init__(images.images.numpy(), images.labels.numpy())
        self.told: list[tuple[int, int]] = []

    def set_epoch(self, seed: int, epoch: int) -> None:
        self.told.append((seed, epoch))
        self.images[:, :, 0, 0] = 10 * (epoch + 1)


@dataclass
class Seen:
    """What every step of a phase worked with."""

    images: list[torch.Tensor] = field(default_factory=list)
    targets: list[torch.Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    decays: list[float] = field(default_factory=list)
    stages: list[int] = field(default_factory=list)


@pytest.fixture
def train() -> Dated:
    return Dated(frames(18, 0))


@pytest.fixture
def seen(monkeypatch) -> Seen:
    found = Seen()

    def add_stage(name, stage):
        found.stages.append(stage)
        return lambda images, source: images + torch.rand((), generator=source)

    def note(losses, student, taught, target):
        found.targets.append(target)
        return terms(losses, student, taught, target)

    monkeypatch.setattr(phase, "augmentation", add_stage)
    monkeypatch.setattr(phase, "terms", note)
    return found


def run_phase(seen: Seen, train: Dated, number: int, recipe=RECIPE, name: str = "gate") -> None:
    data = DataSet("digits", 2, (1, 8, 8), train, frames(10, 1), frames(10, 2))
    chosen = experiment.load(name)
    network = zoo.build(*run.describe(chosen, data, 0.125))
    network.stem.register_forward_pre_hook(lambda module, inputs: seen.images.append(inputs[0]))

    def note(progress):
        group = step.adam.param_groups[0]
        seen.rates.append(group["lr"])
        seen.decays.append(group["weight_decay"])

    task = phase.Task(Fabric(accelerator="cpu", devices=1), data, recipe, SEED, on_step=note)
    quiet = replace(task, recipe=replace(recipe, validate_every=1000))
    step = phase.PhaseRun(quiet, chosen.phases[number], network, None, State({}, phase=number))
    step.run()


def expected_images(train: Dated, number: int, epoch: int, step: int) -> torch.Tensor:
    """The raw frames of a step, moved by the stand-in for the augmentation."""
    chosen = batches(SEED, number, epoch, 18, BATCH)[step]
    images = train.images[chosen].clone()
    images[:, :, 0, 0] = 10 * (epoch + 1)
    source = generator(SEED, "augment", number, epoch, step, 0)
    return to_input(images) + torch.rand((), generator=source)


@pytest.mark.parametrize("number", [0, 1])
def test_every_step_sees_the_epochs_frames_augmented(seen, train, number):
    run_phase(seen, train, number)
    assert seen.stages == [number + 1]  # colour jitter depends on the stage
    assert len(seen.images) == len(PLACES)
    for (epoch, step), images in zip(PLACES, seen.images, strict=True):
        assert torch.equal(images, expected_images(train, number, epoch, step))


def test_the_frames_are_told_the_epoch(seen, train):
    run_phase(seen, train, 1)
    seed = derive(SEED, "pixels", 1)
    assert train.told == [(seed, epoch) for epoch in range(EPOCHS)]


def test_labels_are_the_target_without_mix_up(seen, train):
    run_phase(seen, train, 0)
    for (epoch, step), target in zip(PLACES, seen.targets, strict=True):
        assert torch.equal(target, train.labels[batches(SEED, 0, epoch, 18, BATCH)[step]])


def test_images_and_labels_are_mixed(seen, train):
    run_phase(seen, train, 0, replace(RECIPE, mix_up=1.0))
    for (epoch, step), images, target in zip(PLACES, seen.images, seen.targets, strict=True):
        labels = train.labels[batches(SEED, 0, epoch, 18, BATCH)[step]]
        source = generator(SEED, "mix-up", 0, epoch, step, 0)
        mixed = mixup(expected_images(train, 0, epoch, step), labels, 2, 1.0, source)
        assert torch.equal(images, mixed[0])
        assert torch.equal(target, mixed[1])


@pytest.mark.parametrize(("number", "stage"), [(0, 1), (1, 2)])
def test_the_optimizer_gets_the_phase_s_rate_and_decay(seen, train, number, stage):
    recipe = replace(RECIPE, rate_factors=(1.0, 2.0, 3.0), warm_up_factor=0.1)
    run_phase(seen, train, number, recipe)
    spec = experiment.load("gate").phases[number]
    rate = spec.learning_rate * recipe.rate_factors[stage]
    assert seen.decays == [spec.weight_decay] * len(PLACES)
    assert seen.rates == [
        learning_rate(rate, epoch + (step + 1) / 3, recipe.milestones, spec.warm_up * 0.1)
        for epoch, step in PLACES
    ]
    assert len(set(seen.rates)) == (3 if spec.warm_up else 2)  # warm-up, then a tenth


def test_a_phase_lasts_as_many_epochs_as_the_recipe_says(seen, train):
    run_phase(seen, train, 0, replace(RECIPE, epochs=4))
    assert len(seen.images) == 3 * 4


def test_batch_norms_are_settled_on_training_frames(how, settings, data):
    """What the stem's batch norm keeps is the mean over frames, not what training left."""
    everything = replace(RECIPE, settle_frames=len(data.train))
    run.train("gate", settings, data, replace(how, recipes={"digits": everything}))
    state = read_tensors(run.folder(how.root, settings, "gate") / "phase-0.pt")
    images = to_input(data.train.images)
    outputs = torch.nn.functional.conv2d(images, state["stem.conv.weight"], padding=1)
    mean = outputs.double().mean(dim=(0, 2, 3))
    torch.testing.assert_close(state["stem.norm.running_mean"].double(), mean)
