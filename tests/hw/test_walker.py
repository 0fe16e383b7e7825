"""The tile walker against the geometry's loops."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from r2b.hw.batch import Batch
from r2b.hw.geometry import ceil_div
from r2b.hw.walker import TileWalker
from r2b.ir.program import Window
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import Layer, make_params, source_base
from tests.hw.components.strategies import networks

AT_ONCE = {"row", "col", "ko", "weight", "fm", "sm", "byte", "phase", "need", "free"}
"""What is there in the first cycle."""


def expected(conv, row):
    """Every tile in order: where it is, and its offset into each memory."""
    stride, pad = conv.window.stride, conv.window.padding
    sign_words = ceil_div(conv.channels_out, conv.plan.p_in)
    tiles = list(conv.tiles())
    for number, (ko, tile) in enumerate(tiles):
        place = 0 if conv.stage.pool is not None else tile.row * conv.cols + tile.col
        reach = conv.window.dilation[0] * (conv.window.kernel[0] - 1) + 1 - pad[0]
        wanted = {
            "row": tile.row, "col": tile.col, "rows": tile.rows, "cols": tile.cols, "ko": ko,
            "last": number == len(tiles) - 1,
            "last_pixels": tile.row + tile.rows == conv.rows and tile.col + tile.cols == conv.cols,
            "weight": row["weight_base"] + ko * row["tile_words"],
            "fm": place * conv.groups, "sm": place * sign_words,
        }  # fmt: skip
        if conv.from_frame:
            byte = (tile.col * stride[1] - pad[1]) * conv.channels_in
            word, phase = divmod(byte, conv.lanes_in)
            wanted |= {"byte": byte, "phase": phase,
                       "src": tile.row * stride[0] * conv.row_words + word,
                       "need": (tile.row + conv.tile_rows - 1) * stride[0] + reach
                       + conv.unread_rows,
                       "free": (tile.row + conv.tile_rows) * stride[0] - pad[0]}  # fmt: skip
        else:
            src = tile.row * stride[0] * conv.row_words + tile.col * stride[1] * conv.depth
            wanted |= {"src": source_base(conv) + src}
        yield wanted


def expected_of_batch(conv, row, batch):
    """The same for every frame of a batch, with its offsets; a frame's memories lie together."""
    tiles = list(expected(conv, row))
    order = [(f, t) for f in range(0, batch.frames, row["tile_frames"]) for t in tiles]
    if not conv.pixel_outer:
        order.sort(key=lambda place: place[1]["ko"])  # stable
    for frame, wanted in order:
        last = frame == batch.frames - row["tile_frames"]
        yield wanted | {
            "frame": frame, "frame_end": wanted["last"],
            "last": wanted["last"] and last, "last_pixels": wanted["last_pixels"] and last,
            "fm": wanted["fm"] + frame * batch.fm, "sm": wanted["sm"] + frame * batch.sm,
            "src": wanted["src"] + frame * row["frame_src"],
        }  # fmt: skip


def drive(core):
    """Walk every stage, as fast as it goes and with idle cycles in between."""
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        yield {"d": row, "start": 1, "step": 0}
        several = core.batch.several
        found = expected_of_batch(conv, row, core.batch) if several else expected(conv, row)
        for number, wanted in enumerate(found):
            last = TileWalker.DERIVED + (number % 3 > 0)
            for age in range(last + 1):
                outputs = yield {"start": 0, "step": age == last}
                due = {n for n in wanted if age >= TileWalker.DERIVED or n in AT_ONCE}
                found = outputs["o"]
                assert {name: found[name] for name in due} == {n: wanted[n] for n in due}


@pytest.mark.parametrize("lanes", [1, 2, 4, 5])
@pytest.mark.parametrize("tile_pixels", [3, 5, 20])
def test_frame(lanes, tile_pixels):
    """Segments of a row of the frame: every phase, wrapping into the next word."""
    window = Window((3, 3), (2, 1), (1, 1, 1, 1))
    layers = [Layer("frame", (3, 8, 11), 9, window)]
    sizes = {"lanes": lanes, "p_in": lanes, "p_out": lanes, "mac_out": lanes}
    core = make_params(layers, tile_pixels=tile_pixels, line_words=512, **sizes)
    dut = TileWalker(core.stages.layout, lanes, core.address_width)
    simulate(Bench(dut, drive(core)))


@pytest.mark.parametrize("tile_pixels", [9, 40, 200])
def test_frames_of_a_batch(tile_pixels):
    """Channels outside, pixels outside and the frame itself; four of them, up to four to a tile."""
    layers = [
        Layer("frame", (3, 8, 11), 9),
        Layer("binary", (10, 6, 7), 9),
        Layer("real", (9, 5, 4), 10),
        Layer("real", (6, 5, 4), 9, outer=True),
    ]
    core = make_params(layers, tile_pixels=tile_pixels, batch=4)
    assert core.batch == Batch(4, core.fm_words // 4, core.sm_words // 4)
    sources = [core.batch.sm, core.batch.fm, core.batch.fm]
    assert [row["frame_src"] for row in core.stages.rows] == [0, *sources]
    dut = TileWalker(core.stages.layout, 2, core.address_width, core.batch)
    simulate(Bench(dut, drive(core)))


@settings(max_examples=40)
@given(networks())
def test_walker(core):
    """Order and addresses of all stages of a random network."""
    dut = TileWalker(core.stages.layout, core.geometry.plan.lanes, core.address_width)
    simulate(Bench(dut, drive(core)))
