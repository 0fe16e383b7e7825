"""From a model file to the network in it, with what else the file says about it.

A file is looked at first (:mod:`r2b.frontend.loading_files`), then read by the way of its kind; no
way runs anything in it, unless the user trusts a pickle. The user's code is run in one case more:
the factory that ``--model`` names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.export import ExportedProgram

from r2b.frontend import importer
from r2b.frontend.capture import Capture
from r2b.frontend.loading_exported import load_exported
from r2b.frontend.loading_factory import make_module, parse_arguments
from r2b.frontend.loading_files import EXPORT_HINT, WAY_OUT, FileKind, open_file
from r2b.frontend.loading_pickles import unpickle
from r2b.frontend.loading_program import program_shape
from r2b.frontend.loading_states import NESTED, find_state_dict, load_states
from r2b.ir.errors import CheckpointError, UserError
from r2b.ir.graph import Graph

Shape = tuple[int, ...]
Network = nn.Module | ExportedProgram

MAX_PIXELS = 1 << 24
"""Values of a frame."""
CHECKPOINT_MARK = "r2b-checkpoint"
"""How the ``format`` of a checkpoint of our own begins."""


@dataclass(frozen=True)
class Request:
    """A model file and what the user says about it: the options of ``r2b-compile``.

    Parameters
    ----------
    path : Path
    factory : str or None
        ``package.module:factory`` that gives the network of a state_dict.
    arguments : str or None
        Its keywords: a JSON object, or ``key=value`` with commas between.
    trust_pickle : bool
        Let Python's unpickler run what the file asks for.
    """

    path: Path
    factory: str | None = None
    arguments: str | None = None
    trust_pickle: bool = False


@dataclass(frozen=True)
class Loaded:
    """A network out of a file.

    Parameters
    ----------
    name : str
        Of the network; not of the file, which may be renamed.
    network : nn.Module or ExportedProgram
        A module is in evaluation mode, in float32.
    shape : tuple of int or None
        Of a frame, ``(C, H, W)`` or ``(F,)``, where the file says so.
    frames : ndarray or None
        Calibration frames in the file.
    notes : tuple of str
        What was changed or run on the way; the user is to know.
    """

    name: str
    network: Network
    shape: Shape | None = None
    frames: npt.NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()


def load(request: Request, checkpoints: Callable[[object], Loaded]) -> Loaded:
    """Read a model file.

    Parameters
    ----------
    request : Request
    checkpoints : callable
        Makes the network of a checkpoint of our own from the file's content.

    Raises
    ------
    CheckpointError
        The file cannot be used; the text begins with its name.
    """
    try:
        arguments = parse_arguments(request.arguments)
        if request.factory is None and request.arguments is not None:
            raise CheckpointError("--model-args are for the factory that --model names; name it")
        return _load(request, arguments, checkpoints)
    except CheckpointError as error:
        raise CheckpointError(f"{request.path}: {error}") from error.__cause__


def _load(
    request: Request, arguments: dict[str, Any], checkpoints: Callable[[object], Loaded]
) -> Loaded:
    file = open_file(request.path)
    if file.kind is FileKind.EXPORTED:
        _refuse_factory(request, "an exported program, which holds its network")
        program = load_exported(file.data)
        return Loaded("network", program, program_shape(program))
    found = unpickle(file, request.trust_pickle)
    loaded = _network(request, arguments, found.content, checkpoints)
    if found.ran_code:
        note = f"{request.path} is a pickle that was run, because --trust-pickle says so"
        return replace(loaded, notes=(note, *loaded.notes))
    return loaded


def _network(
    request: Request,
    arguments: dict[str, Any],
    content: object,
    checkpoints: Callable[[object], Loaded],
) -> Loaded:
    """The network of what a file holds: a checkpoint, a module, or a state_dict."""
    if isinstance(content, dict) and str(content.get("format")).startswith(CHECKPOINT_MARK):
        _refuse_factory(request, "a checkpoint of r2b, which names its network")
        return checkpoints(content)
    module = _module_in(content)
    if module is not None:
        _refuse_factory(request, "a pickled module, which is its network")
        return Loaded(type(module).__name__, *_prepared(module))
    states = find_state_dict(content)
    if states is None:
        raise CheckpointError(f"{_content_text(content)}; {WAY_OUT}")
    if request.factory is None:
        raise CheckpointError(_nameless(*states))
    network = make_module(request.factory, arguments)
    where = (f"the state_dict stands under {states[1]!r}",) if states[1] else ()
    notes = (*where, *load_states(network, states[0]))
    loaded = Loaded(request.factory.rpartition(":")[2], *_prepared(network))
    return replace(loaded, notes=(*notes, *loaded.notes))


def _refuse_factory(request: Request, what: str) -> None:
    if request.factory is not None:
        raise CheckpointError(f"this is {what}; leave --model away")


def _module_in(content: object) -> nn.Module | None:
    if isinstance(content, nn.Module):
        return content
    if isinstance(content, dict):
        found = [content[key] for key in NESTED if isinstance(content.get(key), nn.Module)]
        return found[0] if len(found) == 1 else None
    return None


def _prepared(module: nn.Module) -> tuple[nn.Module, Shape | None]:
    """A module in evaluation mode and float32, and the shape it says its frames have."""
    shape = getattr(module, "input_shape", None)
    says = isinstance(shape, tuple | list) and all(type(size) is int for size in shape)
    return module.cpu().float().eval(), tuple(shape) if says and shape else None


def _content_text(content: object) -> str:
    if not isinstance(content, dict):
        return f"the file holds a {type(content).__name__}, no network"
    keys = ", ".join(f"{key!r:.30}" for key in list(content)[:6])
    return f"the file holds a dict without a state_dict (its keys: {keys or 'none'})"


def _nameless(states: dict[str, Any], where: str) -> str:
    """Show that a file is a state_dict, and say how its network is named."""
    first = list(states.items())[:3]
    names = ", ".join(f"{key} {'x'.join(map(str, value.shape))}".strip() for key, value in first)
    place = f" (under {where!r})" if where else ""
    return (
        f"this is a state_dict{place}: {len(states)} tensors without the network they belong to "
        f"({names}{', ...' if len(states) > 3 else ''}); name what makes it: --model "
        "PACKAGE.MODULE:FACTORY, with --model-args KEY=VALUE,... if it takes any, and "
        f"--input-shape CxHxW; or export the network: {EXPORT_HINT}"
    )


# --------------------------------------------------------------------------------------- importing


def parse_shape(text: str) -> Shape:
    """Shape of a frame from ``CxHxW``, or ``F`` for a vector.

    Raises
    ------
    UserError
        The text is neither, or a size is out of range.
    """
    parts = text.lower().replace("×", "x").split("x")
    sizes = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 9]
    if len(sizes) != len(parts) or len(sizes) not in (1, 3) or 0 in sizes:
        raise UserError(
            f"--input-shape takes CxHxW, or F for vectors, for example 3x32x32 or 784, not "
            f"{text!r:.60}"
        )
    if int(np.prod([float(size) for size in sizes])) > MAX_PIXELS:
        raise UserError(f"--input-shape {text}: a frame has {MAX_PIXELS:,} values at most")
    return tuple(sizes)


def import_network(network: object, example: object) -> Graph:
    """Import a network as :func:`import_and_capture` does, for the raw Graph alone."""
    return import_and_capture(network, example)[0]


def import_and_capture(network: object, example: object) -> tuple[Graph, Capture]:
    """Import a module or an exported program as a raw Graph, compared with PyTorch.

    Raises
    ------
    UserError
        It is neither, or cannot be imported.
    """
    if isinstance(network, ExportedProgram):
        return importer.import_and_capture_exported(network)
    if not isinstance(network, nn.Module):
        raise UserError(_no_network(network))
    return importer.import_and_capture(network, example)  # pyright: ignore[reportArgumentType]


def import_structure(network: object, shape: Shape) -> Graph:
    """Import a module or an exported program for its operations and shapes alone.

    Parameters
    ----------
    network : nn.Module or ExportedProgram
    shape : tuple of int
        Of a frame.

    Raises
    ------
    UserError
        It is neither, or cannot be imported.
    """
    if not isinstance(network, Network):
        raise UserError(_no_network(network))
    return importer.import_structure(network, torch.zeros(2, *shape))


def _no_network(network: object) -> str:
    return (
        f"the network must be a torch.nn.Module or an ExportedProgram, not a "
        f"{type(network).__name__}"
    )


def example_of(values: npt.NDArray[np.float64]) -> torch.Tensor:
    """Example input from what a network receives for frames."""
    return torch.from_numpy(values.astype(np.float32))


def example_shape(network: object, example: object) -> Shape:
    """Shape of a frame, from an example input, or from an exported program without one.

    Raises
    ------
    UserError
        There is no example, or it is no tensor of frames.
    """
    if example is None and isinstance(network, ExportedProgram):
        return program_shape(network)
    if not isinstance(example, torch.Tensor) or example.ndim not in (2, 4):
        found = (
            tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
        )
        raise UserError(
            f"the example input must be a float32 tensor N x C x H x W, or N x F, not {found}"
        )
    return tuple(example.shape[1:])
