"""What a phase minimises: a weighted sum of the three losses of section 4."""

from __future__ import annotations

from torch import Tensor, nn

from r2b.train.experiment import Losses
from r2b.train.losses import attention_loss, label_loss, logit_loss
from r2b.train.network import Features, Network


class WithFeatures(nn.Module):
    """A network whose forward pass gives logits and the outputs of its blocks.

    Engines wrap ``forward`` (several devices, mixed precision); the features come out of it too.

    Parameters
    ----------
    network : Network
        Any of the zoo.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
        """Return the fields of :class:`~r2b.train.network.Features`."""
        features = self.network.forward_features(x)
        return features.logits, features.groups


def terms(
    losses: Losses, student: Features, teacher: Features | None, target: Tensor
) -> dict[str, Tensor]:
    """Return each loss with a weight, not yet weighted, by name.

    Parameters
    ----------
    losses : Losses
        Weights; those of a teacher's losses are 0 without a teacher.
    student, teacher : Features
        Of the same frames.
    target : Tensor
        Classes or probabilities.
    """
    found: dict[str, Tensor] = {}
    if losses.label:
        found["label"] = label_loss(student.logits, target)
    if losses.attention and teacher is not None:
        found["attention"] = attention_loss(
            getattr(student, losses.transfer), getattr(teacher, losses.transfer)
        )
    if losses.logit and teacher is not None:
        found["logit"] = logit_loss(student.logits, teacher.logits, losses.temperature)
    return found


def weighted(losses: Losses, found: dict[str, Tensor]) -> Tensor:
    """Return the sum of ``weight * loss``."""
    parts = [getattr(losses, name) * value for name, value in found.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
