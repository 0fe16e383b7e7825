"""The core in Amaranth's simulator: one small network, every cycle of a frame charged once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from r2b.backends.fpga.planner import make_plan
from r2b.hw.core import Core
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.params import core_params
from r2b.hw.timing import predict
from r2b.ir.execute import logits
from tests.hw.components.benches import Bench, StreamPorts, simulate
from tests.hw.programs import random_frames, random_program


@cache
def network():
    """A stem, a gated and a static block, a head; and its Plan."""
    program = random_program(
        5, frame=(1, 8, 8), widths=(4,), blocks=2, gated=(True, False), classes=3, act_bits=9,
        pool=None,
    )  # fmt: skip
    plan = make_plan(program, parallelism=(4, 4), lanes=4, mac_out=4, gate_macs=4, tile_pixels=16)
    return ProgramGeometry(program, plan)


@dataclass
class Traffic:
    """Pixels to send, with pauses; what came out."""

    pixels: list[tuple[int, int, int]]
    """Value, last, cycles to wait before it."""
    busy_output: float = 0.0
    logits: list[int] = field(default_factory=list)
    frames: list[dict[str, int]] = field(default_factory=list)
    dropped: int = 0

    def drive(self, seed: int, limit: int):
        """Send everything, then wait until nothing has been going on for a while."""
        rng = np.random.default_rng(seed)
        wait, idle, ended = None, 0, [False, False]
        for _ in range(limit):
            inputs = {"run": 1, "valid": 0, "space": int(rng.random() >= self.busy_output)}
            if self.pixels:
                value, last, pause = self.pixels[0]
                wait = pause if wait is None else wait
                if wait == 0:
                    inputs |= {"valid": 1, "i": {"data": value, "last": last}}
            outputs = yield inputs
            if ended[0]:
                self.frames.append(outputs["counters"])
            ended = [ended[1], bool(outputs["done"])]
            self.dropped += outputs["dropped"]
            if outputs["logit_valid"]:
                self.logits.append(outputs["logit"])
            if inputs["valid"] and outputs["ready"]:
                self.pixels.pop(0)
                wait = None
            elif wait:
                wait -= 1
            idle = 0 if self.pixels or outputs["busy"] else idle + 1
            if idle > 300:
                return
        raise AssertionError("the core hangs")


def pixels_of(frame: np.ndarray, pauses) -> list[tuple[int, int, int]]:
    """A frame's pixels, the last one marked."""
    flat = frame.reshape(-1).tolist()
    return [(value, int(i == len(flat) - 1), next(pauses)) for i, value in enumerate(flat)]


def run(traffic: Traffic, seed: int, limit: int = 30_000) -> Traffic:
    """Simulate."""
    core = StreamPorts(Core(core_params(network())), "frames")
    simulate(Bench(core, traffic.drive(seed, limit)))
    return traffic


@pytest.mark.parametrize("seed", range(2))
def test_every_cycle_is_charged_once(seed):
    """Slow input, an output that is not free: ACTIVE is the prediction, the rest is waiting."""
    geometry = network()
    frames = random_frames(geometry.program, 2, seed)
    rng = np.random.default_rng(seed)
    pauses = iter(lambda: int(rng.integers(0, 40)) if rng.random() < 0.3 else 0, None)
    traffic = run(Traffic([p for f in frames for p in pixels_of(f, pauses)], 0.9), seed)
    assert traffic.logits == logits(geometry.program, frames).ravel().tolist()
    active = sum(stage.active for stage in predict(geometry))
    for counters in traffic.frames:
        waits = sum(counters[name] for name in ("wait_input", "wait_weights", "wait_output"))
        assert counters["cycles"] == counters["active"] + waits
        assert counters["active"] == active
        assert counters["wait_weights"] == 0
    assert len(traffic.frames) == 2
    for name in ("wait_input", "wait_output"):
        assert any(counters[name] for counters in traffic.frames)


@pytest.mark.parametrize("pause", [0, 2_300, 5_000])
def test_the_rest_of_a_long_frame_comes_late(pause):
    """A pixel too many, perhaps long after the network has run: one frame is dropped, no more."""
    geometry = network()
    frames = random_frames(geometry.program, 2, 3)
    now = iter(lambda: 0, None)
    long = [(value, 0, wait) for value, _, wait in pixels_of(frames[0], now)]
    traffic = run(Traffic([*long, (1, 1, pause), *pixels_of(frames[1], now)]), 0)
    assert traffic.logits == logits(geometry.program, frames[1:]).ravel().tolist()
    assert traffic.dropped == 1
    assert len(traffic.frames) == 2
