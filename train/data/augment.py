"""Random changes of training images, by kornia, and mix-up.

The paper's section 4.1: random crop, horizontal flip and rotation by up to 15 degrees for
CIFAR-100; random crop, flip and colour jitter for ImageNet, no jitter in stage 2. It gives no
strength of the jitter and no padding of the crop: those below are the usual ones.

Where the random crop of a data set scales (ImageNet and folders), it was made image by image before
there was a batch: :class:`r2b.train.data.folders.TrainImages`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from kornia.augmentation import ColorJitter, RandomCrop, RandomHorizontalFlip, RandomRotation
from torch import Tensor, nn
from torch.nn import functional

from r2b.train.data.randomness import draws_from, seed_from
from r2b.train.loop import shift

STAGES = (0, 1, 2)
"""The paper's: real student; binary activations; binary weights too."""
CROP_PADDING = 4
SHIFT = 2
"""Pixels by which digits move; a 7 in a mirror is none, so they are not flipped."""
DEGREES = 15.0
JITTER = 0.4
"""Brightness, contrast and saturation are each multiplied by 0.6 to 1.4; the hue stays."""

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
Steps = Callable[[tuple[int, int]], list[nn.Module]]
"""Makes the transforms for images of a height and width."""


def _crop(padding: int) -> Steps:
    return lambda size: [RandomCrop(size, padding=padding)]


def _flip(size: tuple[int, int]) -> list[nn.Module]:
    return [RandomHorizontalFlip(p=0.5)]


def _rotate(size: tuple[int, int]) -> list[nn.Module]:
    return [RandomRotation(DEGREES, p=1.0)]


def _jitter(size: tuple[int, int]) -> list[nn.Module]:
    return [ColorJitter(JITTER, JITTER, JITTER, p=1.0)]


_STEPS: dict[str, tuple[Steps, ...]] = {
    "digits": (),  # moved by r2b.train.loop.shift, as in examples/digits
    "cifar100": (_crop(CROP_PADDING), _flip, _rotate),
    "imagenet": (_flip, _jitter),
    "folder": (_flip, _jitter),
}
"""What is done to a batch of each data set, in this order."""
_LEFT_OUT: dict[int, tuple[Steps, ...]] = {2: (_jitter,)}
"""By stage."""


def augmentation(name: str, stage: int) -> Augmentation:
    """Give the random changes of a data set's training images.

    Parameters
    ----------
    name : str
        As :attr:`r2b.train.data.DataSet.name`.
    stage : int
        0, 1 or 2, see :data:`STAGES`.

    Returns
    -------
    callable
        ``change(images, generator)`` takes float images ``N x C x H x W`` in 0..1, on any device,
        and gives new ones of the same shape and range. All randomness comes from ``generator``
        (one number is drawn from it); PyTorch's global generators are neither read nor moved.

    Raises
    ------
    ValueError
        There is no such data set or stage.
    """
    if name not in _STEPS or stage not in STAGES:
        raise ValueError(
            f"name must be one of {', '.join(_STEPS)} and stage one of 0, 1, 2, "
            f"not {name!r} and {stage!r}"
        )
    if name == "digits":
        return _moved
    steps = [step for step in _STEPS[name] if step not in _LEFT_OUT.get(stage, ())]

    def change(images: Tensor, generator: torch.Generator) -> Tensor:
        size = (images.shape[2], images.shape[3])
        with draws_from(seed_from(generator)):
            for step in steps:
                for transform in step(size):
                    images = cast("Tensor", transform(images))
        return images

    return change


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    return shift(images, SHIFT, generator)


def mixup(
    images: Tensor, labels: Tensor, num_classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image, and its label, with another of the batch.

    ``share * x + (1 - share) * x[order]``, for images and for one-hot labels, with one ``share`` of
    Beta(alpha, alpha) and one permutation ``order`` per batch (Zhang et al., 2017).

    Parameters
    ----------
    images : Tensor
        Float, ``N x C x H x W``.
    labels : Tensor
        int64, ``N``.
    num_classes : int
    alpha : float
        0 leaves the images as they are.
    generator : Generator
        All randomness comes from it; PyTorch's global generators are neither read nor moved.

    Returns
    -------
    images, probabilities : Tensor
        Of the images' type; ``N x C x H x W`` and ``N x num_classes``, rows summing to 1.

    Raises
    ------
    ValueError
        ``alpha`` is negative.
    """
    if not alpha >= 0:
        raise ValueError(f"alpha must be 0 or more, not {alpha}")
    probabilities = functional.one_hot(labels, num_classes).to(images.dtype)
    if alpha == 0:
        return images, probabilities
    order = torch.randperm(len(images), generator=generator, device=generator.device)
    order = order.to(images.device)
    with draws_from(seed_from(generator)):
        share = torch.distributions.Beta(alpha, alpha).sample().item()
    return _mixed(images, order, share), _mixed(probabilities, order, share)


def _mixed(x: Tensor, order: Tensor, share: float) -> Tensor:
    return share * x + (1 - share) * x[order]
