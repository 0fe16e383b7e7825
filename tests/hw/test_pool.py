"""Max pooling against windows in NumPy."""

from __future__ import annotations

import pytest

from r2b.hw.descriptor import pool_entry
from r2b.ir.program import Window
from tests.hw.components import drivers
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import Layer, make_params
from tests.hw.components.table import max_pool, pooling

WINDOWS = {
    "2x2/2": Window((2, 2), (2, 2)),
    "3x3/2": Window((3, 3), (2, 2)),
    "3x3/2 padded": Window((3, 3), (2, 2), (1, 1, 1, 1)),
    "3x3/3": Window((3, 3), (3, 3)),
    "3x3/3 padded": Window((3, 3), (3, 3), (1, 1, 1, 1)),
    "2x2/1": Window((2, 2)),
    "2x3/2": Window((2, 3), (2, 2), (0, 1, 0, 1)),
    "1x1/1": Window((1, 1)),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (9, 11)])
def test_pool(window, size):
    """Several groups of channels, odd sizes, tiles of rows and segments of a row."""
    point = Window((1, 1))
    layers = [
        Layer("frame", (3, *size), 1, point, pool=window, outer=True),
        Layer("frame", (3, *size), 7, point, pool=window, outer=True),
    ]
    core = make_params(layers, tile_pixels=12 if size[1] == 5 else 8)
    dut = max_pool(core)
    simulate(Bench(dut, drivers.drive_pool(dut, core, size[0])))


@pytest.mark.parametrize("channels", [1, 7])
def test_two_columns(channels):
    """A pooled column comes again as soon as it may."""
    point, window = Window((1, 1)), Window((2, 2), (2, 2))
    core = make_params([Layer("binary", (3, 6, 2), channels, point, pool=window)], tile_pixels=4)
    dut = max_pool(core)
    simulate(Bench(dut, drivers.drive_pool(dut, core, channels)))


@pytest.mark.parametrize("seed", range(3))
def test_stages_one_after_another(seed):
    """Nothing of a stage's maxima is left for the next one."""
    dut = max_pool(pooling())
    simulate(Bench(dut, drivers.drive_pool(dut, pooling(), seed)))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("extent", range(3, 12))
def test_pool_entries(stride, overlap, padding, extent):
    """Every window opens once, and closes once, at its last position."""
    kernel = stride + overlap
    padding = min(padding, (kernel - 1) // 2)  # more would let two windows close at one position
    outputs = (extent + 2 * padding - kernel) // stride + 1
    entries = [pool_entry(x, extent, outputs, kernel, stride, padding) for x in range(extent)]
    for index in range(outputs):
        first = max(0, index * stride - padding)
        last = min(extent - 1, index * stride - padding + kernel - 1)
        assert entries[last]["emit"] == 1
        assert entries[last]["index"] == index
        assert entries[first]["start"] or entries[first]["reopen"]
    assert sum(entry["emit"] for entry in entries) == outputs
    assert sum(entry["start"] + entry["reopen"] for entry in entries) == outputs
