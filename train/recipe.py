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
        Passes over the training frames, in every phase.
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
        ratio = epochs / self.epochs
        return replace(
            self,
            epochs=epochs,
            milestones=tuple(epoch * ratio for epoch in self.milestones),
            warm_up_factor=self.warm_up_factor * ratio,
        )


CIFAR100 = Recipe(350, (150, 250, 320), batch_size=128, mix_up=1.0)
IMAGENET = Recipe(75, (40, 60, 70), batch_size=256)
_DIGITS_EPOCHS = 20
DIGITS = Recipe(
    _DIGITS_EPOCHS,
    tuple(_DIGITS_EPOCHS * epoch / 350 for epoch in CIFAR100.milestones),
    batch_size=25,
    rate_factors=(3.0, 3.0, 5.0),
    warm_up_factor=_DIGITS_EPOCHS / 350,
    validate_every=5,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"digits": DIGITS, "cifar100": CIFAR100, "imagenet": IMAGENET, "folder": IMAGENET}
)
"""The recipe of each data set."""
