"""The memory map, replayed access by access."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.backends.fpga.memory_map import (
    Lifetime,
    map_signs,
    map_tensors,
    place,
    skips_of,
    tensor_readers,
    writes_follow_reads,
)
from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ConvGeometry, ProgramGeometry, ceil_div
from r2b.hw.passes import signs_of
from r2b.ir.program import BinaryConv, Program, Window
from tests.hw.components.cases import Layer, make_geometry, tile_steps
from tests.hw.components.strategies import layers
from tests.hw.families import FAMILIES
from tests.hw.programs import random_program

# ---------------------------------------------------------------------------------------- place


@st.composite
def lifetimes(draw) -> list[Lifetime]:
    """Values in order of the stage that writes them."""
    found, first = [], 0
    for index in range(draw(st.integers(1, 9))):
        first += draw(st.integers(0, 2))
        last = first + draw(st.integers(0, 4))
        found.append(Lifetime(f"v{index}", draw(st.integers(1, 20)), first, last))
    return found


@given(lifetimes())
def test_live_values_never_overlap(values):
    """Two values that live in the same stage share no word; first fit leaves no hole in front."""
    bases = place(values, {})
    for index, a in enumerate(values):
        for b in values[:index]:
            alive = a.first <= b.last and b.first <= a.last
            apart = bases[a.name] + a.words <= bases[b.name] or (
                bases[b.name] + b.words <= bases[a.name]
            )
            assert apart or not alive
    assert min(bases.values()) == 0


def test_place_in_place():
    """A value put where another is."""
    values = [Lifetime("a", 4, 0, 2), Lifetime("b", 3, 1, 5), Lifetime("c", 4, 2, 3)]
    assert place(values, {"c": "a"}) == {"a": 0, "b": 4, "c": 0}


# ------------------------------------------------------------------------------- in place, proved


def accesses(conv: ConvGeometry) -> list[tuple[set[int], set[int]]]:
    """Per tile in order: every address it reads, every address its results go to."""
    per_tile = conv.lanes_out // conv.plan.lanes
    found = []
    for ko, tile in conv.tiles():
        reads = {
            iy * conv.row_words + ix * conv.depth + kc
            for _, at in tile_steps(conv, tile)
            for _, _, iy, ix, kc in at
        }
        writes = {
            (y * conv.cols + x) * conv.groups + ko * per_tile + group
            for y in range(tile.row, tile.row + tile.rows)
            for x in range(tile.col, tile.col + tile.cols)
            for group in range(conv.tile_groups(ko))
        }
        found.append((reads, writes))
    return found


def safe(conv: ConvGeometry) -> bool:
    """No tile's results hit an address that a later tile reads."""
    later: set[int] = set()
    for reads, writes in reversed(accesses(conv)):
        if writes & later:
            return False
        later |= reads
    return True


@settings(max_examples=200)
@given(layers(("real", "presum")), st.integers(1, 3), st.integers(1, 3), st.integers(1, 30))
def test_writes_follow_reads(layer, lanes, tiles, pixels):
    """What is called safe is safe, read by read and write by write."""
    layer = replace(layer, outer=True)
    plan = {"lanes": lanes, "p_in": lanes, "p_out": lanes, "mac_out": lanes * tiles}
    conv = make_geometry([layer], tile_pixels=pixels, **plan).convs[0]
    if writes_follow_reads(conv):
        assert safe(conv)


@pytest.mark.parametrize("pixels", [1, 4, 7, 8, 64])
@pytest.mark.parametrize(("channels", "wanted"), [(4, True), (8, True)])
def test_the_halving_shortcut_is_in_place(channels, wanted, pixels):
    """2x2 average and 1x1 convolution to the same or twice the channels: proved, for any tile."""
    window = Window((2, 2), (2, 2))
    layer = Layer("real", (4, 8, 8), channels, Window((1, 1)), window, outer=True)
    conv = make_geometry([layer], tile_pixels=pixels, mac_out=8).convs[0]
    assert conv.tiles_out == 1
    assert writes_follow_reads(conv) == safe(conv)
    assert writes_follow_reads(conv) is wanted or pixels > 4


