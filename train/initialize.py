"""Parameters from a seed, and batch-norm statistics from frames."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import update_bn

from r2b.train.layers import BinaryConv2d, ChannelScale, RankOneScale

BATCH_SIZE = 64


@torch.no_grad()
def initialize(model: nn.Module, generator: Generator) -> None:
    """Set every parameter and buffer of ``model``, drawing from ``generator`` alone.

    The distributions are those of the layers' own constructors, in the order of
    ``model.modules()``: the numbers are the same as a constructor draws after
    ``torch.manual_seed`` with the generator's seed.

    Parameters
    ----------
    model : Module
        A network of the zoo, on the CPU; its values before do not matter.
    generator : Generator
        Source of the numbers.

    Raises
    ------
    TypeError
        A module has parameters or buffers of its own and no rule here.
    """
    for path, module in model.named_modules():
        match module:
            case nn.Conv2d() | nn.Linear():
                _initialize_real(module, generator)
            case BinaryConv2d():
                module.reset_parameters(generator)
            case nn.BatchNorm2d() | nn.PReLU() | ChannelScale() | RankOneScale():
                module.reset_parameters()
            case _:
                _check_empty(path, module)


def _initialize_real(module: nn.Conv2d | nn.Linear, generator: Generator) -> None:
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _check_empty(path: str, module: nn.Module) -> None:
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    if own:
        raise TypeError(
            f"{path or 'the model'} is a {type(module).__name__}, and there is no rule to "
            f"initialize its {', '.join(name for name, _ in own)}"
        )


def settle_batch_norms(model: nn.Module, frames: Tensor, batch_size: int = BATCH_SIZE) -> None:
    """Set the running statistics of every batch norm from forward passes on ``frames``.

    The passes run in training mode, in the order of the frames, in batches of nearly one size;
    each statistic becomes the mean over the batches (a cumulative average, whatever the momentum).
    The same frames give the same statistics. Parameters, mode and momentum stay as they are.

    Parameters
    ----------
    model : Module
        Is changed in place.
    frames : Tensor
        Float input of the model, ``N x C x H x W`` with N >= 2.
    batch_size : int
        Frames per pass, about; from 2.

    Raises
    ------
    ValueError
        There are fewer than two frames, or ``batch_size`` is below 2: one frame has no variance.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size must be 2 or more, not {batch_size}")
    if len(frames) < 2:
        raise ValueError(f"batch-norm statistics need 2 frames or more, not {len(frames)}")
    # of nearly one size: a last batch of one frame would count as much as all others
    num_batches = -(-len(frames) // batch_size)
    if len(frames) // num_batches < 2:
        num_batches -= 1
    update_bn(torch.tensor_split(frames, num_batches), model)
