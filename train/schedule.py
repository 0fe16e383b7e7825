"""The learning rate, a function of where a phase stands (section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

DECAY = 0.1
"""Factor at each step of the schedule; the paper does not say it, and this is the usual one."""


def learning_rate(
    base: float, epoch: float, milestones: Sequence[float], warm_up: float = 0.0
) -> float:
    """Return the rate at ``epoch``, which counts the steps within an epoch as fractions.

    ``base * 0.1 ** (milestones passed)``; during the warm-up it rises from 0 in a line, and its
    first step is not 0: ``epoch`` is that of the end of the step.

    Parameters
    ----------
    base : float
        Rate between warm-up and first milestone.
    epoch : float
        From 0.
    milestones : sequence of float
        Epochs at which the rate falls.
    warm_up : float
        Epochs; 0 for none.
    """
    passed = sum(epoch > milestone for milestone in milestones)
    ramp = min(1.0, epoch / warm_up) if warm_up else 1.0
    return base * DECAY**passed * ramp
