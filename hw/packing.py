"""Two products in one DSP block: when they fit, which elements share one, how weights are stored.

Two processing elements multiply the same activation, so one product holds both::

    a * (w0 + (w1 << field)) = a * w0 + (a * w1 << field)

``a * w0`` must fit into ``field`` bits, signed: with ``A`` bits of activation and weights of ``W``
bits that are never ``-2**(W-1)``, ``|a * w0| <= 2**(A-1) * (2**(W-1) - 1) < 2**(A+W-2)``, so
``field = A + W - 1`` is enough for every value that ``A`` wires can have. The factor then has
``field + W`` bits and the DSP block's wide port must take as many. Below the bits of w1 stands the
sign of w0, so that the factor's upper part is ``w1 - (w0 < 0)``; that is what the weight memory
holds, and the factor costs no logic. It fits ``W`` bits since w1 is never ``-2**(W-1)`` either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from r2b.hw.devices import device
from r2b.hw.loops import PIXEL_BITS
from r2b.hw.plan import Plan
from r2b.ir.program import RealConv

WIDE_PORTS = {"ecp5": ("MULT18X18D", 18), "xc7": ("DSP48E1", 25), "xcup": ("DSP48E2", 27)}
"""Family -> its DSP block, and the bits of the wider one of its signed operands."""
FEWEST_ACT_BITS = 8


def operand_width(act_bits: int, sum_bits: int = 0) -> int:
    """Bits of an operand of the MAC array, signed: a pixel less its zero point, a value, or a sum
    of values that is ``sum_bits`` wider.
    """
    return max(PIXEL_BITS, act_bits + sum_bits)


def field_of(a_width: int, w_width: int) -> int:
    """Bits of the lower product."""
    return a_width + w_width - 1


def widest_operand(family: str, w_width: int) -> int:
    """Bits of an activation of which a family's DSP block takes two products."""
    return WIDE_PORTS[family][1] - 2 * w_width + 1


def pairs_of(plan: Plan) -> tuple[int, ...]:
    """First of the two elements of the MAC array that share DSP blocks, for every pair."""
    return () if plan.mac_packing == 1 else pairs(plan.mac_out, plan.hop, plan.lut_macs)


def pairs(elements: int, hop: int, luts: int) -> tuple[int, ...]:
    """The same where all that can be are paired.

    Both elements have the same forwarding register; the first ``luts`` elements have no DSP block,
    and the last one of a register stays alone where their number is odd.
    """
    found: list[int] = []
    for first in range(0, elements, hop):
        last = min(first + hop, elements)
        found += range(max(first, luts), last - 1, 2)
    return tuple(found)


def stored(vectors: np.ndarray, first: Sequence[int]) -> np.ndarray:
    """Weights [..., elements, lanes] as the memory holds them: ``w1 - (w0 < 0)`` in place of w1."""
    found = vectors.copy()
    low = np.asarray(first, dtype=np.int64)
    found[..., low + 1, :] -= vectors[..., low, :] < 0
    return found


def unpackable(
    convs: Sequence[tuple[str, RealConv]], plan: Plan, side: str, act_bits: int, sum_bits: int
) -> Iterator[str]:
    """Why the products of these convolutions, with their stages, do not fit in a Plan's pairs.

    ``side`` is ``front`` where they are a front's, of which the Plan is, too.
    """
    if plan.mac_packing == 2 and convs:
        for text in misfits(convs, act_bits, device(plan.device).family, sum_bits):
            yield text.replace("mac_packing", "front_packing") if side == "front" else text


def misfits(
    convs: Sequence[tuple[str, RealConv]], act_bits: int, family: str, sum_bits: int = 0
) -> Iterator[str]:
    """Why they do not fit in pairs, on a family's DSP blocks."""
    w_width = max((conv.weight_bits for _, conv in convs), default=8)
    problem = too_wide(act_bits, w_width, family, sum_bits)
    if problem is not None:
        yield problem
        return
    least = -(1 << (w_width - 1))
    for name, conv in convs:
        if conv.weight.min() <= least:
            yield (
                f"{name}: mac_packing 2 needs weights from {least + 1} to {-least - 1}, not "
                f"{least}; choose mac_packing 1"
            )


def too_wide(act_bits: int, w_width: int, family: str, sum_bits: int = 0) -> str | None:
    """Why a family's DSP block does not take two products of such a width, if it does not."""
    block, port = WIDE_PORTS[family]
    a_width, most = operand_width(act_bits, sum_bits), widest_operand(family, w_width)
    if a_width <= most:
        return None
    able = most >= operand_width(FEWEST_ACT_BITS, sum_bits)
    ways = ["mac_packing 1"]
    if sum_bits:
        ways.insert(0, "no presum_buffer")
    if able:
        ways.insert(0, f"--act-bits {most - sum_bits} or less")
    way = ", or ".join(ways)
    return (
        f"mac_packing 2: two products of {a_width}-bit operands and {w_width}-bit weights need a "
        f"factor of {field_of(a_width, w_width) + w_width} bits, {block} takes {port}; choose {way}"
    )


__all__ = [
    "field_of",
    "misfits",
    "operand_width",
    "pairs",
    "pairs_of",
    "stored",
    "too_wide",
    "unpackable",
    "widest_operand",
]
