"""Chooses a Plan: parallelism, lanes, buffers and memory map for a Program on a device."""

from __future__ import annotations

import re
from dataclasses import replace
from math import gcd

from r2b.backends.fpga.devices import Device, device
from r2b.backends.fpga.memory_map import map_signs, map_tensors
from r2b.hw.geometry import ProgramGeometry, ceil_div
from r2b.hw.passes import FRAME, passes_of
from r2b.hw.plan import Plan
from r2b.hw.support import check_supported
from r2b.ir.errors import PlanError
from r2b.ir.program import Program

LUT_LIMIT = 0.7
DSP_LIMIT = 0.6
"""Share of a device that the default Plan may use; the DSP share is the MAC array's."""
LARGEST_LEGAL = 1024
"""Largest P_in and P_out that are taken at all; larger ones fit no device in the table."""


def parse_parallelism(text: str) -> tuple[int, int]:
    """(P_in, P_out) of a text like ``64x64``."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", text.strip().lower())
    if match is None or 0 in (sizes := tuple(int(n) for n in match.groups())):
        raise PlanError(
            "parallelism must be PINxPOUT with two positive integers, for example 64x64, "
            f"not {text!r}"
        )
    return sizes[0], sizes[1]


def make_plan(
    program: Program,
    device_name: str = "xc7z020",
    clock_mhz: float | None = None,
    parallelism: tuple[int, int] | None = None,
    **changes,
) -> Plan:
    """A Plan for ``program``; ``changes`` replace single parameters.

    Without ``parallelism`` the largest powers of two up to 64 x 64 whose estimated LUTs fit; block
    RAM and DSPs are not compared with the device's. Raises PlanError where a change is illegal.
    """
    check_supported(program)  # names what is not built before anything is chosen for it
    target = device(device_name)
    p_in, p_out = parallelism or default_parallelism(target)
    if max(p_in, p_out) > LARGEST_LEGAL:
        raise PlanError(
            f"an array of {p_in}x{p_out} is beyond what r2b builds ({LARGEST_LEGAL} each way); "
            "choose a smaller --parallelism"
        )
    lanes = changes.get("lanes") or _lanes(program, p_in, p_out)
    mac_out = changes.get("mac_out") or _mac_out(lanes, target)
    streamed = changes.get("weights") == "stream"
    bus = changes.get("weight_word") or (64 if streamed else _word(p_in * p_out, 16))
    depth = changes.get("tile_pixels") or (32 if target.family == "ecp5" else 64)
    base = {
        "device": target.name,
        "clock_mhz": float(clock_mhz or target.clock_mhz),
        "act_bits": program.act_bits,
        "p_in": p_in,
        "p_out": p_out,
        "lanes": lanes,
        "mac_out": mac_out,
        "tile_pixels": depth,
        "weight_word": bus,
        "mac_weight_word": bus if streamed else _word(8 * lanes * mac_out, 8),
        "weights": "chip",
        "gate_macs": 16 if target.dsps >= 100 else 4,
        "line_words": _line_words(program, lanes, depth),
    }
    unknown = sorted(set(changes) - set(base) - {"hop"})
    if unknown:
        raise PlanError(f"unknown Plan parameter {', '.join(unknown)}")
    return with_memory_map(program, Plan(**(base | changes)))


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


def default_parallelism(target: Device) -> tuple[int, int]:
    """Largest P_in x P_out, powers of two up to 64 x 64, within the device's LUTs."""
    shapes = [(2**i, 2**j) for i in range(7) for j in range(7)]
    fitting = [s for s in shapes if estimate_luts(*s, target) <= LUT_LIMIT * target.luts]
    return max(fitting, key=lambda s: (s[0] * s[1], s[0]))


def estimate_luts(p_in: int, p_out: int, target: Device) -> float:
    """LUTs of the array and a base: a processing element's as synthesized by yosys, rounded."""
    if target.family == "ecp5":
        return p_out * (3.45 * p_in + 68) + 12_000
    return p_out * (2.0 * p_in + 36) + 10_000


def _lanes(program: Program, p_in: int, p_out: int) -> int:
    """Largest common divisor up to what keeps the array busy (P / 576), at least 4.

    It divides the channels at which passes of a stage begin, too.
    """
    wanted = max(4, 1 << max(0, (ceil_div(p_in * p_out, 576) - 1).bit_length()))
    parts = (part for stage in program.stages for part in passes_of(program, stage))
    common = gcd(p_in, p_out, *(part.first_channel for part in parts))
    return max(n for n in range(1, wanted + 1) if common % n == 0)


def _mac_out(lanes: int, target: Device) -> int:
    """Elements of the MAC array: a multiple of the lanes, 128 MACs or its share of the DSPs."""
    macs = min(128, int(DSP_LIMIT * target.dsps))
    return max(1, macs // (lanes * lanes)) * lanes


def _word(bits: int, loads: int) -> int:
    """Bits of a weight-memory word that loads ``bits`` in about ``loads`` cycles."""
    return min(bits, max(32, ceil_div(bits, loads)))


def _line_words(program: Program, lanes: int, depth: int) -> int:
    """Line-buffer words: three rows of tiles and the kernel, or the whole frame if that is less."""
    channels, rows, cols = program.input_shape
    convs = (part.conv for stage in program.stages for part in passes_of(program, stage))
    window = next(conv.window for conv in convs if conv.source == FRAME)
    tile_rows = max(1, depth // window.output_size(rows, cols)[1])
    extent = window.dilation[0] * (window.kernel[0] - 1) + 1
    needed = min(rows, extent + (3 * tile_rows - 1) * window.stride[0])
    words = needed * ceil_div(cols * channels, lanes)
    return 1 << max(0, (words - 1).bit_length())
