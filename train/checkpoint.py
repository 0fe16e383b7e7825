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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from r2b.frontend.loading import Loaded
from r2b.frontend.loading_files import FileKind, listed, open_file
from r2b.frontend.loading_pickles import unpickle
from r2b.frontend.loading_states import is_state_dict, misfit
from r2b.ir.errors import CheckpointError
from r2b.train import files
from r2b.train.zoo import build, untrained

FORMAT = "r2b-checkpoint/1"
REQUIRED_KEYS = ("format", "arch", "config", "state_dict")
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
        parse(content)
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
    try:
        files.put(path, data)
    except OSError as error:
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
        file = open_file(path)
        if file.kind is FileKind.EXPORTED:
            raise CheckpointError(f"this is a program of torch.export, no checkpoint; {WAY_OUT}")
        return parse(unpickle(file).content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__


def loaded(content: object) -> Loaded:
    """Make the network of a checkpoint's content, with its frames."""
    found = parse(content)
    network = module(found)
    return Loaded(found.arch, network, _input_shape(network), found.calibration)


def named(name: str, config: Mapping[str, Any]) -> Loaded:
    """Make an untrained network of the zoo: parameters of seed 0, statistics of frames of noise.

    Parameters
    ----------
    name : str
        In :data:`r2b.train.zoo.ARCHITECTURES`.
    config : mapping of str to object
        Its options.

    Raises
    ------
    CheckpointError
        The config does not fit the network.
    """
    network = untrained(name, config)
    note = f"{name} is untrained: parameters of a seed, batch norms that have seen noise"
    return Loaded(name, network, _input_shape(network), notes=(note,))


def unsettled(name: str, config: Mapping[str, Any]) -> Loaded:
    """Make a network of the zoo as :func:`named` does, batch norms without statistics.

    For what reads operations and shapes alone: no frame is run.

    Raises
    ------
    CheckpointError
        The config does not fit the network.
    """
    network = build(name, config).eval()
    return Loaded(name, network, _input_shape(network))


def _input_shape(network: nn.Module) -> tuple[int, int, int]:
    """Shape of a frame: every network of the zoo says it."""
    shape: Any = network.input_shape
    channels, height, width = shape
    return channels, height, width


def module(checkpoint: Checkpoint) -> nn.Module:
    """Make the network of ``checkpoint``, with its parameters, in eval mode."""
    network = _skeleton(checkpoint.arch, checkpoint.config)
    parameters = {key: value.clone() for key, value in checkpoint.state_dict.items()}
    network.load_state_dict(parameters, assign=True)
    return network.eval()


def _skeleton(arch: str, config: Mapping[str, Any]) -> nn.Module:
    # On the meta device: no memory for a config out of a strange file, no random numbers drawn.
    with torch.device("meta"):
        return build(arch, config)


def parse(content: object) -> Checkpoint:
    """Check the content of a model file.

    Raises
    ------
    CheckpointError
        It is no checkpoint, or its parts do not fit each other.
    """
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
    if is_state_dict(content):
        raise CheckpointError(
            f"this is a bare state_dict, which does not say which network it belongs to; {WAY_OUT}"
        )
    missing = [key for key in REQUIRED_KEYS if key not in content]
    if missing:
        raise CheckpointError(f"the file's dict lacks {listed(missing)}; {WAY_OUT}")
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
    problems = [f"lacks {listed(missing)}"] if missing else []
    problems += [f"has {listed(extra)}, which the network does not know"] if extra else []
    if not problems:
        problems = [
            problem for key in expected if (problem := _misfit(key, found[key], expected[key]))
        ]
    if problems:
        raise CheckpointError(
            f"the state_dict does not fit the network {arch}: it {listed(problems)}; "
            "save it from the network that arch and config name"
        )
    return dict(found)


def _misfit(key: str, found: object, expected: Tensor) -> str:
    """Say what is wrong with one entry; unlike a foreign state_dict's, its type is exact."""
    problem = misfit(key, found, expected)
    if problem or not isinstance(found, Tensor) or found.dtype == expected.dtype:
        return problem
    return f"has {key} in {_name(found.dtype)} where it must be {_name(expected.dtype)}"


def _parse_calibration(found: object, network: nn.Module) -> NDArray[np.uint8] | None:
    if found is None:
        return None
    channels, height, width = _input_shape(network)
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
