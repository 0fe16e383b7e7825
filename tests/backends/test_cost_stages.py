"""Bounds of the stages: by hand where the machine is simple, and true of random networks."""

from __future__ import annotations

from math import prod

import pytest

from r2b.backends.cost.cycles import predict_cycles
from r2b.backends.cost.hardware import BOUNDS, PIPELINE, StageCost, stage_costs
from r2b.backends.cost.ops import stage_ops
from r2b.backends.cost.stage_memory import StageMemory, head_memory, stage_memory
from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.params import core_params
from r2b.ir.program import BinaryConv, RealConv, Window
from tests.hw.programs import random_program

SEEDS = range(6)
PLANS = {"8x8": (8, 8), "16x4": (16, 4)}


def found(seed: int, shape: tuple[int, int], **changes):
    program = random_program(seed)
    plan = make_plan(program, "ecp5-85f", parallelism=shape, **changes)
    return program, plan, limits_of(program, plan)


def limits_of(program, plan) -> dict[str, StageCost]:
    geometry = ProgramGeometry(program, plan)
    return {stage.name: stage for stage in stage_costs(geometry, core_params(geometry))}


@pytest.mark.parametrize("shape", PLANS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_stage_takes_fewer_cycles_than_its_bounds(seed, shape):
    program, plan, limits = found(seed, PLANS[shape])
    cycles = predict_cycles(program, plan)
    assert list(limits) == [stage.name for stage in program.stages] + [program.head.name]
    for name, limit in limits.items():
        assert limit.cycles == cycles.active(name)
        assert 0 < max(getattr(limit, bound) for bound in BOUNDS) <= limit.cycles
        assert limit.executed <= limit.peak * limit.compute
        assert 0 < limit.utilisation_executed <= 1
        assert limit.macs >= limit.executed


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_attained_lies_below_the_roof(seed):
    for limit in found(seed, (8, 8))[2].values():
        if limit.intensity is not None:
            assert limit.attained <= min(limit.peak, limit.weight_word * limit.intensity)


def test_by_hand():
    """8 channels to 8, 10x10 pixels in tiles of 3 rows, 8x8 lanes, 4 bits of weights per cycle."""
    program = random_program(
        0, frame=(3, 10, 10), widths=(8,), blocks=2, gated=(False,), pool=None, act_bits=12,
        stem=Window((3, 3), (1, 1), (1, 1, 1, 1)),
    )  # fmt: skip
    plan = make_plan(program, "ecp5-85f", parallelism=(8, 8), weight_word=4, tile_pixels=32)
    limit = limits_of(program, plan)[program.stages[1].name]
    taps = 10 * 10 + 4 * 9 * 10 + 4 * 9 * 9  # inside the image, summed over the kernel
    tiles, words_per_step = 4, 8 * 8 // 4
    steps = 9 * tiles - 3  # the last tile is the last row alone, and the taps below it are empty
    assert (plan.lanes, limit.engine, limit.peak) == (4, "binary", 64)
    assert limit.compute == taps
    assert limit.executed == taps * 8 * 8
    assert limit.loaded == steps * words_per_step
    assert limit.weights > limit.loaded
    assert limit.epilogue == 100 * 8 // 4 + tiles
    assert limit.intensity == limit.executed / (limit.loaded * 4)


LIMIT = StageCost("conv", "binary", 100, 40, 30, 20, 10, 1280, 640, 64, 16, 25)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"compute": 50}, "compute"),
        ({"weights": 60}, "weights"),
        ({"epilogue": 99}, "epilogue"),
        ({"gate": 51}, "gate"),
        ({"compute": 49, "weights": 49}, PIPELINE),
    ],
)
def test_what_binds(changes, name):
    assert StageCost(**{**vars(LIMIT), **changes}).binds == name


def test_figures_of_a_stage():
    assert (LIMIT.attained, LIMIT.utilisation, LIMIT.utilisation_executed) == (6.4, 0.2, 0.1)
    assert LIMIT.intensity == 640 / (25 * 16)
    assert StageCost(**{**vars(LIMIT), "weight_word": 0}).intensity is None


@pytest.mark.parametrize("seed", SEEDS)
def test_macs_are_those_of_the_contraction(seed):
    program, _, limits = found(seed, (8, 8))
    for stage in program.stages:
        ops = stage_ops(program, stage)
        if stage.gate is None and isinstance(stage.contraction, BinaryConv):
            assert limits[stage.name].executed == ops.binary_executed
        if isinstance(stage.contraction, RealConv):
            assert limits[stage.name].executed == ops.real_executed


# --------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("seed", SEEDS)
def test_bits_of_a_stage(seed):
    program = random_program(seed)
    for stage in program.stages:
        bits = stage_memory(program, stage)
        conv, gate = stage.contraction, stage.gate
        dense = [gate.hidden.weight, gate.out.weight] if gate else []
        real = 8 * sum(weight.size for weight in dense)
        assert isinstance(conv, BinaryConv | RealConv)
        if isinstance(conv, BinaryConv):
            assert (bits.binary_weights, bits.real_weights) == (conv.weight.size, real)
        else:
            assert bits.real_weights == conv.weight.size * conv.weight_bits + real
        assert bits.tensor == (prod(stage.shape) * program.act_bits if stage.tensor else 0)
        assert bits.signs == len(stage.signs) * prod(stage.shape)


def test_bits_add_up():
    program = random_program(0)
    assert head_memory(program) == StageMemory(real_weights=8 * program.head.weight.size)
    assert StageMemory(1, 2, 3, 4) + StageMemory(10, 20, 30, 40) == StageMemory(11, 22, 33, 44)
