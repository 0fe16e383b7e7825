"""The search of ``r2b-compile --target-fps``: what it tries, and in which order."""

from __future__ import annotations

import re

import pytest

from r2b.backends.cost.hardware import cost
from r2b.explore import search
from r2b.explore.search import smallest_plan
from r2b.ir.errors import PlanError

FEW = {
    "p_in": (8, 16), "p_out": (8, 16), "p_px": (1,), "bus": (64,), "lanes": (4,),
    "mac_tiles": (1, 2), "tile_pixels": (32,), "gate_macs": (4,), "vector": ("chip",),
}  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(search, "COARSE", search.COARSE | FEW)


def fastest(program, device: str, **more) -> float:
    """Frames per second that no Plan of a space beats; the message says so."""
    with pytest.raises(PlanError) as caught:
        smallest_plan(program, device, None, 1e9, **more)
    return float(re.search(r"reaches ([\d,.]+) ", str(caught.value))[1].replace(",", ""))


def test_one_frame_at_a_time_where_that_reaches_it(program):
    plan, why = smallest_plan(program, "xc7z020", None, 1000)
    assert (plan.front_out, plan.lut_macs, plan.batch) == (0, 0, 1)
    assert cost(program, plan).fps() >= 1000
    assert "of 16 evaluated" in why


def test_a_front_where_nothing_else_does(program, monkeypatch):
    best = fastest(program, "xc7z020") - 1
    plan, why = smallest_plan(program, "xc7z020", None, best)
    assert plan.front_out > 0
    assert plan.batch == 1
    assert cost(program, plan).fps() >= best
    assert ", front MACs 32: the smallest of" in why
    monkeypatch.setattr(search, "MORE", ())
    assert fastest(program, "xc7z020") < best


def test_macs_of_luts_where_dsps_are_few(program, monkeypatch):
    monkeypatch.setattr(search, "COARSE", search.COARSE | {"lanes": (1,), "mac_tiles": (4, 8)})
    monkeypatch.setattr(search, "MORE", search.MORE[:1])
    best = fastest(program, "ecp5-25f") - 1
    plan, _ = smallest_plan(program, "ecp5-25f", None, best)
    assert plan.lut_macs > 0
    monkeypatch.setattr(search, "MORE", ())
    assert fastest(program, "ecp5-25f") < best


def test_batches_if_they_are_asked_for(program):
    """And then no others; a target out of reach names them."""
    plan, why = smallest_plan(program, "xc7z020", None, 1000, batch=2)
    assert (plan.batch, plan.front_out) == (2, 0)
    assert ", batch 2: the smallest of" in why
    with pytest.raises(PlanError) as caught:
        smallest_plan(program, "xc7z020", None, 1e9)
    assert str(caught.value).endswith(
        "; choose a lower --target-fps, a higher --clock or a larger --device, or batches of "
        "frames, which raise latency, with --batch"
    )
    with pytest.raises(PlanError, match=r"a higher --clock or a larger --device$"):
        smallest_plan(program, "xc7z020", None, 1e9, batch=2)


def test_nothing_fits(program, monkeypatch):
    """Batches need more memory, not less."""
    monkeypatch.setattr(search, "COARSE", search.COARSE | {"lanes": (2,), "mac_tiles": (8,)})
    with pytest.raises(PlanError, match=r"or smaller values with --axis NAME=V,V,\.\.\.$"):
        smallest_plan(program, "ecp5-25f", None, 10)
