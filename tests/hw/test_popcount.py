"""Dot products and counts against sums in plain Python."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from amaranth.back import rtlil

from r2b.hw import carries, compressor
from r2b.hw.dot import IntegerDot, tree_levels
from r2b.hw.multipliers import LutDot, PackedDot
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.drivers import (
    drive_equal_bits,
    drive_integer,
    drive_lut,
    drive_packed,
    lanes_bits,
)

LANES = [1, 7, 8, 9, 31, 32, 33, 64]
COUNTERS = {"LUT4": carries, "LUT6": compressor}


@pytest.mark.parametrize("lanes", [*range(1, 34), 64])
@pytest.mark.parametrize("kind", COUNTERS)
def test_equal_bits(kind, lanes):
    """A count per cycle, each exactly ``latency`` cycles after its operands."""
    dut = COUNTERS[kind].EqualBits(lanes)
    simulate(Bench(dut, drive_equal_bits(dut, lanes, count=60)))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", COUNTERS)
def test_register_bits_are_declared(kind, lanes):
    """The cost model counts them."""
    module = COUNTERS[kind]
    text = rtlil.convert(module.EqualBits(lanes), emit_src=False)
    widths = re.findall(r"\\WIDTH (\d+)", "".join(re.findall(r"cell \$dff .*?end\n", text, re.S)))
    assert sum(map(int, widths)) == module.register_bits(lanes)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("a_width", "w_width"), [(9, 8), (16, 16)])
def test_integer_dot(lanes, a_width, w_width):
    """A result per cycle, each exactly ``latency`` cycles after its operands."""
    dut = IntegerDot(lanes, a_width, w_width)
    simulate(Bench(dut, drive_integer(dut, lanes, count=60)))


@pytest.mark.parametrize(("lanes", "a_width", "w_width"), [(1, 9, 8), (6, 12, 8), (8, 10, 16)])
def test_two_products_per_block_and_none(lanes, a_width, w_width):
    """As with a multiplier per product: random operands, and both ends against each other."""
    for dut, drive in (
        (PackedDot(lanes, a_width, w_width), drive_packed),
        (LutDot(lanes, a_width, w_width), drive_lut),
    ):
        simulate(Bench(dut, drive(dut, lanes)))


def test_every_weight_as_digits():
    """All 256 weights, with an activation of each sign."""
    dut = LutDot(1, 9, 8)
    pairs = [(a, w) for a in (-256, 37) for w in range(-128, 128)]

    def drive():
        for cycle in range(len(pairs) + dut.latency):
            a, w = pairs[min(cycle, len(pairs) - 1)]
            outputs = yield {"a": lanes_bits([a], 9), "w": lanes_bits([w], 8), "load": 1}
            if (done := cycle - dut.latency) >= 0:
                assert outputs["o"] == pairs[done][0] * pairs[done][1], pairs[done]

    simulate(Bench(dut, drive()))


@pytest.mark.parametrize("operands", range(1, 70))
def test_tree_levels(operands):
    """Levels of four operands each: the smallest power of four that is enough."""
    assert tree_levels(operands) == max(1, math.ceil(round(math.log(operands, 4), 9)))


def test_latencies_are_declared():
    """The formula of the cycles stands on these."""
    lanes = (1, 4, 5, 9, 10, 64)
    assert carries.latency_of is compressor.latency_of  # a core takes as long on every device
    assert [compressor.latency_of(n) for n in lanes] == [2, 2, 2, 3, 3, 3]
    assert [IntegerDot.latency_of(n) for n in (1, 4, 5, 16, 17)] == [2, 2, 3, 3, 4]
    assert [PackedDot.latency_of(n) for n in (1, 4, 5, 16, 17)] == [2, 2, 3, 3, 4]
    assert [LutDot.latency_of(n, 8) for n in (1, 4, 5, 16, 17)] == [4, 4, 5, 5, 6]
    assert LutDot.latency_of(4, 16) == 5


@pytest.mark.parametrize("lanes", LANES)
def test_compute_is_the_definition(lanes):
    """In software: bipolar values multiplied and summed."""
    rng = np.random.default_rng(lanes)
    a, w = rng.integers(0, 2, (2, lanes))
    for module in COUNTERS.values():
        assert module.EqualBits.compute(a, w) == (a == w).sum()
    assert IntegerDot.compute(a - 7, w + 3) == sum(
        int(x) * int(y) for x, y in zip(a - 7, w + 3, strict=True)
    )
