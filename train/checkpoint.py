"""Model files: one dict of plain data, written atomically, read without running anything in it.

The file is a zip archive of ``torch.save`` with the keys

- ``format``: ``"r2b-checkpoint/1"``;
- ``arch``: name of the network in :data:`r2b.train.zoo.ARCHITECTURES`;
- ``config``: dict of keywords for its builder;
- ``state_dict``: the network's ``state_dict()``;
- ``calibration``: uint8 tensor ``N x C x H x W`` of raw frames, or None, or absent.

Anything else is refused with one :class:`~r2b.ir.errors.CheckpointError`.
"""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from r2b.ir.errors import CheckpointError
from r2b.train.zoo import RealToBinary, build

FORMAT = "r2b-checkpoint/1"
REQUIRED_KEYS = ("format", "arch", "config", "state_dict")
ZIP_MAGIC = b"PK\x03\x04"
MAX_LISTED = 3

WAY_OUT = f"r2b reads {FORMAT} files, written with r2b.train.checkpoint.save()"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a model file.

    Parameters
    ----------
    arch : str
        Name of the network in the zoo.
    config : dict of str to object
        Keywords of its builder.
    state_dict : dict of str to Tensor
        Parameters and buffers.
    calibration : ndarray or None
        Raw frames, uint8, ``N x C x H x W``.
    """

    arch: str
    config: dict[str, Any]
    state_dict: dict[str, Tensor]
    calibration: NDArray[np.uint8] | None = None


def save(
    path: str | Path,
    *,
    arch: str,
    config: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    calibration: NDArray[np.uint8] | None = None,
) -> None:
    """Write a model file; what is refused on loading is refused here.

    The file appears complete or not at all, and equal content gives equal bytes.

    Parameters
    ----------
    path : str or Path
        The file to write or to replace; its folder exists.
    arch, config, state_dict, calibration
        As in :class:`Checkpoint`.

    Raises
    ------
    CheckpointError
        The parts do not fit each other, or the file cannot be written.
    """
    try:
        content = _content(arch, config, state_dict, calibration)
        _parse(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path} was not written: {error}") from error
    # Through memory: torch names the archive's folder after the file it writes to, and the name
    # of the temporary file must not become part of the bytes.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write_atomically(Path(path), buffer.getvalue())


def _content(
    arch: str,
    config: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    calibration: NDArray[np.uint8] | None,
) -> dict[str, object]:
    return {
        "format": FORMAT,
        "arch": arch,
        "config": dict(config),
        "state_dict": {key: value.detach().cpu() for key, value in state_dict.items()},
        "calibration": None if calibration is None else _calibration_tensor(calibration),
    }


def _calibration_tensor(frames: NDArray[np.uint8]) -> Tensor:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = getattr(frames, "dtype", type(frames).__name__)
        raise CheckpointError(f"calibration must be a uint8 array N x C x H x W, not {found}")
    return torch.from_numpy(np.ascontiguousarray(frames).copy())


def _write_atomically(path: Path, data: bytes) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} cannot be written: it is a folder")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error


def load(path: str | Path) -> Checkpoint:
    """Read a model file; nothing in it is executed.

    Raises
    ------
    CheckpointError
        The file is not a model file, or its parts do not fit each other.
    """
    path = Path(path)
    try:
        data = _read_archive(path)
        return _parse(_unpickle(data))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__


def module(checkpoint: Checkpoint) -> nn.Module:
    """Make the network of ``checkpoint``, with its parameters, in eval mode."""
    network = _skeleton(checkpoint.arch, checkpoint.config)
    parameters = {key: value.clone() for key, value in checkpoint.state_dict.items()}
    network.load_state_dict(parameters, assign=True)
    return network.eval()


def _skeleton(arch: str, config: Mapping[str, Any]) -> RealToBinary:
    # On the meta device: no memory for a config out of a strange file, no random numbers drawn.
    with torch.device("meta"):
        return build(arch, config)


def _read_archive(path: Path) -> bytes:
    try:
        data = _read_zip(path)
    except OSError as error:
        raise CheckpointError(f"the file cannot be read: {error.strerror or error}") from error
    _check_archive(data)
    return data


def _read_zip(path: Path) -> bytes:
    if not path.exists():
        raise CheckpointError(f"there is no such file; {WAY_OUT}")
    if not path.is_file():
        raise CheckpointError(f"this is not a regular file; {WAY_OUT}")
    with path.open("rb") as file:
        magic = file.read(len(ZIP_MAGIC))
        # First the magic: whatever else the file is, it may be huge.
        _check_magic(magic)
        return magic + file.read()


def _check_magic(magic: bytes) -> None:
    if not magic:
        raise CheckpointError(f"the file is empty; {WAY_OUT}")
    if magic.startswith(b"\x80"):
        raise CheckpointError(
            "the file is a bare Python pickle, which can run code when it is read, so it was "
            f"not read; {WAY_OUT}"
        )
    if magic != ZIP_MAGIC:
        raise CheckpointError(f"this is not a model file (it is no zip archive); {WAY_OUT}")


def _check_archive(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name.partition("/")[2] for name in archive.namelist()}
            damaged = archive.testzip()
    # zipfile raises many kinds on damaged bytes: BadZipFile, NotImplementedError, zlib.error, ...
    except Exception as error:
        raise CheckpointError(
            "the zip archive is truncated or damaged; copy the file again or train again"
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"the zip archive is damaged in {damaged!r}; copy the file again or train again"
        )
    _check_members(members)


def _check_members(members: set[str]) -> None:
    if "constants.pkl" in members:
        raise CheckpointError(f"this is a TorchScript archive, which holds code; {WAY_OUT}")
    if "archive_format" in members:
        raise CheckpointError(
            "this is an archive of torch.export (.pt2), a program without its network's name; "
            f"{WAY_OUT}"
        )
    if "data.pkl" not in members:
        raise CheckpointError(f"this zip archive is no model file (no data.pkl in it); {WAY_OUT}")


def _unpickle(data: bytes) -> object:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # Damaged or hostile bytes make torch raise nearly anything; all of it means: refused.
    except Exception as error:
        found = _unsafe_globals(data)
        if not found:
            raise CheckpointError(f"torch cannot read the file; {WAY_OUT}") from error
        raise CheckpointError(_unsafe_text(found)) from error


def _unsafe_globals(data: bytes) -> list[str]:
    # torch lists the names without importing or calling any of them.
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))
    except Exception:
        return []


def _unsafe_text(found: list[str]) -> str:
    kind = "objects that only running code could rebuild"
    if any(name.startswith("torch.nn.modules.") for name in found):
        kind = "a whole pickled nn.Module, which only running code could rebuild"
    return f"the file holds {kind} ({_listed(found)}); nothing in it was run; {WAY_OUT}"


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:MAX_LISTED])
    rest = len(names) - MAX_LISTED
    return f"{text} and {rest} more" if rest > 0 else text


def _parse(content: object) -> Checkpoint:
    if not isinstance(content, dict):
        raise CheckpointError(f"the file holds a {type(content).__name__}, no dict; {WAY_OUT}")
    _check_keys(content)
    arch, config = content["arch"], content["config"]
    if not isinstance(arch, str):
        raise CheckpointError(f"arch must be a string, not {type(arch).__name__}; {WAY_OUT}")
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise CheckpointError(f"config must be a dict with strings as keys; {WAY_OUT}")
    network = _skeleton(arch, config)
    state_dict = _parse_state_dict(arch, content["state_dict"], network.state_dict())
    calibration = _parse_calibration(content.get("calibration"), network)
    return Checkpoint(arch, config, state_dict, calibration)


def _check_keys(content: dict[Any, Any]) -> None:
    if "format" not in content and content and all(map(torch.is_tensor, content.values())):
        raise CheckpointError(
            f"this is a bare state_dict, which does not say which network it belongs to; {WAY_OUT}"
        )
    missing = [key for key in REQUIRED_KEYS if key not in content]
    if missing:
        raise CheckpointError(f"the file's dict lacks {_listed(missing)}; {WAY_OUT}")
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"the file's format is {content['format']!r:.80}; {WAY_OUT}, so save it again, or "
            "update r2b if the file is newer"
        )


def _parse_state_dict(
    arch: str, found: object, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise CheckpointError(f"state_dict must be a dict, not {type(found).__name__}; {WAY_OUT}")
    missing = [key for key in expected if key not in found]
    extra = [str(key) for key in found if key not in expected]
    problems = [f"lacks {_listed(missing)}"] if missing else []
    problems += [f"has {_listed(extra)}, which the network does not know"] if extra else []
    if not problems:
        problems = [
            problem for key in expected if (problem := _misfit(key, found[key], expected[key]))
        ]
    if problems:
        raise CheckpointError(
            f"the state_dict does not fit the network {arch}: it {_listed(problems)}; "
            "save it from the network that arch and config name"
        )
    return dict(found)


def _misfit(key: str, found: object, expected: Tensor) -> str:
    """Say what is wrong with one entry of a state dict, or return an empty string."""
    if not isinstance(found, Tensor):
        return f"has a {type(found).__name__} as {key}, no tensor"
    if found.layout != torch.strided or found.device.type != "cpu" or found.is_quantized:
        return f"has no plain dense tensor as {key}"
    if found.dtype != expected.dtype:
        return f"has {key} in {_name(found.dtype)} where it must be {_name(expected.dtype)}"
    if found.shape != expected.shape:
        return f"has {key} of shape {_shape(found)} where it must be {_shape(expected)}"
    if not bool(torch.isfinite(found).all()):
        return f"has {key} with values that are not finite"
    return ""


def _parse_calibration(found: object, network: RealToBinary) -> NDArray[np.uint8] | None:
    if found is None:
        return None
    channels, height, width = network.input_shape
    rule = f"calibration must be a uint8 tensor N x {channels} x {height} x {width}, N >= 1"
    way_out = "store raw frames, or None"
    if not isinstance(found, Tensor) or found.layout != torch.strided:
        raise CheckpointError(f"{rule}, not a {type(found).__name__}; {way_out}")
    fits = found.dim() == 4 and len(found) > 0 and found.shape[1:] == (channels, height, width)
    if found.dtype != torch.uint8 or not fits or found.device.type != "cpu":
        raise CheckpointError(f"{rule}, not {_name(found.dtype)} {_shape(found)}; {way_out}")
    return found.numpy()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"
