"""Bits that each stage keeps: its weights, and the values it writes for later stages."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r2b.ir.program import BinaryConv, Gate, Program, RealConv, Stage

DENSE_BITS = 8
"""Width of a weight of a gate's layers and of the head."""


@dataclass(frozen=True)
class StageMemory:
    """Bits of one stage.

    Parameters
    ----------
    binary_weights, real_weights : int
        Of the contraction and of the gate; constants of the epilogue are not counted.
    tensor, signs : int
        Of the fixed tensor and of the sign maps that the stage writes.
    """

    binary_weights: int = 0
    real_weights: int = 0
    tensor: int = 0
    signs: int = 0

    def __add__(self, other: StageMemory) -> StageMemory:
        return StageMemory(
            self.binary_weights + other.binary_weights,
            self.real_weights + other.real_weights,
            self.tensor + other.tensor,
            self.signs + other.signs,
        )


def stage_memory(program: Program, stage: Stage) -> StageMemory:
    """Bits of a stage."""
    binary = real = 0
    match stage.contraction:
        case BinaryConv(weight=weight):
            binary = weight.size
        case RealConv(weight=weight, weight_bits=bits):
            real = weight.size * bits
        case _:
            pass
    return StageMemory(
        binary,
        real + gate_bits(stage.gate),
        prod(stage.shape) * program.act_bits if stage.tensor else 0,
        sum(prod(program.sign_shapes[sink.name]) for sink in stage.signs),
    )


def gate_bits(gate: Gate | None) -> int:
    """Bits of the weights of a gate's two layers."""
    return 0 if gate is None else (gate.hidden.weight.size + gate.out.weight.size) * DENSE_BITS


def head_memory(program: Program) -> StageMemory:
    """Bits of the last layer's weights."""
    return StageMemory(real_weights=program.head.weight.size * DENSE_BITS)
