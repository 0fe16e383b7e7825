"""The cycles of a stage, and the words of the tables, against the slow way of finding them."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from r2b.backends.fpga.planner import make_plan
from r2b.hw import timing
from r2b.hw.drain import Drain
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.issue import Issuer
from r2b.hw.loops import pack, pack_fields, pack_rows
from r2b.hw.params import core_params
from r2b.hw.steps import StepGenerator
from r2b.hw.timing import CLOSE_SEGMENT, NEED_ROWS, NEED_SEGMENT, START
from tests.hw.families import FAMILIES
from tests.hw.programs import random_program

PLANS = (
    ((8, 8), {"lanes": 4, "mac_out": 4, "tile_pixels": 7, "gate_macs": 1}),
    ((4, 4), {"lanes": 2, "mac_out": 2, "tile_pixels": 16, "weights": "stream",
              "weight_word": 8, "mac_weight_word": 8, "gate_macs": 2}),
    ((16, 4), {"lanes": 1, "mac_out": 3, "tile_pixels": 40, "weight_word": 4}),
    ((4, 4), {"lanes": 2, "mac_out": 2, "tile_pixels": 6, "weights": "stream", "vector": "stream",
              "weight_word": 64, "mac_weight_word": 64}),
    ((8, 8), {"lanes": 4, "mac_out": 4, "tile_pixels": 7, "batch": 3}),
    ((4, 4), {"lanes": 2, "mac_out": 2, "tile_pixels": 30, "weights": "stream", "batch": 4,
              "weight_word": 16, "mac_weight_word": 16, "presum_buffer": True}),
    ((4, 4), {"lanes": 2, "mac_out": 2, "tile_pixels": 6, "weights": "stream", "vector": "stream",
              "weight_word": 64, "mac_weight_word": 64, "batch": 2}),
)  # fmt: skip
DEEP = random_program(5, widths=(32, 64), blocks=2)


def tiles_of_batch(conv):
    """(Output-channel tile, pixel tile) in the order in which they run, those of every frame; where
    a tile holds several frames, those of so many frames are one.
    """
    tiles, frames = list(conv.tiles()), range(conv.plan.batch // conv.tile_frames)
    if conv.pixel_outer:
        return [tile for _ in frames for tile in tiles]
    kos = range(conv.tiles_out)
    return [tile for ko in kos for _ in frames for tile in tiles if tile[0] == ko]


def step_by_step(conv, engine, gate, read):
    """The recurrence of the module's docstring, one step after the other."""
    loading, turnaround = engine.array.load_words + Issuer.WORD_LATENCY, engine.turnaround
    taken, handed, pixels = START + 1 - StepGenerator.TILE, -turnaround, 0
    waiting = START + 1 + Drain.SETUP
    freed: deque[int] = deque([0, 0], maxlen=2)
    issued = words = 0
    events = []
    tiles = tiles_of_batch(conv)
    per_segment = len(tiles) // conv.segments
    for index, (ko, tile) in enumerate(tiles):
        if conv.from_frame:
            events.append((taken + 1 + StepGenerator.TILE, NEED_ROWS))
        for step in conv.steps(tile, ko):
            opens = index % per_segment == 0 and step.first_of_tile
            offered = taken + 1
            if step.new_tap:
                offered = taken + StepGenerator.LOOKUP * step.lookups + StepGenerator.ADDRESS
            if step.first_of_tile:
                offered += StepGenerator.TILE
            taken = max(offered, handed + turnaround + 1, read if opens and index else 0)
            earliest = freed[0] if step.first_of_tile else 0
            handed = max(taken + loading, handed + pixels, earliest)
            pixels = conv.tile_frames * step.pixels
            issued += pixels
            if opens:
                events.append((taken + 1, NEED_SEGMENT))
            if (index + 1) % per_segment == 0 and step.last_of_tile:
                events.append((taken + engine.array.load_words, CLOSE_SEGMENT))
        full = handed + pixels + engine.settle
        drain = conv.tile_frames * tile.pixels * conv.tile_groups(ko)
        last = max(full, waiting, gate) + drain
        waiting = last + 1 + Drain.SETUP
        freed.append(last + 2)
        words += drain
        if conv.from_frame and (index + 1) % conv.num_tiles == 0:
            taken = handed + pixels + 1 - StepGenerator.TILE
    return last + engine.flush + 2, issued, words, sorted(events)


