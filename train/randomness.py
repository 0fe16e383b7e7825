"""Random numbers that depend on names and counters alone.

Nothing here has a state that would have to be saved: whoever knows the seed of the run and where it
stands knows every number that follows.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Generator, Tensor


def derive(seed: int, purpose: str, *counters: int) -> int:
    """Return a seed of 63 bits, of ``SHA-256(seed/purpose/counters)``."""
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *counters: int) -> Generator:
    """Make a generator on the CPU from :func:`derive`'s seed."""
    return torch.Generator().manual_seed(derive(seed, purpose, *counters))


def order(seed: int, phase: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch takes ``count`` frames."""
    return torch.randperm(count, generator=generator(seed, "order", phase, epoch))


def batches(
    seed: int, phase: int, epoch: int, count: int, size: int, rank: int = 0, world: int = 1
) -> list[list[int]]:
    """Return the frames of each step of an epoch, for one of ``world`` devices.

    Every batch is full: what is left over sits the epoch out, unless it is all there is.
    """
    whole = order(seed, phase, epoch, count).split(size)
    full = [batch for batch in whole if len(batch) == size] or list(whole)
    return [batch[rank::world].tolist() for batch in full]
