"""Training in the paper's phases: binary activations first, then binary weights too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.swa_utils import update_bn

from r2b.train.layers import set_binary_weights

BATCH_SIZE = 64
# Steps of the paper's CIFAR-100 schedule (epochs 150, 250 and 320 of 350), as fractions.
STEPS = (150 / 350, 250 / 350, 320 / 350)


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    Parameters
    ----------
    name : str
        For the progress display.
    binary_weights : bool
        Whether the binary convolutions use the signs of their weights.
    epochs : int
        Passes over the data.
    learning_rate : float
        Of Adam at the start; a tenth of it after each of three steps.
    weight_decay : float
        Of Adam.
    """

    name: str
    binary_weights: bool
    epochs: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave.

    Parameters
    ----------
    phase : Phase
        The phase it belongs to.
    index : int
        Number of the epoch within the phase, from 0.
    loss : float
        Mean cross entropy over the training images.
    """

    phase: Phase
    index: int
    loss: float


def paper_phases(epochs: int) -> tuple[Phase, Phase]:
    """Return the paper's two phases, of ``epochs`` each.

    The second phase begins with 3e-3 where the paper has 2e-4: a schedule of minutes takes far
    fewer steps, and with 1e-3 the digits network ended at three times the training loss.
    """
    return (
        Phase("binary activations", False, epochs, learning_rate=1e-3, weight_decay=1e-5),
        Phase("binary activations and weights", True, epochs, learning_rate=3e-3, weight_decay=0),
    )


def to_input(frames: NDArray[np.uint8]) -> Tensor:
    """Make the network's input, float32 in 0..1, from raw frames."""
    return torch.from_numpy(frames).to(torch.float32) / 255


def shift(images: Tensor, distance: int, generator: torch.Generator) -> Tensor:
    """Move every image by up to ``distance`` pixels in both directions; zeros come in."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (distance,) * 4)
    offsets = torch.randint(2 * distance + 1, (2, count, 1), generator=generator)
    rows = (offsets[0] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1] + torch.arange(width))[:, None, None, :]
    sample = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[sample, channel, rows, columns]


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    phases: tuple[Phase, ...],
    *,
    seed: int,
    max_shift: int = 1,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> None:
    """Train ``model`` through ``phases``, settle its batch norms, and leave it in eval mode.

    Parameters
    ----------
    model : Module
        The network, changed in place.
    images, labels : Tensor
        Float input ``N x C x H x W`` and int64 classes ``N``.
    phases : tuple of Phase
        In this order; the last has binary weights.
    seed : int
        Of the order of images and of their shifts.
    max_shift : int
        Augmentation: images move by up to so many pixels.
    on_epoch : callable
        Called after every epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    for phase in phases:
        set_binary_weights(model, phase.binary_weights)
        _run_phase(model, images, labels, phase, generator, max_shift, on_epoch)
    set_binary_weights(model, True)
    # The running statistics still hold some of the last batches' noise: average over all images.
    update_bn(images.split(BATCH_SIZE), model)
    model.eval()


def _run_phase(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    phase: Phase,
    generator: torch.Generator,
    max_shift: int,
    on_epoch: Callable[[Epoch], None],
) -> None:
    optimizer = Adam(model.parameters(), lr=phase.learning_rate, weight_decay=phase.weight_decay)
    milestones = [round(step * phase.epochs) for step in STEPS]
    scheduler = MultiStepLR(optimizer, milestones)
    for index in range(phase.epochs):
        moved = shift(images, max_shift, generator)
        loss = _run_epoch(model, moved, labels, optimizer, generator)
        scheduler.step()
        on_epoch(Epoch(phase, index, loss))


def _run_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    optimizer: Adam,
    generator: torch.Generator,
) -> float:
    model.train()
    total = 0.0
    for batch in torch.randperm(len(images), generator=generator).split(BATCH_SIZE):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(images)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of ``images`` whose largest logit is at their label, in eval mode."""
    predicted = model.eval()(images).argmax(dim=1)
    return (predicted == labels).to(torch.float64).mean().item()
