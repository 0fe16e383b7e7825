"""The stage sequencer's order, and that every cycle of a frame is charged once."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.hw.sequencer import STAGE_SETUP, Sequencer
from tests.hw.components.benches import Bench, Frozen, simulate


def drive(stages, seed, frozen):
    """Frames of stages that take random times; every cycle is as the plain model says."""
    rng = np.random.default_rng(seed)
    for _ in range(4):
        plan = idle_cycles(rng) + frame_cycles(rng, stages)
        for wanted, inputs in plan:
            enable = 0
            while not enable:
                enable = int(not frozen or rng.random() < 0.5)
                outputs = yield inputs | {"enable": enable}
                found = {name: outputs[name] for name in wanted}
                assert found == wanted


QUIET = {"start": 0, "done": 0, "new_frame": 0, "at_head": 0, "busy": 1}


def idle_cycles(rng):
    """Waiting for a frame, then the cycle in which it comes."""
    idle = QUIET | {"busy": 0, "new_frame": 1}
    inputs = {"frame": 0, "stage_done": 0, "head_done": 0}
    wait = int(rng.integers(0, 4))
    return [(idle, inputs)] * wait + [(idle, inputs | {"frame": 1})]


def frame_cycles(rng, stages):
    """Per stage: set-up, start, run; then the head."""
    quiet = {"frame": 0, "stage_done": 0, "head_done": 0}
    cycles = []
    for stage in range(stages):
        here = QUIET | {"stage": stage}
        cycles += [(here, quiet)] * (STAGE_SETUP - 1)
        cycles += [(here | {"start": 1}, quiet)]
        cycles += [(here, quiet)] * int(rng.integers(0, 5))
        cycles += [(here, quiet | {"stage_done": 1})]
    head = QUIET | {"stage": stages}
    cycles += [(head | {"at_head": 1}, quiet)]
    cycles += [(head, quiet)] * int(rng.integers(0, 5))
    return [*cycles, (head | {"done": 1}, quiet | {"head_done": 1})]


@pytest.mark.parametrize("stages", [1, 2, 5])
@pytest.mark.parametrize("frozen", [False, True])
def test_sequencer(stages, frozen):
    """Order and cycles; frozen cycles change nothing."""
    dut = Frozen(Sequencer(stages))
    simulate(Bench(dut, drive(stages, stages, frozen)))
