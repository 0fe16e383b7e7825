"""The contraction array against sums in NumPy, at every timing its contract allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r2b.hw.pixels import make_array
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.drivers import drive_array, drive_array_latency
from tests.hw.components.table import BINARY, REAL

SHAPES = {
    "binary": BINARY,
    "binary_one_hop": replace(BINARY, hop=8, word=54, load_words=1),
    "binary_wide": replace(BINARY, lanes_in=33, lanes_out=4, word=64, acc_width=12),
    "binary_lut4": replace(BINARY, lut=4),
    "binary_2_pixels_lut4": replace(BINARY, lanes_in=33, word=99, load_words=2, px=2, lut=4),
    "binary_2_pixels": replace(BINARY, px=2),
    "binary_4_pixels": replace(BINARY, lanes_in=64, word=96, load_words=4, acc_width=12, px=4),
    "real": REAL,
    "real_one_lane": replace(REAL, lanes_in=1, lanes_out=2, word=5, load_words=4, hop=2),
    "real_one_group": replace(REAL, lanes_out=2, word=48, load_words=1, depth=1),
    "packed": replace(REAL, packed=True, hop=2),
    "packed_odd_hops_and_luts": replace(
        REAL, packed=True, luts=1, hop=3, lanes_out=8, load_words=6
    ),
    "luts": replace(REAL, luts=REAL.lanes_out),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_array(name, seed):
    """Two banks, revisits in the next cycle, weights shifted meanwhile, drains at once."""
    dut = make_array(SHAPES[name])
    simulate(Bench(dut, drive_array(dut, seed)))


@pytest.mark.parametrize("name", SHAPES)
def test_latency(name):
    """The declared latency is exact, not a bound."""
    dut = make_array(SHAPES[name])
    simulate(Bench(dut, drive_array_latency(dut, 0)))
