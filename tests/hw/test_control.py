"""Step generator, issuer and drain: every address, flag and cycle, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from r2b.hw.drain import Drain
from r2b.hw.engine import RowsMissing
from r2b.hw.steps import StepGenerator
from tests.hw.components import cases
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.loops import drive_control
from tests.hw.components.strategies import networks
from tests.hw.components.table import BENCHES, control, mixed


@pytest.mark.parametrize(
    "name", ["control_binary", "control_real", "control_filled", "control_pixels"]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_mixed_network(name, frozen):
    """Gated, static, pooled, strided, dilated stages; frames that arrive slowly."""
    simulate(BENCHES[name](5, frozen))


@settings(max_examples=12)
@given(networks(pixels=(1, 2, 4)))
def test_random_networks(core):
    """Both engines of a random network, without freezes: cycles as predicted."""
    for binary in core.engines:
        dut = control(core, binary)
        simulate(Bench(dut, drive_control(dut, core, binary, 0, False)))


# --------------------------------------------------------------------------------- generator alone


def drive_generator(core, seed):
    """Take each step after a random wait; it is offered when the docstring says."""
    rng = np.random.default_rng(seed)
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        yield {"d": row, "start": 0, "ready": 0}  # the stage before ends
        yield {"start": 1}
        walks = 1  # the stage's first tile needs no step of the walker
        for (ko, tile), last_tile in with_last(conv.tiles()):
            steps = conv.steps(tile)
            plain = list(cases.tile_steps(conv, tile))
            assert [(s.word, s.pixels) for s in steps] == [(w, len(at)) for w, at in plain]
            for step, (_, at) in zip(steps, plain, strict=True):
                expected_wait = 1
                if step.new_tap:
                    expected_wait = StepGenerator.LOOKUP * step.lookups + StepGenerator.ADDRESS
                    expected_wait += walks if step.first_of_tile else 0
                for waited in range(1, expected_wait + 1):
                    outputs = yield {"start": 0, "ready": 0}
                    assert outputs["valid"] == (waited == expected_wait)
                for _ in range(int(rng.integers(0, 4))):
                    outputs = yield {}
                    assert outputs["valid"]
                outputs = yield {"ready": 1}
                check_step(conv, row, (ko, tile, last_tile), step, at, outputs["o"])
            walks = StepGenerator.TILE


def with_last(items):
    """Items, each with whether it is the last."""
    items = list(items)
    return [(item, index == len(items) - 1) for index, item in enumerate(items)]


def check_step(conv, row, place, step, at, found):
    """Fields of a step."""
    ko, tile, last_tile = place
    y, x = at[0][:2]
    assert found["weight"] == row["weight_base"] + ko * row["tile_words"] + (
        step.word * conv.load_words
    )
    assert found["rows"] * found["cols"] == step.pixels
    assert found["cols"] == len({x for _, x, *_ in at})
    assert found["index"] == (y - tile.row) * tile.cols + x - tile.col
    assert (found["first"], found["last"]) == (step.first_of_tile, step.last_of_tile)
    assert found["stage_end"] == (step.last_of_tile and last_tile)


@settings(max_examples=20)
@given(networks())
def test_generator_against_geometry(core):
    """Order, look-ups, weight word, rectangle: the step the geometry lists, in its cycle."""
    engine = next(iter(core.engines.values()))
    dut = StepGenerator(core.stages.layout, core.taps, engine.lanes, core.address_width,
                        core.geometry.plan.tile_pixels)  # fmt: skip
    simulate(Bench(dut, drive_generator(core, 1)))


def test_rows_needed():
    """A tile says which rows it needs, once, in the cycle before it may have to wait for them."""
    core = mixed()
    conv, row = core.geometry.convs[0], core.stages.rows[0]
    # the lowest row that the first tile's last tap reads
    need = (conv.tile_rows - 1) * 2 + 5 - 2
    dut = StepGenerator(core.stages.layout, core.taps, 2, core.address_width, 8)

    def drive():
        yield {"d": row, "start": 1, "ready": 0}
        outputs = yield {"start": 0}
        assert (outputs["need"], outputs["checks"]) == (need, 1)
        outputs = yield {}
        assert (outputs["need"], outputs["checks"]) == (need, 0)

    simulate(Bench(dut, drive()))


@pytest.mark.parametrize("frame", [0, 1])
def test_rows_missing(frame):
    """From the cycle behind the question on, exactly where a stage of the frame lacks a row."""

    def drive():
        here = {"frame": frame, "need": 4, "rows_ready": 0}
        yield here | {"enable": 1, "checks": 0}
        outputs = yield {"checks": 1}
        assert not outputs["missing"]  # not asked for
        for ready in range(1, 7):  # nothing moves, so the question stands
            outputs = yield {"rows_ready": ready, "enable": 0, "checks": 0}
            assert outputs["missing"] == (frame and ready - 1 < 4)
        outputs = yield {"rows_ready": 0, "enable": 1}
        outputs = yield {}
        assert not outputs["missing"]  # answered

    simulate(Bench(RowsMissing(5), drive()))


# -------------------------------------------------------------------------------------- drain alone


def drive_drain(dut, core, binary, seed):
    """Banks fill at random times, the gate holds at random: requests stay in order and whole."""
    rng = np.random.default_rng(seed)
    bank = 0
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        if conv.binary is not binary:
            continue
        wanted = cases.expected_requests(conv, bank)
        sizes = [tile.pixels * conv.tile_groups(ko) for ko, tile in conv.tiles()]
        full, filled, freed, held = 0, 0, 0, 0
        found, last_request = [], 0
        yield {"d": row, "start": 1, "full": 0, "hold": 0}
        for cycle in range(20_000):
            if filled < len(sizes) and filled < freed + 2 and rng.random() < 0.3:
                full |= 1 << (bank + filled) % 2
                filled += 1
            held = int(rng.random() < 0.3)
            outputs = yield {"start": 0, "full": full, "hold": held}
            request = outputs["o"]
            if request.pop("valid"):
                assert full >> request["bank"] & 1, "a bank that is not full"
                found.append(cases.Request(**request))
                last_request = cycle
            if outputs["free"]:
                assert outputs["free"] == 1 << (bank + freed) % 2
                freed += 1
                assert len(found) == sum(sizes[:freed])
                full &= ~outputs["free"]
            if outputs["done"]:
                assert cycle == last_request + dut.flush + 1
                break
        assert found == wanted
        bank = (bank + len(sizes)) % 2


def make_drain(binary):
    """The drain of an engine of the mixed network."""
    core = mixed()
    engine = core.engines[binary]
    groups = engine.array.lanes_out // engine.lanes
    return Drain(core.stages.layout, engine.lanes, core.address_width, engine.array.depth, groups,
                 engine.sign_banks, engine.flush)  # fmt: skip


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_drain(binary, seed):
    """Addresses, groups, sign banks, order, hold, flush."""
    dut = make_drain(binary)
    simulate(Bench(dut, drive_drain(dut, mixed(), binary, seed)))


def test_nothing_starts_while_held():
    """A gate that is not ready stops the drain before its first request."""

    def drive():
        yield {"d": mixed().stages.rows[1], "start": 1, "hold": 1, "full": 3}
        for _ in range(30):
            outputs = yield {"start": 0}
            assert not outputs["o"]["valid"]
        yield {"hold": 0}
        outputs = yield {}
        assert outputs["o"]["valid"]

    simulate(Bench(make_drain(True), drive()))
