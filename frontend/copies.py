"""Copies of modules: what the compiler runs is never the user's own module."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from r2b.ir.errors import UserError


def twin_of(module: nn.Module) -> nn.Module:
    """Copy a module with all it holds.

    Beyond ``copy.deepcopy``, tensors that were computed (old ``weight_norm`` keeps one in the
    module) are copied as values, and attributes that the user's code has put on parameters (the
    ``weight.org`` of the classic BNN code) go with them.

    Raises
    ------
    UserError
        The module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        twin = copy.deepcopy(module, memo)
        _copy_attributes(module, twin, memo)
    except Exception as error:
        raise UserError(
            f"the model cannot be copied: copy.deepcopy says {type(error).__name__}: {error}. The "
            "compiler runs a copy, so that the model stays as it is; keep what cannot be copied "
            "(open files, locks, generators) out of the module."
        ) from error
    return twin


def _copy_attributes(module: nn.Module, twin: nn.Module, memo: dict[int, Any]) -> None:
    """Copy what ``Parameter.__deepcopy__`` leaves out."""
    for mine, theirs in zip(_tensors(module), _tensors(twin), strict=True):
        for name, value in vars(mine).items():
            if name not in vars(theirs):
                setattr(theirs, name, _copied(value, memo))


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, torch.Tensor) and not value.is_leaf:
        return value.detach().clone()
    return copy.deepcopy(value, memo)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, each submodule back to its own afterwards."""
    training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, flag in training:
            part.training = flag


def evaluate_module(module: nn.Module, frames: torch.Tensor) -> tuple[Any, ...]:
    """Outputs of a module in evaluation mode; its forward may change the module."""
    with _evaluation(module), torch.no_grad():
        result = module(frames.clone())
    return tuple(result) if isinstance(result, tuple | list) else (result,)
