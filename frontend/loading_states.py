"""A ``state_dict`` out of a file, put into the network the user names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from r2b.frontend.loading_files import listed
from r2b.ir.errors import CheckpointError

NESTED = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep a state_dict."""
PREFIXES = ("module", "_orig_mod", *NESTED)
"""What wrappers put before every name: DataParallel, torch.compile, a training module."""
MAX_EXPANDED = 1 << 24
"""Elements of a tensor that has fewer in memory."""

States = dict[str, Any]


def is_state_dict(content: object) -> bool:
    """Whether an object is a dict from names to tensors."""
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(key, str) for key in content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def find_state_dict(content: object) -> tuple[States, str] | None:
    """Find the state_dict in the content of a file, and the key it stands under, or None.

    Raises
    ------
    CheckpointError
        There are several.
    """
    if not isinstance(content, dict):
        return None
    if is_state_dict(content):
        return {str(key): value for key, value in content.items()}, ""
    found = {key: find_state_dict(content[key]) for key in NESTED if key in content}
    inner = {key: value for key, value in found.items() if value is not None}
    if len(inner) > 1:
        first = next(iter(inner))
        raise CheckpointError(
            f"the file holds several state_dicts, under {', '.join(inner)}; save the one that is "
            f"meant: torch.save(torch.load(FILE)[{first!r}], 'model.pt')"
        )
    for key, (states, deeper) in inner.items():
        return states, f"{key}.{deeper}" if deeper else key
    return None


def load_states(module: nn.Module, states: Mapping[str, Any]) -> list[str]:
    """Put a state_dict into a module, whole and nothing else; tell what had to be changed.

    Raises
    ------
    CheckpointError
        Names or shapes do not fit (all are told, with the nearest names), or values are not finite.
    """
    expected = module.state_dict()
    found, notes = _without_prefixes(states, expected)
    problems = _misnamed(found, expected) or _misfits(found, expected)
    if problems:
        raise CheckpointError(
            f"the state_dict does not fit the network: it {'; it '.join(problems)}; check --model "
            "and --model-args, or save it from this network"
        )
    converted = [key for key in found if found[key].dtype != expected[key].dtype]
    if converted:
        kinds = ", ".join(sorted({_name(found[key].dtype) for key in converted}))
        notes.append(f"{len(converted)} tensors were converted from {kinds} to float32")
    values = {key: value.to(expected[key].dtype) for key, value in found.items()}
    try:
        module.load_state_dict(values, strict=all(key in values for key in expected))
    except Exception as error:  # hooks of the user's modules
        text = " ".join(str(error).split())
        raise CheckpointError(f"the network refuses the state_dict: {text:.300}") from error
    return notes


def _without_prefixes(
    states: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> tuple[States, list[str]]:
    """Take off what wrappers put before every name, as far as the network's own names ask for it.

    The names of a compiled part hold ``_orig_mod`` in the middle; that is taken out too.
    """
    best, gone = dict(states), ""
    current, path = dict(states), ""
    while current:
        if _fits(current, expected) > _fits(best, expected):
            best, gone = current, path
        prefix = next(iter(current)).partition(".")[0]
        if prefix not in PREFIXES or not all(key.startswith(f"{prefix}.") for key in current):
            break
        current = {key[len(prefix) + 1 :]: value for key, value in current.items()}
        path += f"{prefix}."
    plain = {key.replace("._orig_mod.", "."): value for key, value in best.items()}
    if len(plain) == len(best) and _fits(plain, expected) > _fits(best, expected):
        best, gone = plain, gone or "_orig_mod."
    return best, [f"the prefix {gone} of the names was left away"] if gone else []


def _fits(states: Mapping[str, Any], expected: Mapping[str, Tensor]) -> int:
    return len(states.keys() & expected.keys())


def _misnamed(found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> list[str]:
    # a counter that nothing is computed from; old files lack it
    missing = [
        key for key in expected if key not in found and not key.endswith("num_batches_tracked")
    ]
    extra = [key for key in found if key not in expected]
    problems: list[str] = []
    if missing:
        problems.append(f"lacks {listed([_with_nearest(key, extra) for key in missing])}")
    if extra:
        problems.append(
            f"has {listed([_with_nearest(key, missing) for key in extra])}, which the network does "
            "not know"
        )
    return problems


def _with_nearest(key: str, others: list[str]) -> str:
    near = difflib.get_close_matches(key, others[:500], 1)
    return f"{key} (nearest: {near[0]})" if near else key


def _misfits(found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> list[str]:
    texts = {key: misfit(key, found[key], expected[key]) for key in found}
    problems = [text for text in texts.values() if text]
    return [listed(problems)] if problems else []


def misfit(key: str, found: object, expected: Tensor) -> str:
    """Say what is wrong with one entry of a state_dict, or return an empty string.

    Floating-point numbers of another width fit.
    """
    if not isinstance(found, Tensor):
        return f"has a {type(found).__name__} as {key}, no tensor"
    if not is_plain(found):
        return f"has no plain dense tensor as {key}"
    both_float = found.is_floating_point() and expected.is_floating_point()
    if found.dtype != expected.dtype and not both_float:
        return f"has {key} in {_name(found.dtype)} where it must be {_name(expected.dtype)}"
    if found.shape != expected.shape:
        return f"has {key} of shape {_shape(found)} where it must be {_shape(expected)}"
    if not bool(torch.isfinite(found.to(expected.dtype)).all()):
        return f"has {key} with values that are not finite"
    return ""


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, on the CPU, and as large in memory as its shape says."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.numel() <= max(held, MAX_EXPANDED)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"
