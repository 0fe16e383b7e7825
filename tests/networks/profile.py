"""How many networks are drawn, and from which seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings


def count(variable: str, default: int) -> int:
    """Number of examples: an environment variable, or the default."""
    return int(os.environ.get(variable, default))


def sample(variable: str, default: int) -> Callable[[Any], Any]:
    """Settings of a property over networks; derandomized unless ``R2B_SEED`` is given."""
    chosen = os.environ.get("R2B_SEED")
    made = settings(
        max_examples=count(variable, default),
        derandomize=chosen is None,
        deadline=None,
        database=None,
        # an explanation runs the property hundreds of times more
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        print_blob=False,
    )
    return made if chosen is None else lambda test: seed(int(chosen))(made(test))
