"""Frames from real pictures, and untrained networks that have seen them.

    python benchmarks/pictures.py real-to-binary-224 -o build/scale
    r2b-compile build/scale/real-to-binary-224.pt --target numpy

The frames are crops of the two photographs that scikit-learn ships (``load_sample_images``, 427 x
640), each reduced by a whole factor where there is room, at places drawn from a seed. The network
is :func:`r2b.train.zoo.untrained` with its batch-norm statistics from such crops: weights as
initialised, so the activations have the spread of a trained network's, and not its meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from sklearn.datasets import load_sample_images

from r2b.train import checkpoint, zoo

Frames = npt.NDArray[np.uint8]

STATISTICS_FRAMES = 16
"""Frames that give the batch norms their statistics."""


def crops(size: int, count: int, seed: int = 0) -> Frames:
    """Crops ``size`` x ``size`` of the two photographs in turn: uint8, count x 3 x size x size.

    Each is the mean over squares of f x f pixels, f drawn from those for which the crop fits.
    """
    rng = np.random.default_rng(seed)
    pictures = load_sample_images().images
    return np.stack([_crop(pictures[i % len(pictures)], size, rng) for i in range(count)])


def _crop(picture: Frames, size: int, rng: np.random.Generator) -> Frames:
    height, width, _ = picture.shape
    factor = int(rng.integers(1, min(height, width) // size, endpoint=True))
    side = factor * size
    top, left = (int(rng.integers(0, room - side, endpoint=True)) for room in (height, width))
    squares = picture[top : top + side, left : left + side].reshape(size, factor, size, factor, 3)
    return np.rint(squares.mean(axis=(1, 3))).astype(np.uint8).transpose(2, 0, 1)


def untrained(arch: str) -> torch.nn.Module:
    """A network of the zoo whose batch norms have seen crops."""
    shape = zoo.build(arch).input_shape
    frames = torch.from_numpy(crops(shape[1], STATISTICS_FRAMES, seed=1))
    return zoo.untrained(arch, frames=frames.float() / 255)


def main(
    arch: Annotated[str, typer.Argument(help="a network of the zoo that takes 3 channels")],
    output: Annotated[Path, typer.Option("-o", help="folder")] = Path("build/scale"),
    frames: Annotated[int, typer.Option(help="calibration frames")] = 16,
) -> None:
    """Write ARCH.pt, with calibration frames in it, and ARCH-frames.npy with 16 other frames."""
    network = untrained(arch)
    size = network.input_shape[1]
    output.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        output / f"{arch}.pt",
        arch=arch,
        config={},
        state_dict=network.state_dict(),
        calibration=crops(size, frames, seed=2),
    )
    np.save(output / f"{arch}-frames.npy", crops(size, 16, seed=3))


if __name__ == "__main__":
    typer.run(main)
