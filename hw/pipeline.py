"""Pieces of the vector unit's pipelines: registers, products in parts, choices, bounds."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed

PART = 17
"""Bits of an accumulator that a multiplier takes at a time."""


def pipe(m: Module, value, cycles: int, name: str) -> list:
    """The value now and after 1, 2, ... ``cycles`` registers."""
    stages = [value]
    for cycle in range(cycles):
        stage = Signal.like(value, name=f"{name}_{cycle + 1}")
        m.d.sync += stage.eq(stages[-1])
        stages.append(stage)
    return stages


def registered(m: Module, value, name: str):
    """The value a cycle later."""
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def in_parts(m: Module, a, b):
    """``a * b`` from partial products that are registered; of a small ``a`` there is one."""
    if len(a) <= PART:
        return registered(m, a * b, "product")
    low, high = a[:PART].as_unsigned(), a[PART:].as_signed()
    parts = []
    for name, part in (("low", low), ("high", high)):
        register = Signal((part * b).shape(), name=f"product_{name}", reset_less=True)
        m.d.sync += register.eq(part * b)
        parts.append(register)
    return parts[0] + (parts[1] << PART)


def choose(m: Module, array, index):
    """Element of an array of lanes, as a signed value."""
    chosen = Signal(signed(len(array[0])), name="chosen")
    with m.Switch(index):
        for lane in range(len(array)):
            with m.Case(lane):
                m.d.comb += chosen.eq(array[lane])
    return chosen


def saturate(m: Module, value, low: int, high: int):
    """``min(max(value, low), high)``, as wide as the bounds."""
    bits = max(low.bit_length(), high.bit_length()) + 1
    result = Signal(signed(bits), name="saturated")
    with m.If(value < low):
        m.d.comb += result.eq(low)
    with m.Elif(value > high):
        m.d.comb += result.eq(high)
    with m.Else():
        m.d.comb += result.eq(value)
    return result
