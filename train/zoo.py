"""The networks that r2b trains and ships, by name.

A checkpoint names its network here instead of carrying code: ``build(arch, config)`` makes the
module that its ``state_dict`` belongs to. Every network is one :class:`~r2b.train.network.Network`
with the options of the table below, each row of the paper's Table 1 being the row above it plus
one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r2b.ir.errors import CheckpointError
from r2b.train.initialize import initialize, settle_batch_norms
from r2b.train.network import Network
from r2b.train.options import Options

RESNET18 = (2, 2, 2, 2)
RESNET34 = (3, 4, 6, 3)
NUM_FRAMES = 8

FULL_PRECISION = Options(
    blocks=RESNET18,
    order="post",
    skips="block",
    activation="relu",
    scale="none",
    convolution="real",
    downsample="real",
    shortcut="strided",
)
BNN = replace(FULL_PRECISION, convolution="binary", downsample="binary", activation="hardtanh")
XNOR_NET = replace(BNN, order="pre", scale="alpha", activation="prelu")
DOUBLE_SKIP = replace(XNOR_NET, skips="conv", shortcut="pooled")
BI_REAL = replace(DOUBLE_SKIP, downsample="real")
STRONG_BASELINE = replace(BI_REAL, scale="channel")
REAL_TO_BINARY = replace(STRONG_BASELINE, scale="gate")
# The published block (Liu et al., 2018): sign - conv - BN - (+ skip), no activation anywhere.
BI_REAL_NET = replace(BI_REAL, order="post", activation="none", gradient="polynomial")

CONFIGURATIONS: dict[str, Options] = {
    "bnn": BNN,
    "xnor-net": XNOR_NET,
    "double-skip": DOUBLE_SKIP,
    "bi-real": BI_REAL,
    "bi-real-net": BI_REAL_NET,
    "strong-baseline": STRONG_BASELINE,
    "real-to-binary": REAL_TO_BINARY,
    "full-precision": FULL_PRECISION,
    "full-precision-34": replace(FULL_PRECISION, blocks=RESNET34),
}
"""The paper's networks, and the teacher of its full-precision row, for 224 pixels."""


def _for_32(options: Options) -> Options:
    """Return the CIFAR-100 form: a 3x3 stem that keeps the size."""
    return replace(options, input_shape=(3, 32, 32), num_classes=100, stem="3x3")


ARCHITECTURES: dict[str, Options] = {
    "real-to-binary-digits": replace(
        REAL_TO_BINARY,
        input_shape=(1, 16, 16),
        num_classes=10,
        stem="5x5",
        widths=(32, 64),
        blocks=(1, 1),
    ),
    **{f"{name}-224": options for name, options in CONFIGURATIONS.items()},
    **{f"{name}-32": _for_32(options) for name, options in CONFIGURATIONS.items()},
}
"""Every network by name, with the options it has by default."""


def build(arch: str, config: Mapping[str, Any] | None = None, *, seed: int = 0) -> Network:
    """Make the network ``arch`` with fresh parameters.

    The parameters depend on the seed alone: PyTorch's global generator is neither read nor moved.
    Batch norms are as they are made; :func:`r2b.train.initialize.settle_batch_norms` gives them
    statistics. On the meta device nothing is drawn.

    Parameters
    ----------
    arch : str
        A name in :data:`ARCHITECTURES`.
    config : mapping of str to object
        Fields of :class:`~r2b.train.options.Options`, lists for tuples; what is left out is as
        the table has it.
    seed : int
        Of the parameters.

    Raises
    ------
    CheckpointError
        The name is unknown, or the config does not fit the network.
    """
    options = resolve(arch, config or {})
    device = torch.get_default_device()
    with torch.device("meta"):
        network = Network(options)
    if device.type == "meta":
        return network
    # always on the CPU: the same numbers on every device
    network.to_empty(device="cpu")
    initialize(network, torch.Generator(device="cpu").manual_seed(seed))
    return network.to(device)


def resolve(arch: str, config: Mapping[str, Any]) -> Options:
    """Return the options that ``arch`` and ``config`` name, see :func:`build`."""
    options = ARCHITECTURES.get(arch)
    if options is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise CheckpointError(f"there is no network {arch!r} in the zoo; known are: {known}")
    try:
        return options.with_config(config)
    except ValueError as error:
        raise CheckpointError(f"the config does not fit {arch}: {error}") from error


def untrained(
    arch: str,
    config: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    frames: Tensor | None = None,
) -> Network:
    """Make a network that can be compiled before it is trained.

    Parameters and batch-norm statistics depend on the seed and the frames alone.

    Parameters
    ----------
    arch, config, seed
        As in :func:`build`.
    frames : Tensor
        Float input ``N x C x H x W``, N >= 2, for the statistics; without it
        :data:`NUM_FRAMES` frames of noise in 0..1 from the seed.

    Returns
    -------
    Network
        In evaluation mode.

    Raises
    ------
    CheckpointError
        As in :func:`build`.
    """
    network = build(arch, config, seed=seed)
    if frames is None:
        generator = torch.Generator().manual_seed(seed)
        frames = torch.rand(NUM_FRAMES, *network.input_shape, generator=generator)
    settle_batch_norms(network, frames)
    return network.eval()
