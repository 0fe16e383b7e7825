"""The network that the user names: ``package.module:factory``, and what it is called with.

This is the only place where a user's code is run on the user's word; the current folder can be
imported from meanwhile, and only then.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from torch import nn

from r2b.frontend.loading_files import listed
from r2b.ir.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_WORDS = {"True": True, "False": False, "None": None}
_OPENING, _CLOSING = "([{", ")]}"


@contextmanager
def user_code() -> Iterator[None]:
    """Let the block import from the current folder; what it prints goes to standard error."""
    here, writes = str(Path.cwd()), sys.dont_write_bytecode
    sys.path.insert(0, here)
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.dont_write_bytecode = writes
        os.chdir(here)  # a relative -o means the user's folder, wherever the factory went
        if here in sys.path:
            sys.path.remove(here)


def make_module(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Call the factory ``package.module:factory`` with keywords.

    Raises
    ------
    CheckpointError
        There is no such factory, it fails, or gives no ``nn.Module``.
    """
    if _NAME.fullmatch(name) is None:
        raise CheckpointError(
            f"--model takes PACKAGE.MODULE:FACTORY, for example models.resnet:resnet18, not "
            f"{name!r:.80}"
        )
    with user_code():
        factory = _find(name)
        if isinstance(factory, nn.Module):
            if arguments:
                raise CheckpointError(f"{name} is a module already; leave --model-args away")
            return factory
        made = _call(name, factory, arguments)
    if not isinstance(made, nn.Module):
        raise CheckpointError(
            f"{name} gives a {type(made).__name__}, no torch.nn.Module; name a function or class "
            "that gives the network"
        )
    return made


def _find(name: str) -> Any:
    place, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise CheckpointError(f"{place} cannot be imported: {_told(error)}") from error
        raise CheckpointError(
            f"there is no Python module {error.name}; run r2b-compile in the folder that holds it, "
            "or set PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise CheckpointError(f"{place} cannot be imported: {_told(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [key for key, value in vars(found).items() if callable(value)]
            known = listed(sorted(key for key in names if not key.startswith("_")), 12) or "nothing"
            raise CheckpointError(f"{place} has no {part}; to be called there: {known}")
        found = getattr(found, part)
    return found


def _call(name: str, factory: Any, arguments: Mapping[str, Any]) -> object:
    if not callable(factory):
        raise CheckpointError(f"{name} is a {type(factory).__name__}, which cannot be called")
    try:
        return factory(**arguments)
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={value!r:.40}" for key, value in arguments.items())
        raise CheckpointError(
            f"{name}({given}) fails: {_told(error)}; its arguments are given with --model-args"
        ) from error


def _told(error: BaseException) -> str:
    """An exception of the user's code in one line, with the place where it was raised."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{text:.300}{place}"


# ---------------------------------------------------------------------------------------- arguments


def parse_arguments(text: str | None) -> dict[str, Any]:
    """Keywords from a JSON object, or from ``key=value`` with commas between.

    A value is a JSON value, ``True``, ``False``, ``None``, or else the text it is.

    Raises
    ------
    CheckpointError
        The text is neither.
    """
    if text is None or not text.strip():
        return {}
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"--model-args is no JSON object: {error}") from error
        return _checked(found)
    pairs = [item.partition("=") for item in _split(text)]
    if any(not equals for _, equals, _ in pairs):
        raise CheckpointError(
            f"--model-args takes a JSON object or KEY=VALUE,KEY=VALUE, not {text!r:.80}"
        )
    return _checked({key.strip(): _value(value.strip()) for key, _, value in pairs})


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    wrong = [key for key in found if not key.isidentifier()]
    if wrong:
        raise CheckpointError(f"--model-args: {wrong[0]!r:.60} is no name of an argument")
    return found


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if text[:1] in ('"', *_OPENING):
            raise CheckpointError(f"--model-args: {text!r:.60} is no JSON value") from None
        return text
