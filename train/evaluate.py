"""Accuracy of a network on a part of a data set, and batch norms settled on one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from r2b.train.data.dataset import Item
from r2b.train.initialize import settle_batch_norms

BATCH_SIZE = 100


@dataclass(frozen=True)
class Accuracy:
    """Percent of the frames whose label is the best, or among the five best.

    Parameters
    ----------
    top1, top5 : float
        0 to 100.
    """

    top1: float
    top5: float


def to_input(frames: Tensor, device: torch.device | None = None) -> Tensor:
    """Make the network's input, float32 in 0..1, from raw frames."""
    return frames.to(device, torch.float32) / 255


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset[Item], workers: int = 0) -> Accuracy:
    """Return the accuracy of ``network``, in eval mode, on ``data``.

    Parameters
    ----------
    network : Module
        Its mode is as before, afterwards.
    data : Dataset
        Frames and labels.
    workers : int
        Processes that read them.
    """
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    hits = torch.zeros(2, dtype=torch.int64)
    for frames, labels in loader(data, BATCH_SIZE, workers):
        logits = network(to_input(frames, device)).cpu()
        best = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([best[:, 0].sum(), best.any(dim=1).sum()])
    network.train(was_training)
    top1, top5 = (100 * hits.to(torch.float64) / size(data)).tolist()
    return Accuracy(top1, top5)


def size(data: Dataset[Item]) -> int:
    """Return how many frames a part has."""
    return len(data)  # pyright: ignore[reportArgumentType]  # every part of a DataSet has a length


def loader(
    data: Dataset[Item], batches: int | list[list[int]], workers: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Make what reads ``data``: in order, so many at a time, or the given batches."""
    # a generator of its own: else it would draw from PyTorch's global one
    generator, source = torch.Generator(), cast(Any, data)
    if isinstance(batches, int):
        return DataLoader(source, batches, num_workers=workers, generator=generator)
    return DataLoader(source, batch_sampler=batches, num_workers=workers, generator=generator)


def first_frames(data: Dataset[Item], order: list[int], workers: int = 0) -> Tensor:
    """Return the frames at the places ``order``, uint8 ``N x C x H x W``."""
    parts = [frames for frames, _ in loader(Subset(data, order), BATCH_SIZE, workers)]
    return torch.cat(parts)


def settle(network: nn.Module, frames: Tensor) -> None:
    """Set the batch norms' statistics from raw frames, whatever training left there.

    During training they are a moving average over weights that no longer exist.
    """
    device = next(network.parameters()).device
    settle_batch_norms(network, to_input(frames, device))
