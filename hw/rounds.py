"""Parameters of the epilogue's rounds: widths and packed constants, from a Program's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data

from r2b.hw.descriptor import field_shape
from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.hw.halves import FRONT
from r2b.hw.loops import pack_fields
from r2b.ir.program import MULTIPLIER_BITS, Affine


@dataclass(frozen=True)
class RoundParams:
    """Widths and constants of one round, proved from a Program's own constants.

    Parameters
    ----------
    index : int
    lanes : int
        E.
    operand_width : int
        Bits of what is multiplied, signed.
    knot, offset : Shape
        Of the static steps' constants; offsets hold the rounding half too.
    shift_low, shift_bits : int
        Shifts are ``shift_low`` to ``shift_low + 2**shift_bits - 1``.
    sum_width : int
        Bits of ``operand * multiplier + offset``.
    gated, skip, multiply : bool
        Some stage of the network has this in this round; the first round always has the first two,
        but for a front's.
    out_width : int
        Bits of the round's values.
    rows : tuple of int
        The static constants, one row of ``lanes`` channels each, packed as ``layout``.
    spatial : tuple of int
        Factors of positions, one row per word of the feature memory; empty where there are none.
    table : tuple of int
        Entries of all tables; empty where there are none.
    logic : bool
        The static constants are to be made of LUTs.
    """

    index: int
    lanes: int
    operand_width: int
    knot: object
    offset: object
    shift_low: int
    shift_bits: int
    sum_width: int
    gated: bool
    skip: bool
    multiply: bool
    out_width: int
    rows: tuple[int, ...] = ()
    spatial: tuple[int, ...] = ()
    table: tuple[int, ...] = ()
    logic: bool = False

    @property
    def layout(self) -> data.ArrayLayout:
        """Static constants of one word of channels."""
        return data.ArrayLayout(
            data.StructLayout(
                {
                    "knot": self.knot,
                    "m0": signed(MULTIPLIER_BITS),
                    "m1": signed(MULTIPLIER_BITS),
                    "b0": self.offset,
                    "b1": self.offset,
                }
            ),
            self.lanes,
        )

    @property
    def latency(self) -> int:
        """Cycles from the round's operand to its value."""
        return ROUND + (len(self.table) > 0)


@dataclass(frozen=True)
class EpilogueParams:
    """Shape of the epilogue lanes.

    Parameters
    ----------
    lanes : int
        E.
    acc_width, value_width : int
        Bits of a sum and of a stored value (R), signed.
    rounds : tuple of RoundParams
    """

    lanes: int
    acc_width: int
    value_width: int
    rounds: tuple[RoundParams, ...]

    @property
    def latency(self) -> int:
        """Cycles from a drain request to its value: SUMS in the array, then the rounds."""
        return SUMS + sum(part.latency for part in self.rounds)

    def start(self, index: int) -> int:
        """Age of a request when a round's operand is there."""
        return SUMS + sum(part.latency for part in self.rounds[:index])


ROUND = 6
"""Cycles of a round: knot, product, offset, shift, skip, saturation; a table takes one more."""
SUMS = 5
"""Age of a request when its sums are there: of the array that runs, a cycle after they left it."""
CONSTANTS, GATE = 3, 2
"""Cycles from the address of a round's constants, and of a gate's slopes, until they are there."""
TOTAL, SHIFTED = 2, 4
"""Cycles from a round's operand until its offset is added, and until it is shifted."""
MEMORY = 3
"""Cycles from the feature memory's address to its word."""


def factor_layout(lanes: int) -> data.ArrayLayout:
    """Factors of a position for one word of channels."""
    return data.ArrayLayout(signed(MULTIPLIER_BITS), lanes)


def epilogue_params(geometry: ProgramGeometry, acc_width: int) -> EpilogueParams:
    """Widths and packed constants for a network."""
    plan, width = geometry.plan, acc_width
    rounds: list[RoundParams] = []
    for index in range(geometry.rounds):
        params = _round_params(geometry, index, width)
        rounds.append(params)
        width = params.out_width
    return EpilogueParams(plan.lanes, acc_width, plan.act_bits, tuple(rounds))


def signed_width(low: int, high: int) -> int:
    """Bits of a signed integer that holds both bounds."""
    return max(high.bit_length(), (~low).bit_length()) + 1


def _round_params(geometry: ProgramGeometry, index: int, width: int) -> RoundParams:
    """Widths and packed constants of a round; each step with its words of channels."""
    lanes = geometry.plan.lanes
    parts = [(conv.chain.round(index), conv) for conv in geometry.stages]
    steps = [(part.affine(conv.stage.shape[0]), conv.all_groups) for part, conv in parts]
    static = [step for step, _ in steps if not step.gated]
    halves = [step.offset + (1 << (step.shift - 1)) for step in static]
    knots = [v for step in static for v in step.knot.tolist()]
    offsets = [int(v) for half in halves for v in half.ravel()]
    shifts = [part.shift for part, _ in parts]
    widest = max((abs(v) for v in offsets), default=0) + (1 << max(shifts))
    limit = (1 << (width - 1)) * (1 << (MULTIPLIER_BITS - 1)) + widest
    last, usual = index == geometry.rounds - 1, index == 0 and geometry.side != FRONT
    ends = [end for conv in geometry.convs for end in conv.chain.round(index).reach]
    params = RoundParams(
        index, lanes, width, field_shape([-1, *knots]), field_shape([-1, *offsets]), min(shifts),
        (max(shifts) - min(shifts)).bit_length(), limit.bit_length() + 1,
        gated=usual,
        skip=usual or any(part.skip for part, _ in parts),
        multiply=any(part.multiply for part, _ in parts),
        logic=geometry.plan.constants == "logic",
        out_width=geometry.plan.act_bits if last else signed_width(min(ends), max(ends)),
    )  # fmt: skip
    rows: list[int] = []
    for step, groups in steps:
        if not step.gated:
            rows += _rows(params, step, groups)
    spatial = [row for part, conv in parts if part.spatial for row in spatial_rows(conv)]
    table = [int(v) for part, _ in parts if part.table for v in part.table.entries]
    return replace(params, rows=tuple(rows), spatial=tuple(spatial), table=tuple(table))


def spatial_rows(conv: ConvGeometry) -> list[int]:
    """A stage's factors of positions, in order of the words of its values."""
    factors, lanes = conv.chain.spatial.multiplier, conv.plan.lanes
    padded = np.zeros((conv.all_groups * lanes, conv.rows, conv.cols), np.int64)
    padded[: len(factors)] = factors
    words = padded.transpose(1, 2, 0).reshape(-1, lanes)
    return [pack_fields([(word, MULTIPLIER_BITS)]) for word in words.tolist()]


def _rows(params: RoundParams, step: Affine, groups: int) -> list[int]:
    """A stage's constants, ``lanes`` channels per row; surplus lanes hold zeros."""
    half = 1 << (step.shift - 1)
    columns = (
        step.knot, step.multiplier[0], step.multiplier[1], step.offset[0] + half,
        step.offset[1] + half,
    )  # fmt: skip
    widths = [field.width for _, field in params.layout.elem_shape]
    fields = list(zip((column.tolist() for column in columns), widths, strict=True))
    return [
        pack_fields([(values[at : at + params.lanes], width) for values, width in fields])
        for at in range(0, groups * params.lanes, params.lanes)
    ]
