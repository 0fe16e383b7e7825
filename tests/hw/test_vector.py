"""The vector unit against the Program's kernels: gates in order, then the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from r2b.hw.vector import VectorUnit
from r2b.hw.vector_tables import vector_tables
from tests.hw.components import loops
from tests.hw.components.benches import Bench, WithSums, simulate
from tests.hw.components.cases import SAME, Layer, make_params
from tests.hw.components.table import mixed


def run(core, seed, frozen):
    """Two frames."""
    dut = WithSums(VectorUnit(core.vector))
    simulate(Bench(dut, loops.drive_vector(dut, core, seed, frozen)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_mixed_network(seed, frozen):
    """Slopes, logits and cycles; the same where ``enable`` freezes it at random."""
    run(mixed(), seed, frozen)


@pytest.mark.parametrize("macs", [1, 3, 16])
@pytest.mark.parametrize("lanes", [1, 4])
def test_other_shapes(macs, lanes):
    """One product per cycle, more than a vector is long, and sizes that divide nothing."""
    layers = [
        Layer("binary", (5, 4, 4), 9, SAME, gated=True),
        Layer("binary", (9, 4, 4), 1, SAME, gated=True),
        Layer("binary", (1, 4, 4), 4, SAME, gated=True),
    ]
    core = make_params(layers, 3, gate_macs=macs, lanes=lanes, p_in=4, p_out=4, mac_out=4)
    run(core, 0, False)
    run(core, 1, True)


def test_head_alone():
    """A network without gates."""
    run(make_params([Layer()], 5), 0, True)


def test_weights_lie_in_order_of_use():
    """Row by row, ``macs`` per word, zeros behind each row's end."""
    core = mixed()
    program = core.geometry.program
    program = replace(program, stages=program.stages[:2])
    gate = program.stages[1].gate
    words = list(vector_tables(program, 4).weights)
    for matrix in (gate.hidden.weight, gate.out.weight, program.head.weight):
        for row in matrix.tolist():
            padded = row + [0] * (-len(row) % 4)
            for at in range(0, len(padded), 4):
                taken = words.pop(0)
                found = np.array([taken >> (8 * i) & 0xFF for i in range(4)], np.uint8)
                assert found.view(np.int8).tolist() == padded[at : at + 4]
    assert not words
