"""Chooses a Plan: parallelism, lanes, buffers and memory map for a Program on a device."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

from r2b.backends.cost.resources import estimate
from r2b.backends.fpga.memory_map import map_signs, map_tensors
from r2b.hw import packing
from r2b.hw.devices import DEVICES, RAM18_BITS, Device, device
from r2b.hw.geometry import ProgramGeometry, ceil_div
from r2b.hw.loops import unread_rows
from r2b.hw.passes import FRAME, passes_of
from r2b.hw.plan import OPTIONAL, PIXELS, Plan
from r2b.hw.support import check_supported
from r2b.ir.errors import PlanError
from r2b.ir.program import Program, RealConv

SHARES = {"LUT": 0.7, "FF": 0.7, "RAM18": 0.95, "DSP": 0.95}
"""Share of a device that a default Plan may use; placing and routing need the rest."""
MAC_SHARE = 0.6
"""Share of the DSPs that the MAC array takes where nothing else wants them."""
FEW_GATE_MACS = 4
LEAST_LANES = 4
"""Epilogue lanes of a default Plan, unless the device has too few DSPs for them."""
LARGEST_LEGAL = 1024
"""Largest P_in and P_out that are taken at all; larger ones fit no device in the table."""
SHAPES = sorted(
    ((2**i, 2**j) for i in range(7) for j in range(7)),
    key=lambda s: (-s[0] * s[1], abs(s[0] - s[1]), -s[0]),
)
"""What is tried without a given parallelism: the largest first, of these the squarest."""


def parse_parallelism(text: str) -> tuple[int, ...]:
    """(P_in, P_out) of a text like ``64x64``, (P_in, P_out, P_px) of one like ``64x64x2``."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)(?:x([0-9]+))?", text.strip().lower())
    sizes = tuple(int(n) for n in match.groups() if n is not None) if match else ()
    if not sizes or 0 in sizes[:2] or any(px not in PIXELS for px in sizes[2:]):
        raise PlanError(
            "parallelism must be PINxPOUT with two positive integers, for example 64x64, or "
            f"PINxPOUTxPPX with {_among(PIXELS)} pixels at a time, for example 64x64x2, "
            f"not {text!r}"
        )
    return sizes


