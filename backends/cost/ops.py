"""Counts the multiply-accumulates of a Program, stage by stage.

``macs`` counts every tap, padding included, as publications do; ``executed`` counts the taps inside
the image, which is what the accelerator runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r2b.ir.program import BinaryConv, Gate, Program, RealConv, Stage, Window

FRAME = "frame"


@dataclass(frozen=True)
class Ops:
    """Multiply-accumulates for one frame.

    Parameters
    ----------
    binary, real : int
        Every tap, padding included.
    binary_executed, real_executed : int
        Taps inside the image.
    """

    binary: int = 0
    real: int = 0
    binary_executed: int = 0
    real_executed: int = 0

    def __add__(self, other: Ops) -> Ops:
        return Ops(
            self.binary + other.binary,
            self.real + other.real,
            self.binary_executed + other.binary_executed,
            self.real_executed + other.real_executed,
        )


def stage_ops(program: Program, stage: Stage) -> Ops:
    """Operations of a stage's contraction and of its gate."""
    gate = gate_macs(stage.gate)
    return _contraction_ops(program, stage) + Ops(real=gate, real_executed=gate)


def gate_macs(gate: Gate | None) -> int:
    """Products of a gate's two fully connected layers."""
    return 0 if gate is None else gate.hidden.weight.size + gate.out.weight.size


def head_ops(program: Program) -> Ops:
    """Operations of the last layer."""
    return Ops(real=program.head.weight.size, real_executed=program.head.weight.size)


def source_shape(program: Program, stage: Stage) -> tuple[int, int, int]:
    """C, H, W of what a stage contracts."""
    conv = stage.contraction
    if isinstance(conv, BinaryConv):
        return program.sign_shapes[conv.source]
    return program.input_shape if conv.source == FRAME else program.tensors[conv.source].shape


def _contraction_ops(program: Program, stage: Stage) -> Ops:
    conv = stage.contraction
    if not isinstance(conv, BinaryConv | RealConv):
        return Ops()
    size = source_shape(program, stage)[1:]
    if isinstance(conv, RealConv) and conv.presum is not None:
        size = conv.presum.output_size(*size)
    outputs = conv.window.output_size(*size)
    per_tap = conv.weight.shape[0] * conv.weight.shape[1]
    nominal = per_tap * prod(conv.window.kernel) * prod(outputs)
    executed = per_tap * prod(_valid_taps(conv.window, size, axis) for axis in (0, 1))
    if isinstance(conv, BinaryConv):
        return Ops(binary=nominal, binary_executed=executed)
    return Ops(real=nominal, real_executed=executed)


def _valid_taps(window: Window, size: tuple[int, int], axis: int) -> int:
    """Pairs of an output and a tap along one axis whose tap lies inside the image."""
    outputs = window.output_size(*size)[axis]
    first = [out * window.stride[axis] - window.padding[axis] for out in range(outputs)]
    offsets = [tap * window.dilation[axis] for tap in range(window.kernel[axis])]
    return sum(0 <= start + offset < size[axis] for start in first for offset in offsets)
