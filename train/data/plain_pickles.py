"""Pickles of plain data and byte arrays, read without importing or running anything they name.

Python's own unpickler takes the opcodes apart; each name that a pickle may hold stands for a
function of this module. NumPy does not see what a pickle says before it was checked.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r2b.train.data.errors import DataError


class _Refused(Exception):
    """The pickle holds what is not permitted; the text names it."""


class _Type:
    """What a pickle says of an array's type."""

    def __init__(self, name: object = None, *rest: object) -> None:
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        if text not in ("u1", "|u1", "uint8"):
            raise _Refused(f"an array that is not of bytes (its type is {text!r:.40})")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: bytes have neither."""


class _Array:
    """What a pickle says of an array; ``values`` is the array."""

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        if not isinstance(kind, _Type) or not isinstance(data, bytes):
            raise _Refused("an array that is not of bytes")
        order = "F" if by_columns else "C"
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order=order)


class _Name:
    """A permitted name; it can be called, and nothing else."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("a change of a function")


def _array(kind: object, *start: object) -> _Array:
    return _Array()


def _no_call(*arguments: object) -> object:
    raise _Refused("a call of numpy.ndarray")


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused("a text in another encoding")
    return text.encode("latin-1")


_NAMES: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,  # before NumPy 2
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): _no_call,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        call = _NAMES.get((module_name, global_name))
        if call is None:
            raise _Refused(f"the name {module_name}.{global_name}"[:120])
        return _Name(call)


def read_table(data: bytes) -> dict[bytes, object]:
    """Read a pickled dict whose keys are texts of Python 2; texts stay bytes.

    Values may be plain data, and arrays of bytes in any shape (read-only).

    Raises
    ------
    DataError
        It is damaged, it is no dict, or it holds anything else; nothing in it was run.
    """
    try:
        _check_memo(data)
        found: object = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _Refused as error:
        raise DataError(
            f"the pickle holds {error}, which no data set needs; nothing in it was run"
        ) from error
    # damaged or hostile bytes make the unpickler raise nearly anything; all of it means: refused
    except Exception as error:
        raise DataError("the pickle is truncated or damaged") from error
    if not isinstance(found, dict):
        raise DataError(f"the pickle holds a {type(found).__name__}, not a dict")
    return {_key(key): _plain(value) for key, value in found.items()}


def _check_memo(data: bytes) -> None:
    """Refuse numbers of remembered objects that no pickle of this size has.

    The unpickler would make room for as many.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise _Refused("more objects than bytes")


def _key(key: object) -> bytes:
    if not isinstance(key, bytes | str):
        raise DataError(f"the pickle's dict has a {type(key).__name__} as a key, not a text")
    return key if isinstance(key, bytes) else key.encode()


def _plain(value: object) -> object:
    return value.values if isinstance(value, _Array) else value
