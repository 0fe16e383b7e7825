"""What training takes from the data set: epochs, batches, mix-up, learning rates of short runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from r2b.ir.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """How long a phase lasts, and what it takes at a time.

    Parameters
    ----------
    epochs : int
        Passes over the training frames in each phase.
    milestones : tuple of float
        Epochs behind which the learning rate falls to a tenth.
    batch_size : int
        Frames per step, over all devices.
    mix_up : float
        Parameter alpha of the beta distribution; 0 for none.
    rate_factors : tuple of float
        Factors of an experiment's learning rates in stages 0, 1 and 2.
    warm_up_factor : float
        Factor of an experiment's warm-up, which is in epochs of the paper's schedules.
    validate_every : int
        Epochs between looks at the validation part; the end of a phase always has one.
    settle_frames : int
        Training frames from which the batch norms' statistics come at the end of a phase.
    """

    epochs: int
    milestones: tuple[float, ...]
    batch_size: int
    mix_up: float = 0.0
    rate_factors: tuple[float, float, float] = (1.0, 1.0, 1.0)
    warm_up_factor: float = 1.0
    validate_every: int = 1
    settle_frames: int = 4096

    def scaled(self, factor: float) -> Recipe:
        """Return the recipe with ``factor`` times the epochs, at least one, steps in proportion.

        Raises
        ------
        TrainingError
            The factor is not above 0, or makes more than a million epochs.
        """
        if not 0 < factor * self.epochs <= 1e6:
            raise TrainingError(
                f"--epochs-scale must be above 0 and leave a million epochs at most, not {factor:g}"
            )
        epochs = max(1, round(self.epochs * factor))
        warm_up = self.warm_up_factor * epochs / self.epochs
        milestones = tuple(epoch * epochs / self.epochs for epoch in self.milestones)
        return replace(self, epochs=epochs, milestones=milestones, warm_up_factor=warm_up)


CIFAR100 = Recipe(350, (150, 250, 320), batch_size=128, mix_up=1.0)
IMAGENET = Recipe(75, (40, 60, 70), batch_size=256, settle_frames=1024)
_DIGITS_EPOCHS = 10
# Minutes instead of days: a phase takes 300 steps where the paper's take more than 100,000. So its
# learning rates are multiplied. Chosen on the validation part.
DIGITS = Recipe(
    _DIGITS_EPOCHS,
    tuple(_DIGITS_EPOCHS * epoch / CIFAR100.epochs for epoch in CIFAR100.milestones),
    batch_size=20,
    rate_factors=(3.0, 3.0, 8.0),
    warm_up_factor=_DIGITS_EPOCHS / CIFAR100.epochs,
    validate_every=2 * _DIGITS_EPOCHS,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"digits": DIGITS, "cifar100": CIFAR100, "imagenet": IMAGENET, "folder": IMAGENET}
)
"""The recipe of each data set."""