def _among(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"


def make_plan(
    program: Program,
    device_name: str = "xc7z020",
    clock_mhz: float | None = None,
    parallelism: tuple[int, ...] | None = None,
    **changes,
) -> Plan:
    """A Plan for ``program``; ``changes`` replace single parameters.

    ``parallelism`` is (P_in, P_out), or (P_in, P_out, P_px).

    Without ``parallelism`` the largest powers of two up to 64 x 64 with which the estimated LUTs,
    flip-flops, block RAM and DSPs fit the device, weights streamed if they do not fit on chip; with
    it, :func:`misfits` says what does not.

    Raises
    ------
    PlanError
        A change is illegal, or nothing fits.
    """
    check_supported(program)  # names what is not built before anything is chosen for it
    target = device(device_name)
    changes = {"clock_mhz": float(clock_mhz or target.clock_mhz), **changes}
    if parallelism is None:
        return _largest_fitting(program, target, changes)
    if max(parallelism[:2]) > LARGEST_LEGAL:
        raise PlanError(
            f"an array of {parallelism[0]}x{parallelism[1]} is beyond what r2b builds "
            f"({LARGEST_LEGAL} each way); choose a smaller --parallelism"
        )
    p_in, p_out, *pixels = parallelism
    changes = {"p_px": pixels[0]} | changes if pixels else changes
    plan = _plan(program, target, (p_in, p_out), changes)
    if plan.weights == "stream" and not {"vector", "gate_macs"} & set(changes):
        return _with_room(program, plan, changes)
    return plan


def _with_room(program: Program, plan: Plan, changes: dict[str, Any]) -> Plan:
    """The Plan, the vector unit streamed too if there is too little block RAM for its weights."""
    if "RAM18" not in {lack.resource for lack in misfits(program, plan, SHARES)}:
        return plan
    target, shape = device(plan.device), (plan.p_in, plan.p_out)
    return _plan(program, target, shape, changes | {"vector": "stream"})


def _plan(
    program: Program, target: Device, shape: tuple[int, int], changes: dict[str, Any]
) -> Plan:
    """The usual parameters for an array, and the changes."""
    p_in, p_out = shape
    px = changes.get("p_px", 1)
    lanes = changes.get("lanes") or _lanes(program, p_in, p_out, px)
    mac_out = changes.get("mac_out") or _mac_out(lanes, target, changes)
    streamed = changes.get("weights") == "stream"
    bus = changes.get("weight_word") or (64 * px if streamed else _word(p_in * p_out, 16))
    depth = changes.get("tile_pixels") or (32 if target.family == "ecp5" else 64)
    gate_macs = 16 if target.dsps >= 100 else FEW_GATE_MACS
    if changes.get("vector") == "stream":
        gate_macs = bus // 8
    base = {
        "device": target.name,
        "clock_mhz": target.clock_mhz,
        "act_bits": program.act_bits,
        "p_in": p_in,
        "p_out": p_out,
        "lanes": lanes,
        "mac_out": mac_out,
        "tile_pixels": depth,
        "weight_word": bus,
        "mac_weight_word": bus if streamed else _word(8 * lanes * mac_out, 8),
        "weights": "chip",
        "gate_macs": gate_macs,
        # as large networks want it, unless sums are too wide for two products in a DSP block
        "presum_buffer": changes.get("vector") == "stream" and changes.get("mac_packing") != 2,
        "line_words": _line_words(program, lanes, depth),
    }
    unknown = sorted(set(changes) - set(base) - OPTIONAL)
    if unknown:
        raise PlanError(f"unknown Plan parameter {', '.join(unknown)}")
    return with_memory_map(program, Plan(**(base | changes)))


# ---------------------------------------------------------------------------------------- what fits


@dataclass(frozen=True)
class Misfit:
    """A resource of which a Plan needs too much.

    Parameters
    ----------
    resource : str
    need, have : int
        Estimated, and the device's.
    """

    resource: str
    need: int
    have: int

    def __str__(self) -> str:
        return f"{self.need:,} {self.resource} of {self.have:,}"


def misfits(program: Program, plan: Plan, shares: dict[str, float] | None = None) -> list[Misfit]:
    """Resources of which the Plan needs more than the device has, or than a share of it."""
    return lacking(estimate(program, plan).needs(), device(plan.device), shares)


def lacking(
    needs: dict[str, int], target: Device, shares: dict[str, float] | None = None
) -> list[Misfit]:
    """Resources of which more is needed than the device has, or than a share of it."""
    has = target.has()
    return [
        Misfit(name, need, has[name])
        for name, need in needs.items()
        if need > has[name] * (1.0 if shares is None else shares[name])
    ]


def misfit_warning(program: Program, plan: Plan) -> str | None:
    """What a user is to know of a Plan that does not fit; None if it fits."""
    found = misfits(program, plan)
    if not found:
        return None
    ways = [f"a larger --device ({_larger(found)})"] if _larger(found) else []
    return (
        f"the Plan does not fit {plan.device}: it needs {', '.join(map(str, found))}, as "
        f"estimated; choose {' or '.join(['a smaller --parallelism', *ways])}"
    )


def _larger(found: list[Misfit]) -> str:
    """Devices that have enough of what is lacking."""
    return ", ".join(
        name
        for name, target in DEVICES.items()
        if all(target.has()[lack.resource] >= lack.need for lack in found)
    )


def _largest_fitting(program: Program, target: Device, changes: dict[str, Any]) -> Plan:
    """The first Plan within SHARES: the largest array, then as many multipliers as are left."""
    found: list[Misfit] = []
    for attempt in _attempts(changes):
        for shape in _shapes(attempt.get("lanes")):
            plan = _plan(program, target, shape, attempt)
            found = misfits(program, plan, SHARES)
            multipliers = [lack.resource for lack in found] == ["DSP"]
            usual, ways = plan, _ways(program, target, attempt) if multipliers else []
            for way in ways:
                plan = _with_fewer_multipliers(program, usual, attempt | way)
                found = misfits(program, plan, SHARES)
                if not found:
                    break
            if [lack.resource for lack in found] == ["RAM18"] and "constants" not in changes:
                plan = _plan(program, target, shape, attempt | {"constants": "logic"})
                found = misfits(program, plan, SHARES)
            if not found:
                return plan
            if _too_much_memory(program, plan) or (multipliers and plan.lanes <= LEAST_LANES):
                break  # a smaller array needs no less of it
    raise PlanError(_nothing_fits(target, found))


def _attempts(changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Weights on chip, else the arrays' streamed, else all; the usual lanes, else fewer."""
    sources = [{}] if "weights" in changes else [{}, {"weights": "stream"}]
    if changes.get("weights") != "chip" and not {"vector", "gate_macs"} & set(changes):
        sources.append({"weights": "stream", "vector": "stream"})
    lanes = [{}] if "lanes" in changes else [{}, {"lanes": 2}, {"lanes": 1}]
    return [changes | source | few for source in sources for few in lanes]


def _shapes(lanes: int | None) -> list[tuple[int, int]]:
    """Arrays that so many lanes divide; all of them, to be refused, where there is none."""
    if lanes is None:
        return [shape for shape in SHAPES if min(shape) >= LEAST_LANES]
    return [s for s in SHAPES if s[0] % lanes == s[1] % lanes == 0] or SHAPES


def _ways(program: Program, target: Device, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Two products in a DSP where the Program's fit, else one."""
    parts = [(s.name, part.conv) for s in program.stages for part in passes_of(program, s)]
    reals = [(name, conv) for name, conv in parts if isinstance(conv, RealConv)]
    if "mac_packing" in changes or any(packing.misfits(reals, program.act_bits, target.family)):
        return [{}]
    return [{"mac_packing": 2}, {}]


def _with_fewer_multipliers(program: Program, plan: Plan, changes: dict[str, Any]) -> Plan:
    """The Plan with the MACs that the DSPs allow, in the gate first where they allow but few."""
    target, lanes = device(plan.device), plan.lanes
    allowed = int(SHARES["DSP"] * target.dsps)
    fewer = {FEW_GATE_MACS, 1} if plan.vector == "chip" else set()
    for gate_macs in sorted({plan.gate_macs, *fewer}, reverse=True):
        fewest = lanes * max(1, ceil_div(changes.get("lut_macs", 0), lanes))
        least = {"mac_out": fewest, "gate_macs": gate_macs, **changes}
        smaller = _plan(program, target, (plan.p_in, plan.p_out), least)
        spare = allowed - estimate(program, smaller).needs()["DSP"]
        if spare >= 0:
            most = max(plan.mac_out, _mac_out(lanes, target, changes))
            least["mac_out"] = changes.get("mac_out", _most_elements(smaller, spare, most))
            return _plan(program, target, (plan.p_in, plan.p_out), least)
    return plan


def _most_elements(plan: Plan, spare: int, most: int) -> int:
    """Elements of the MAC array, up to ``most``, with ``spare`` DSPs more than the Plan's."""

    def blocks(elements: int) -> int:
        pairs = packing.pairs(elements, plan.hop, plan.lut_macs) if plan.mac_packing == 2 else ()
        return plan.lanes * (elements - len(pairs))

    able = range(plan.mac_out, most + 1, plan.lanes)
    return max(n for n in able if blocks(n) - blocks(plan.mac_out) <= spare)


def _too_much_memory(program: Program, plan: Plan) -> bool:
    """Whether the weights and the largest value alone are more than the block RAM.

    Both without the lanes that stay idle, so that it holds for every array.
    """
    geometry = ProgramGeometry(program, plan)
    tensors = [plan.act_bits * prod(tensor.shape) for tensor in program.tensors.values()]
    bits = plan.batch * max([*tensors, *map(prod, program.sign_shapes.values())], default=0)
    if plan.weights == "chip":
        bits += sum(conv.conv.weight.size * conv.weight_bits for conv in geometry.convs)
    return bits > device(plan.device).ram18 * RAM18_BITS


def _nothing_fits(target: Device, found: list[Misfit]) -> str:
    lacking = ", ".join(
        f"{lack.need:,} {lack.resource}, of which {SHARES[lack.resource]:.0%} of {lack.have:,} may "
        "be used"
        for lack in found
    )
    ways = [f"a larger --device ({_larger(found)})"] if _larger(found) else []
    ways += ["a --parallelism of your own, which is not held to these limits"]
    return (
        f"no array from 64x64 to 1x1 fits {target.name} with this network: the last one tried "
        f"needs {lacking}; choose {' or '.join(ways)}"
    )


# ------------------------------------------------------------------------------------- memory map


def with_memory_map(program: Program, plan: Plan) -> Plan:
    """The Plan with its memory map and loop orders; checks that the generator builds it."""
    check_supported(program)
    ProgramGeometry(program, plan)
    tensors, outer = map_tensors(program, plan)
    plan = replace(plan, tensors=tensors, signs=map_signs(program, plan), pixel_outer=outer)
    if plan.weights == "stream" and plan.weight_word != plan.mac_weight_word:
        raise PlanError(
            "streamed weights come over one bus: weight_word and mac_weight_word must be equal, "
            f"not {plan.weight_word} and {plan.mac_weight_word}"
        )
    ProgramGeometry(program, plan)
    return plan


def _lanes(program: Program, p_in: int, p_out: int, px: int) -> int:
    """Largest common divisor up to what keeps the array busy (P / 576), at least 4.

    It divides the channels at which passes of a stage begin, too.
    """
    wanted = max(LEAST_LANES, 1 << max(0, (ceil_div(p_in * p_out * px, 576) - 1).bit_length()))
    parts = (part for stage in program.stages for part in passes_of(program, stage))
    common = gcd(p_in, p_out, *(part.first_channel for part in parts))
    return max(n for n in range(1, wanted + 1) if common % n == 0)


def _mac_out(lanes: int, target: Device, changes: dict[str, Any]) -> int:
    """Elements of the MAC array: a multiple of the lanes, 128 DSPs or its share of them.

    Twice as many where two share a DSP, and those without DSPs besides.
    """
    macs = min(128, int(MAC_SHARE * target.dsps)) * changes.get("mac_packing", 1)
    luts = ceil_div(changes.get("lut_macs", 0), lanes) * lanes
    return max(1, macs // (lanes * lanes)) * lanes + luts


def _word(bits: int, loads: int) -> int:
    """Bits of a weight-memory word that loads ``bits`` in about ``loads`` cycles."""
    return min(bits, max(32, ceil_div(bits, loads)))


def _line_words(program: Program, lanes: int, depth: int) -> int:
    """Line-buffer words: three rows of tiles and the kernel, or the whole frame if that is less."""
    channels, rows, cols = program.input_shape
    convs = (part.conv for stage in program.stages for part in passes_of(program, stage))
    window = next(conv.window for conv in convs if conv.source == FRAME)
    tile_rows = max(1, depth // window.output_size(rows, cols)[1])
    extent, stride = window.dilation[0] * (window.kernel[0] - 1) + 1, window.stride[0]
    tiles = ceil_div(window.output_size(rows, cols)[0], tile_rows)
    unread = unread_rows(rows, tiles, tile_rows, extent - window.padding[0], stride)
    needed = min(rows, extent + (3 * tile_rows - 1) * stride + unread)
    words = needed * ceil_div(cols * channels, lanes)
    return 1 << max(0, (words - 1).bit_length())