def test_unsafe_ones_are_refused():
    """A 3x3 window, several channel tiles that read again, one word too far."""
    wide = Layer("real", (2, 6, 6), 2, Window((3, 3), (1, 1), (1, 1, 1, 1)), outer=True)
    again = Layer("real", (2, 6, 6), 8, Window((1, 1)), outer=True)
    far = Layer("real", (2, 1, 2), 4, Window((1, 1)), outer=True)
    for layer, mac_out in ((wide, 2), (again, 2), (far, 4)):
        conv = make_geometry([layer], lanes=2, mac_out=mac_out, tile_pixels=1).convs[0]
        assert not safe(conv)
        assert not writes_follow_reads(conv)


# ------------------------------------------------------------------------------- whole Programs

PLANS = {
    "default": {},
    "narrow": {"parallelism": (4, 4), "tile_pixels": 8},
    "two channel tiles": {"parallelism": (8, 4), "lanes": 4, "mac_out": 4},
    "streamed": {"parallelism": (8, 8), "weights": "stream"},
}


def tensor_words(program: Program, name: str, lanes: int) -> int:
    """Words of a tensor."""
    channels, rows, cols = program.tensors[name].shape
    return ceil_div(channels, lanes) * rows * cols


PROGRAMS = {f"random{seed}": partial(random_program, seed) for seed in range(6)} | {
    name: partial(family, 1) for name, family in FAMILIES.items()
}


@pytest.mark.parametrize("plan_name", PLANS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_tensors_replayed(name, plan_name):
    """Whoever reads a word finds the tensor he means there, stage after stage."""
    program = PROGRAMS[name]()
    plan = make_plan(program, **PLANS[plan_name])
    geometry = ProgramGeometry(program, plan)
    owner: dict[int, str] = {}
    for conv in geometry.stages:
        stage = conv.stage
        for name in tensor_readers(program, stage):
            base = plan.tensors[name]
            words = range(base, base + tensor_words(program, name, plan.lanes))
            assert {owner.get(word) for word in words} == {name}, f"{stage.name} reads {name}"
        if stage.tensor is None:
            continue
        base = plan.tensors[stage.tensor]
        written = set(range(base, base + tensor_words(program, stage.tensor, plan.lanes)))
        for name in tensor_readers(program, stage):
            source = plan.tensors[name]
            read = set(range(source, source + tensor_words(program, name, plan.lanes)))
            if written & read:
                assert base == source
                assert conv.part.last
                assert conv.pool is None
                if name not in skips_of(stage):
                    assert stage.name in plan.pixel_outer
                    assert safe(conv)
                else:  # each address is read once, by whom it is written
                    assert tensor_readers(program, stage).count(name) == 1
        owner |= dict.fromkeys(written, stage.tensor)


@pytest.mark.parametrize("plan_name", PLANS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_signs_replayed(name, plan_name):
    """The same for sign maps, which are never in place."""
    program = PROGRAMS[name]()
    plan = make_plan(program, **PLANS[plan_name])
    owner: dict[int, str] = {}
    for stage in program.stages:
        reads: set[int] = set()
        for source in signs_of(program, stage.contraction):
            words = sign_words(program, plan, source)
            assert {owner.get(word) for word in words} == {source}
            reads |= words
        for sink in stage.signs:
            written = sign_words(program, plan, sink.name)
            assert not written & reads
            owner |= dict.fromkeys(written, sink.name)


def sign_words(program: Program, plan, name: str) -> set[int]:
    """Words of a sign map."""
    channels, rows, cols = program.sign_shapes[name]
    base = plan.signs[name]
    return set(range(base, base + ceil_div(channels, plan.p_in) * rows * cols))


def test_skip_adds_are_in_place():
    """That is what the feature memory's size stands on."""
    program = random_program(2)
    plan = make_plan(program)
    tensors, _ = map_tensors(program, plan)
    assert map_signs(program, plan) == plan.signs
    blocks = [s for s in program.stages if isinstance(s.contraction, BinaryConv) and s.tensor]
    shared = [s for s in blocks if tensors[s.tensor] == tensors[tensor_readers(program, s)[0]]]
    assert blocks
    assert shared == blocks
