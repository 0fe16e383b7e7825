"""The cycle formula against the control's simulation, on shapes at the corners."""

from __future__ import annotations

import pytest

from r2b.hw.timing import predict
from r2b.ir.program import Window
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import Layer, make_params
from tests.hw.components.loops import drive_control, job_cycles
from tests.hw.components.table import control

POINT = Window((1, 1))
CORNERS = {
    "one pixel, one tap": ([Layer("binary", (1, 1, 1), 1, POINT)], {}),
    "one pixel, nine taps": ([Layer("binary", (1, 1, 1), 1)], {}),
    "one row": ([Layer("binary", (9, 1, 19), 5)], {}),
    "one column": ([Layer("real", (3, 19, 1), 5)], {}),
    "tiles of a pixel": ([Layer("binary", (9, 2, 3), 5)], {"tile_pixels": 1}),
    "one tile": ([Layer("binary", (9, 4, 5), 5)], {"tile_pixels": 99}),
    "slow weights": ([Layer("binary", (2, 2, 3), 5)], {"weight_word": 1}),
    "weights in a cycle": ([Layer("binary", (9, 4, 5), 5)], {"weight_word": 99}),
    "drain bound": ([Layer("binary", (3, 4, 5), 9, POINT)], {"lanes": 1}),
    "one hop": ([Layer("binary", (9, 4, 5), 5)], {"hop": 99}),
    "many hops": ([Layer("binary", (9, 2, 5), 9)], {"hop": 1, "p_out": 8}),
    "gate bound": ([Layer("binary", (9, 2, 2), 5, POINT, gated=True)], {"gate_macs": 1}),
    "stride beyond the kernel": ([Layer("real", (3, 9, 9), 5, Window((1, 1), (4, 4)))], {}),
    "taps in the padding": (
        [Layer("binary", (3, 2, 2), 2, Window((3, 3), (1, 1), (2, 2, 2, 2)))],
        {"tile_pixels": 2},
    ),
}


@pytest.mark.parametrize("name", CORNERS)
def test_control_takes_the_predicted_cycles(name):
    """Difference 0, with and without freezes."""
    layers, plan = CORNERS[name]
    core = make_params(layers, **plan)
    for binary in core.engines:
        for frozen in (False, True):
            dut = control(core, binary)
            simulate(Bench(dut, drive_control(dut, core, binary, 3, frozen)))


def test_predict_lists_every_stage_and_the_head():
    """In order; a gate shows its cycles, the issued pixels are the valid ones."""
    core = make_params([Layer(), Layer(gated=True, channels=4), Layer("real", (3, 4, 4), 2, POINT)])
    found = predict(core.geometry)
    assert [stage.name for stage in found] == ["stage0", "stage1", "stage2", "head"]
    assert [stage.gate > 0 for stage in found] == [False, True, False, False]
    gate = core.geometry.program.stages[1].gate
    layers = [gate.hidden.weight.shape, gate.out.weight.shape]
    assert found[1].gate == 1 + job_cycles(core.vector, 10, layers)
    # a 1x1 convolution: one word per pixel and input-channel tile
    assert found[2].issued == 4 * 4 * 2 * 1
    assert found[2].drained == 4 * 4 * 1
    # 3x3 on 6x7 with padding 1, 10 of 8 channels, 6 of 4 outputs: (3*6-2)*(3*7-2) taps
    assert found[0].issued == (3 * 6 - 2) * (3 * 7 - 2) * 2 * 2
