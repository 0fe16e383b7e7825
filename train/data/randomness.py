"""Random numbers for libraries that draw from PyTorch's global generator only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def draws_from(seed: int) -> Iterator[None]:
    """Let what the block draws come from ``seed`` alone.

    PyTorch's global CPU generator is neither read nor moved; those of devices are not touched.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the generators of all devices too, and those are not forked
        torch.default_generator.manual_seed(seed)
        yield


def seed_from(generator: torch.Generator) -> int:
    """Draw a seed, 0 <= seed < 2**63 - 1, from a generator on any device."""
    high = torch.iinfo(torch.int64).max
    return int(torch.randint(high, (), generator=generator, device=generator.device))


def seed_of(*numbers: int) -> int:
    """Mix numbers >= 0 to one seed, 0 <= seed < 2**64, by NumPy's SeedSequence."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
