"""The object in a file of ``torch.save``: tensors and plain data, and other things only if trusted.

PyTorch's restricted unpickler (``weights_only``) is always tried first; whatever it refuses is not
run. Only where the user trusts the file, and only where that is needed, Python's own takes over.
"""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import dataclass

import torch

from r2b.frontend.loading_factory import user_code
from r2b.frontend.loading_files import EXPORT_HINT, WAY_OUT, FileKind, ModelFile, listed
from r2b.ir.errors import CheckpointError

_WAYS_OUT = (
    "save the parameters alone, torch.save(model.state_dict(), 'model.pt'), and name the network "
    f"with --model PACKAGE.MODULE:FACTORY; or export it: {EXPORT_HINT}; or, if you know where the "
    "file is from, --trust-pickle runs it"
)


@dataclass(frozen=True)
class Unpickled:
    """What a file held.

    Parameters
    ----------
    content : object
    ran_code : bool
        It was trusted, and Python's own unpickler ran.
    """

    content: object
    ran_code: bool = False


def unpickle(file: ModelFile, trust: bool = False) -> Unpickled:
    """Read the object of a file of ``torch.save``; nothing in it is run unless ``trust``.

    Raises
    ------
    CheckpointError
        It is damaged, or holds what only running code could rebuild, or that code fails.
    """
    if file.kind is FileKind.PICKLE:
        if trust:
            return Unpickled(_run(file), ran_code=True)
        raise CheckpointError(
            f"the file is {file.kind.value}, which can run code when it is read, so it was not "
            f"read; {_WAYS_OUT}"
        )
    try:
        return Unpickled(_load(file.data, weights_only=True))
    # damaged or hostile bytes make torch raise nearly anything; all of it means: refused
    except Exception as error:
        found = unsafe_globals(file)
        if not found:
            raise CheckpointError(f"torch cannot read the file; {WAY_OUT}") from error
        if not trust:
            raise CheckpointError(_refusal(found)) from error
    return Unpickled(_run(file), ran_code=True)


def _load(data: bytes, weights_only: bool) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=weights_only)


def unsafe_globals(file: ModelFile) -> list[str]:
    """Names that a file would import beyond tensors; none of them is imported or called."""
    if file.kind is FileKind.LEGACY:
        return [f"it is {file.kind.value}"]  # PyTorch lists names of archives only
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(file.data)))
    except Exception:
        return []


def _refusal(found: list[str]) -> str:
    kind = "objects that only running code could rebuild"
    if any(name.startswith("torch.nn.modules.") for name in found):
        kind = "a whole pickled nn.Module, which only running code could rebuild"
    return f"the file holds {kind} ({listed(found)}); nothing in it was run; {_WAYS_OUT}"


def _run(file: ModelFile) -> object:
    """Unpickle with Python's own unpickler, which the user asked for."""
    try:
        with user_code():
            if file.kind is FileKind.PICKLE:
                return pickle.loads(file.data)
            return _load(file.data, weights_only=False)
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"the pickle needs the Python module {error.name}, which is not installed and not in "
            "the current folder; run r2b-compile where the model's code is, or set PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise CheckpointError(
            f"the pickle needs a class that is not where it was: {error}; classes defined in the "
            "training script itself cannot be found again: save the parameters alone, "
            "torch.save(model.state_dict(), 'model.pt'), and name the network with --model"
        ) from error
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(f"the trusted pickle cannot be read: {text:.300}") from error
