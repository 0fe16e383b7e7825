"""The buffer of window sums: sums of any taps, each taken again, whatever comes between."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.issue import Issuer
from r2b.hw.params import core_params
from r2b.hw.presum import APART, LATENCY, PresumBuffer, PresumParams
from r2b.hw.timing import predict
from tests.hw.components.benches import Bench, simulate
from tests.hw.families import FAMILIES

TAPS = 4


def pixels(rng, params, tile):
    """One tile: sums of TAPS values for every word and pixel, then twice what was summed.

    A sum is touched as soon as it may be.
    """
    places = [(kc, index) for kc in range(params.words) for index in range(tile)]
    wait = [None] * max(0, APART - len(places))
    for tap in range(TAPS):
        for kc, index in places:
            yield {"sum": 1, "reuse": 0, "fresh": tap == 0, "kc": kc, "index": index}
        yield from wait
    for _ in range(2):
        for kc, index in places:
            yield {"sum": 0, "reuse": 1, "fresh": int(rng.integers(2)), "kc": kc, "index": index}
        yield from wait


def drive(params, seed):
    rng = np.random.default_rng(seed)
    low, high = -(1 << (params.value_width - 1)), 1 << (params.value_width - 1)
    sums, expected, queue = {}, [], []
    for tile in (params.pixels, min(2, params.pixels)):
        steps = list(pixels(rng, params, tile))
        while steps:
            pixel = None if rng.random() < 0.2 else steps.pop(0)
            values = rng.choice([low, high - 1, 0, int(rng.integers(low, high))], params.lanes)
            idle = {"valid": 0, "sum": 1, "fresh": 1}  # the core waits: nothing may be added
            queue.append((pixel, values.tolist()))
            if pixel is not None:
                place = (pixel["kc"], pixel["index"])
                if pixel["sum"]:
                    base = 0 if pixel["fresh"] else sums[place]
                    sums[place] = base + values
                expected.append(sums[place].tolist() if pixel["reuse"] else values.tolist())
            else:
                expected.append(None)
            inputs = dict(idle) if pixel is None else {"valid": 1, **pixel}
            if len(queue) > LATENCY:
                inputs["values"] = queue[-1 - LATENCY][1]
            outputs = yield inputs
            if len(expected) > LATENCY and expected[-1 - LATENCY] is not None:
                assert outputs["o"] == expected[-1 - LATENCY]


@pytest.mark.parametrize("shape", [(1, 4, 5, 3), (3, 9, 4, 1), (2, 12, 3, 5), (2, 5, 1, 1)])
def test_sums(shape):
    """Lanes, bits, pixels (also no power of two), words; the extremes of every value."""
    lanes, bits, size, words = shape
    params = PresumParams(lanes, bits, bits + 2, size, words)
    simulate(Bench(PresumBuffer(params), drive(params, seed=sum(shape))))


@pytest.mark.parametrize("hop", [1, 8])
def test_steps_are_further_apart(hop):
    """From hand-over to hand-over, as in :mod:`r2b.hw.timing`: with the shortest steps that are."""
    program = FAMILIES["react"](1)
    plan = make_plan(program, parallelism=(8, 4), lanes=1, mac_out=1, presum_buffer=True, hop=hop)
    engine = core_params(ProgramGeometry(program, plan)).engines[False]
    words = engine.array.load_words
    assert engine.turnaround + 1 + words + Issuer.WORD_LATENCY >= APART


def test_a_buffered_stage_reads_its_windows_once():
    """Every tile of output channels but the first takes a quarter of the pixels."""
    program, issued = FAMILIES["react"](1), {}
    for buffered in (False, True):
        plan = make_plan(program, parallelism=(8, 4), lanes=4, mac_out=4, presum_buffer=buffered)
        geometry = ProgramGeometry(program, plan)
        assert geometry.buffered is buffered
        stage = next(c for c in predict(geometry) if c.name == "shortcut4")
        issued[buffered] = stage.issued
    assert issued[True] * 12 == issued[False] * (4 + 2)  # three tiles of four taps