@pytest.mark.parametrize("plan", range(len(PLANS)))
@pytest.mark.parametrize("name", ["gates", "vgg", "padded", "dense", "deep", "react"])
def test_every_pass_is_the_recurrence(name, plan):
    """Also where output-channel tiles repeat, and whenever the gate is ready."""
    program = DEEP if name == "deep" else FAMILIES[name](1)
    shape, changes = PLANS[plan]
    geometry = ProgramGeometry(program, make_plan(program, parallelism=shape, **changes))
    params = core_params(geometry)
    for conv in geometry.convs:
        engine = params.engines[conv.binary]
        found = timing.conv_cycles(conv, params)
        gate = conv.stage.gate
        read = timing.weights_read(gate, params.vector) if gate else 0
        active, issued, words, events = step_by_step(conv, engine, found.gate, read)
        kinds = {NEED_ROWS, NEED_SEGMENT, CLOSE_SEGMENT}
        mine = sorted((e.cycle, e.kind) for e in found.events if e.kind in kinds)
        assert (found.active, found.issued, found.drained, mine) == (active, issued, words, events)
        assert conv.num_steps == sum(len(conv.steps(tile, ko)) for ko, tile in conv.tiles())
        assert conv.num_tiles == len(list(conv.tiles()))


@pytest.mark.parametrize("tile_pixels", [6, 55, 56, 120, 170, 1000])
def test_frames_of_a_tile(tile_pixels):
    """As many whole images as it has room for, and divide the batch; one frame that comes in."""
    program = FAMILIES["gates"](1)
    plan = make_plan(program, parallelism=(4, 4), tile_pixels=tile_pixels, batch=4)
    frame, *others = ProgramGeometry(program, plan).convs
    assert frame.tile_frames == 1
    for conv in others:
        room = tile_pixels // (conv.rows * conv.cols)
        assert conv.tile_frames == (4 if room >= 4 else 2 if room >= 2 else 1)
        assert conv.tile_frames * conv.batch_tiles == 4
        assert conv.tile_frames == 1 or len(list(conv.pixel_tiles())) == 1


def test_repeated_channel_tiles_are_covered():
    """The largest case has more of them than the recurrence is run for."""
    shape, changes = PLANS[1]
    geometry = ProgramGeometry(DEEP, make_plan(DEEP, parallelism=shape, **changes))
    assert max(conv.tiles_out for conv in geometry.convs if not conv.pixel_outer) >= 16


numbers = st.integers(-(2**15), 2**15 - 1)


@given(st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=1, max_size=4),
       st.integers(1, 16), st.integers(1, 100))  # fmt: skip
def test_rows_of_words(rows, bits, width):
    """Word k of a row is the packed row's bits from ``k * width`` on."""
    array = np.array(rows, np.int64)
    wanted = []
    for row in array:
        whole = pack(row & ((1 << bits) - 1), bits, (1 << bits) - 1)
        for start in range(0, 5 * bits, width):
            wanted.append((whole >> start) & ((1 << width) - 1))
    assert pack_rows(array, bits, width) == wanted


@given(st.lists(st.tuples(numbers, st.integers(0, 1)), max_size=6))
def test_fields_are_packed_as_amaranth_does(values):
    """Elements that are left away are zeros."""
    layout = data.ArrayLayout(data.StructLayout({"theta": signed(16), "flip": 1}), 6)
    given_ = [{"theta": theta, "flip": flip} for theta, flip in values]
    wanted = layout.const(given_ + [{}] * (6 - len(values))).as_value().value
    columns = [[theta for theta, _ in values], [flip for _, flip in values]]
    assert pack_fields(list(zip(columns, (16, 1), strict=True))) == wanted
