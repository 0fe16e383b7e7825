"""What an exported program says about itself, found out without computing anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram

from r2b.ir.errors import CheckpointError

MAX_ELEMENTS = 1 << 28
"""Of a value in the program, for two frames."""


def program_shape(program: ExportedProgram) -> tuple[int, ...]:
    """Shape of a frame, without the number of frames.

    Raises
    ------
    CheckpointError
        The program takes no single tensor of frames.
    """
    names = program.graph_signature.user_inputs
    found = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    if len(names) != 1 or not isinstance(found[0], torch.Tensor) or found[0].ndim not in (2, 4):
        raise CheckpointError(
            f"the exported program takes {len(names)} inputs; r2b compiles networks of one input, "
            "a float32 tensor N x C x H x W, or N x F"
        )
    sizes = tuple(found[0].shape[1:])
    if not all(isinstance(size, int) for size in sizes):
        raise CheckpointError(
            "the exported program takes frames of any size; export it with one: only the number "
            "of frames may be dynamic"
        )
    return tuple(int(size) for size in sizes)


def check_program(program: ExportedProgram, shape: tuple[int, ...]) -> None:
    """Go through a program with tensors that have a shape and no values.

    Raises
    ------
    CheckpointError
        A value is larger than that of any network.
    Exception
        The program does not fit itself, in PyTorch's words.
    """
    with FakeTensorMode() as mode:
        frames = torch.empty((_num_frames(program), *shape))
        known = {**program.state_dict, **program.constants}
        fixed = {
            spec.arg.name: mode.from_tensor(known[spec.target])
            for spec in program.graph_signature.input_specs
            if spec.target is not None
        }
        names = [node.name for node in program.graph.nodes if node.op == "placeholder"]
        _Sizes(program.graph_module).run(*(fixed.get(name, frames) for name in names))


def _num_frames(program: ExportedProgram) -> int:
    """Number of frames a program was exported with; two where it takes any."""
    name = next(iter(program.graph_signature.user_inputs))
    found: Any = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    return int(found.shape[0]) if isinstance(found.shape[0], int) else 2


class _Sizes(fx.Interpreter):
    """Runs a graph and refuses what is too large."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.numel() > MAX_ELEMENTS:
            raise CheckpointError(
                f"the exported program computes {value.numel():,} values in {n.name}; "
                f"{MAX_ELEMENTS:,} is the most"
            )
        return value
