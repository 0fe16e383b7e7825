"""Epilogue lanes against integer arithmetic, and ``compute()`` against the Program's kernels."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.hw.epilogue import Epilogue
from r2b.ir import kernels
from r2b.ir.arith import bounds
from r2b.ir.kernels import Trace
from r2b.ir.program import Skip
from tests.hw.components import drivers
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import Layer, make_geometry, make_params
from tests.hw.components.table import chained, epilogue, mixed, pooling


@pytest.mark.parametrize("network", [mixed, pooling, chained])
@pytest.mark.parametrize("seed", range(3))
def test_epilogue(network, seed):
    """Gated and static steps, knots, shifts, skips, saturation, surplus lanes, gaps, two rounds."""
    core = network()
    dut = epilogue(core)
    simulate(Bench(dut, drivers.drive_epilogue(dut, core, seed)))


def test_values_reach_both_ends_and_stay_inside():
    """The stimulus of these tests: values at both bounds and between them occur."""
    core = mixed()
    conv = core.geometry.convs[1]
    low, high = bounds(core.epilogue.value_width)
    model = drivers.EpilogueModel(conv, 2, np.array([[40, -3] * 8, [5, -700] * 8]))
    request = drivers.expected_requests(conv)[0]
    sums = range(-3000, 3000, 7)
    found = {model.values(request, [acc, acc], [0, 0])[0] for acc in sums}
    assert {low, high} <= found or len(found) > 20


@pytest.mark.parametrize("skip", [False, True])
def test_compute_equals_the_kernels(skip):
    """In software, per channel."""
    geometry = make_geometry([Layer(skip=skip)], seed=4)
    stage = geometry.convs[0].stage
    rng = np.random.default_rng(1)
    acc = rng.integers(-90, 91, (1, *stage.shape))
    trace = Trace(np.zeros((1, 1, 4, 4), np.uint8))
    trace.tensors["skip0"] = rng.integers(-99, 99, acc.shape)
    kernels.finish(trace, stage, acc)
    added = trace.tensors["skip0"] if any(isinstance(s, Skip) for s in stage.epilogue) else 0
    pixels = np.moveaxis(acc, 1, -1)
    added = np.moveaxis(added, 1, -1) if skip else 0
    found = Epilogue.compute(pixels, geometry.convs[0].chain.rounds[0].product, added, *bounds(9))
    np.testing.assert_array_equal(np.moveaxis(found, -1, 1), trace.tensors["t0"])


@pytest.mark.parametrize("part", [0, 1])
def test_widths_hold_every_sum(part):
    """``acc * M + B`` with the rounding half, for every constant and both ends of ``acc``."""
    layers = [Layer(chain="ASAL", skip=True), Layer(gated=True), Layer("real", (5, 4, 4))]
    core = make_params(layers, seed=9)
    p = core.epilogue.rounds[part]
    low, high = bounds(p.sum_width)
    layout = p.layout
    for row in p.rows:
        for lane in layout.from_bits(row):
            for acc in bounds(p.operand_width):
                for m, b in ((lane["m0"], lane["b0"]), (lane["m1"], lane["b1"])):
                    assert low <= acc * m + b <= high
