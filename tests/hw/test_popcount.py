"""Dot products against sums in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r2b.hw.popcount import BipolarDot, IntegerDot, tree_levels
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.drivers import drive_bipolar, drive_integer

LANES = [1, 7, 8, 9, 31, 32, 33, 64]


@pytest.mark.parametrize("lanes", LANES)
def test_bipolar_dot(lanes):
    """A result per cycle, each exactly ``latency`` cycles after its operands."""
    dut = BipolarDot(lanes)
    simulate(Bench(dut, drive_bipolar(dut, lanes)))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("a_width", "w_width"), [(9, 8), (16, 16)])
def test_integer_dot(lanes, a_width, w_width):
    """A result per cycle, each exactly ``latency`` cycles after its operands."""
    dut = IntegerDot(lanes, a_width, w_width)
    simulate(Bench(dut, drive_integer(dut, lanes, count=60)))


@pytest.mark.parametrize("operands", range(1, 70))
def test_tree_levels(operands):
    """Levels of four operands each: the smallest power of four that is enough."""
    assert tree_levels(operands) == max(1, math.ceil(round(math.log(operands, 4), 9)))


def test_latencies_are_declared():
    """The formula of the cycles stands on these."""
    assert [BipolarDot.latency_of(n) for n in (1, 9, 10, 27, 28, 64, 81, 82)] == [
        3,
        3,
        4,
        4,
        5,
        5,
        5,
        6,
    ]
    assert [IntegerDot.latency_of(n) for n in (1, 4, 5, 16, 17)] == [2, 2, 3, 3, 4]


@pytest.mark.parametrize("lanes", LANES)
def test_compute_is_the_definition(lanes):
    """In software: bipolar values multiplied and summed."""
    rng = np.random.default_rng(lanes)
    a, w = rng.integers(0, 2, (2, lanes))
    assert BipolarDot.compute(a, w, lanes) == ((2 * a - 1) * (2 * w - 1)).sum()
    assert IntegerDot.compute(a - 7, w + 3) == sum(
        int(x) * int(y) for x, y in zip(a - 7, w + 3, strict=True)
    )
