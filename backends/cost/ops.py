"""Counts the multiply-accumulates of a Program, stage by stage.

``macs`` counts every tap, padding included, as publications do; ``executed`` counts the taps inside
the image, which is what the accelerator runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r2b.ir.program import (
    BinaryConv,
    Concat,
    Flatten,
    Gate,
    Identity,
    Multiply,
    Pad,
    Pool,
    Program,
    RealConv,
    SpatialScale,
    Stage,
    Window,
)

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
    """Operations of a stage's contraction, of its gate, and of the factors in its epilogue."""
    real = gate_macs(stage.gate) + factor_products(program, stage)
    return _contraction_ops(program, stage) + Ops(real=real, real_executed=real)


def factor_products(program: Program, stage: Stage) -> int:
    """Products with a stored tensor or a factor of each position, one for each value.

    The multiplications that requantise are no operations of the network and do not count.
    """
    factors = sum(isinstance(step, Multiply | SpatialScale) for step in stage.epilogue)
    return factors * prod(_accumulators(program, stage)) if factors else 0


def _accumulators(program: Program, stage: Stage) -> tuple[int, int, int]:
    """C, H, W of a stage's value before its maximum over a window."""
    if stage.pool is None:
        return stage.shape
    part, size = stage.contraction, source_shape(program, stage)[1:]
    match part:
        case BinaryConv() | RealConv() | Pool():
            presum = part.presum if isinstance(part, RealConv) else None
            size = presum.output_size(*size) if presum else size
            return stage.shape[0], *part.window.output_size(*size)
        case Pad(padding=(top, left, bottom, right)):
            return stage.shape[0], size[0] + top + bottom, size[1] + left + right
        case Flatten():
            return stage.shape[0], 1, 1
        case Identity() | Concat():
            return stage.shape[0], *size


def gate_macs(gate: Gate | None) -> int:
    """Products of a gate's two fully connected layers."""
    return 0 if gate is None else gate.hidden.weight.size + gate.out.weight.size


def head_ops(program: Program) -> Ops:
    """Operations of the last layer."""
    return Ops(real=program.head.weight.size, real_executed=program.head.weight.size)


def source_shapes(program: Program, stage: Stage) -> tuple[tuple[int, int, int], ...]:
    """C, H, W of every value that a stage contracts; more than one for a Concat."""
    conv = stage.contraction
    if isinstance(conv, BinaryConv):
        return (program.sign_shapes[conv.source],)
    names = conv.sources if isinstance(conv, Concat) else (conv.source,)
    return tuple(_shape(program, name) for name in names)


def source_shape(program: Program, stage: Stage) -> tuple[int, int, int]:
    """C, H, W of what a stage contracts: of a Concat, all its channels."""
    shapes = source_shapes(program, stage)
    return sum(shape[0] for shape in shapes), shapes[0][1], shapes[0][2]


def _shape(program: Program, name: str) -> tuple[int, int, int]:
    """C, H, W of the frame, a fixed tensor or a sign map."""
    if name == FRAME:
        return program.input_shape
    found = program.tensors.get(name)
    return program.sign_shapes[name] if found is None else found.shape


def _contraction_ops(program: Program, stage: Stage) -> Ops:
    """Products of a contraction; those that are no convolution only move, add or compare values."""
    match stage.contraction:
        case BinaryConv() | RealConv():
            return _conv_ops(program, stage, stage.contraction)
        case Pool() | Identity() | Pad() | Concat() | Flatten():
            return Ops()


def _conv_ops(program: Program, stage: Stage, conv: BinaryConv | RealConv) -> Ops:
    size = source_shape(program, stage)[1:]
    if isinstance(conv, RealConv) and conv.presum is not None:
        size = conv.presum.output_size(*size)
    outputs = conv.window.output_size(*size)
    per_tap = conv.weight.shape[0] * conv.weight.shape[1]
    nominal = per_tap * prod(conv.window.kernel) * prod(outputs)
    executed = per_tap * prod(_valid_taps(conv.window, size, axis) for axis in (0, 1))
    if isinstance(conv, BinaryConv):
        # A padding of -1 or +1 is met by every tap, so none is left out.
        executed = nominal if conv.padding_value else executed
        return Ops(binary=nominal, binary_executed=executed)
    return Ops(real=nominal, real_executed=executed)


def _valid_taps(window: Window, size: tuple[int, int], axis: int) -> int:
    """Pairs of an output and a tap along one axis whose tap lies inside the image."""
    outputs = window.output_size(*size)[axis]
    first = [out * window.stride[axis] - window.padding[axis] for out in range(outputs)]
    offsets = [tap * window.dilation[axis] for tap in range(window.kernel[axis])]
    return sum(0 <= start + offset < size[axis] for start in first for offset in offsets)
