"""Feature memory, sign maps and channel sums against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.hw.sinks import Sinks
from tests.hw.components import drivers
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import make_params
from tests.hw.components.table import MIXED, mixed, sinks


@pytest.mark.parametrize("seed", range(3))
def test_sinks(seed):
    """Values at, below and above each threshold; flips; banks; sums from zero in each frame."""
    dut = sinks(mixed())
    simulate(Bench(dut, drivers.drive_sinks(dut, mixed(), seed)))


@pytest.mark.parametrize(("lanes", "p_in"), [(1, 3), (4, 4), (3, 9)])
def test_other_shapes(lanes, p_in):
    """One lane; a single bank; three banks."""
    core = make_params(list(MIXED), 7, lanes=lanes, p_in=p_in, p_out=lanes * 2, mac_out=lanes)
    dut = sinks(core)
    simulate(Bench(dut, drivers.drive_sinks(dut, core, 0)))


def test_compute():
    """Signs in software: ``v >= theta``, flipped where it says so."""
    values = np.array([-1, 0, 1, -1, 0, 1])
    flip = np.array([False] * 3 + [True] * 3)
    np.testing.assert_array_equal(Sinks.compute(values, 0, flip), [0, 1, 1, 1, 0, 0])
