"""Estimated resources against the synthesized accelerators in benchmarks/calibration.json."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

import pytest

from r2b.backends.cost import resources
from r2b.backends.cost.features import COMPONENTS, USED
from r2b.backends.cost.resources import (
    Count,
    Resources,
    coefficients,
    estimate,
    estimate_params,
    shared_name,
    with_vector,
)
from r2b.backends.fpga.planner import make_plan
from r2b.hw.devices import DEVICES
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.params import core_params
from tests.hw.calibration import POINTS, program
from tests.hw.programs import random_program

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "calibration.json").read_text())
MEASURED = [point for point in POINTS if point.name in RESULTS]
WORST = 0.13
"""Largest relative error of LUTs and flip-flops, see docs/cost.md."""


@pytest.mark.parametrize("point", MEASURED, ids=lambda point: point.name[:40])
def test_as_synthesized(point):
    """Block RAM, LUT RAM and DSPs exactly; LUTs and flip-flops within the bound."""
    measured = Counter(RESULTS[point.name].get("total", {}))
    for counts in RESULTS[point.name]["components"].values():
        measured.update(counts)
    net = program(point.program)
    params = core_params(ProgramGeometry(net, point.plan(net)))
    found = estimate_params(params, DEVICES[point.device].family).total
    for resource in ("ram18", "lutram", "dsp"):
        assert getattr(found, resource) == measured[resource], resource
    for resource in ("lut", "ff"):
        assert abs(getattr(found, resource) / measured[resource] - 1) <= WORST, resource


def test_enough_is_measured():
    """24 accelerators or more, two at 64x64, some held out of the fit in each family."""
    assert len(MEASURED) >= 24
    assert sum(point.array == (64, 64) for point in MEASURED) == 2
    for held_out in (False, True):
        families = {
            DEVICES[point.device].family for point in MEASURED if point.held_out == held_out
        }
        assert families == {"ecp5", "xc7"}


def test_what_was_never_measured_is_said(monkeypatch):
    """A feature without a coefficient costs nothing in the sum, so the sum is no estimate."""
    net = random_program(1)
    plan = make_plan(net, "ecp5-85f", parallelism=(8, 8))
    assert (estimate(net, plan).calibrated, estimate(net, plan).unmeasured) == (True, ())
    less = copy.deepcopy(coefficients())
    del less["families"]["ecp5"]["lut"]["epilogue"]["bounds"]
    monkeypatch.setattr(resources, "coefficients", lambda: less)
    found = estimate(net, plan)
    assert (found.calibrated, found.unmeasured) == (False, ("epilogue: bounds",))


def test_coefficients_have_a_feature():
    """Each names a component and a feature that it is used for."""
    for table in coefficients()["families"].values():
        for resource, parts in table.items():
            assert set(parts) == {shared_name(name) for name in COMPONENTS}
            for name, values in parts.items():
                assert set(values) <= set(USED[resource][name])
                assert all(value >= 0 for value in values.values())


def test_components_add_up():
    net = random_program(1)
    found = estimate(net, make_plan(net, "ecp5-85f", parallelism=(8, 8)))
    assert found.total == sum(found.components.values(), Count())
    assert list(found.components) == [name for name in COMPONENTS if name in found.components]
    assert found.needs()["LUT"] == found.total.lut + found.total.ram_luts
    assert found.total.ram_luts == 6 * found.total.lutram
    assert found.calibrated


@pytest.mark.parametrize("device", ["ecp5-85f", "zu3eg"])
def test_another_vector_unit_alone(device):
    """What a search adds to a known core is what an estimate from nothing says."""
    net = random_program(1)
    few, many = (make_plan(net, device, parallelism=(8, 8), gate_macs=n) for n in (1, 16))
    params = core_params(ProgramGeometry(net, many))
    assert with_vector(estimate(net, few), params) == estimate(net, many)


def test_ultrascale_is_not_calibrated():
    """It takes the coefficients of 7-series, and says so."""
    net = random_program(1)
    plan = make_plan(net, "zu3eg", parallelism=(8, 8))
    found, like = estimate(net, plan), estimate(net, plan, "xc7")
    assert isinstance(found, Resources)
    assert not found.calibrated
    assert (found.total.lut, found.total.ff) == (like.total.lut, like.total.ff)
