"""Tiles, steps, weight words and ranges against plain loops; what the generator does not build."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.hw.chain import SUPPORTED
from r2b.hw.descriptor import stage_rows
from r2b.hw.geometry import ProgramGeometry, ceil_div
from r2b.hw.loops import pack
from r2b.ir.errors import PlanError
from r2b.ir.program import Flatten, Saturate, Skip, Window
from tests.hw.components.cases import Layer, make_geometry, tile_steps
from tests.hw.components.strategies import networks


def all_convs(core):
    """Geometries of a network."""
    return core.geometry.convs


@settings(max_examples=40)
@given(networks())
def test_tiles_cover_every_output_once(core):
    """Each (channel tile, output) once; a tile fits T and is whole rows or a segment of one."""
    for conv in all_convs(core):
        seen = []
        for ko, tile in conv.tiles():
            assert 1 <= tile.pixels <= conv.plan.tile_pixels
            assert tile.rows == 1 or tile.cols == conv.cols
            seen += [(ko, y, x) for y in range(tile.row, tile.row + tile.rows)
                     for x in range(tile.col, tile.col + tile.cols)]  # fmt: skip
        outputs = {(ko, y, x) for ko in range(conv.tiles_out)
                   for y in range(conv.rows) for x in range(conv.cols)}  # fmt: skip
        assert len(seen) == len(outputs)
        assert set(seen) == outputs
        tiles = [ko for ko, _ in conv.tiles()]
        if conv.pixel_outer:
            assert tiles == list(range(conv.tiles_out)) * len(list(conv.pixel_tiles()))
            assert [at for ko, *at in seen if ko == 0] == sorted(at for ko, *at in seen if ko == 0)
        else:
            assert seen == sorted(seen)


@settings(max_examples=40)
@given(networks())
def test_steps_are_the_valid_taps(core):
    """Weight words and pixels of each step, and the flags at a tap's and a tile's ends."""
    for conv in all_convs(core):
        for _, tile in conv.tiles():
            plain = [(word, len(at)) for word, at in tile_steps(conv, tile)]
            steps = conv.steps(tile)
            assert [(s.word, s.pixels) for s in steps] == plain
            places = range(len(steps))
            assert [s.first_of_tile for s in steps] == [i == 0 for i in places]
            assert [s.last_of_tile for s in steps] == [i == len(steps) - 1 for i in places]
            assert [s.new_tap for s in steps] == [i % conv.depth == 0 for i in places]
            assert all(s.lookups == 0 for s in steps if not s.new_tap)


def weight_of(conv, ko, step, out, lane):
    """One weight, looked up the plain way; None where the lane is idle."""
    weight = conv.conv.weight
    channel = ko * conv.lanes_out + out
    tap, kc = divmod(step, conv.depth)
    value = kc * conv.lanes_in + lane
    if channel >= conv.channels_out or value >= conv.values_per_tap:
        return None
    if conv.from_frame:
        kx, c = divmod(value, conv.channels_in)
        return int(weight[channel, c, tap, kx])
    ky, kx = divmod(tap, weight.shape[3])
    return int(weight[channel, value, ky, kx])


@settings(max_examples=30)
@given(networks())
def test_weight_words(core):
    """The image of the weight memory, unpacked bit by bit."""
    for conv in all_convs(core):
        width = conv.plan.weight_word if conv.binary else conv.plan.mac_weight_word
        words = conv.weight_words()
        assert len(words) == conv.tiles_out * conv.steps_per_tile * conv.load_words
        assert all(0 <= word < 1 << width for word in words)
        bits = conv.weight_bits
        for ko in range(conv.tiles_out):
            for step in range(conv.steps_per_tile):
                taken = [words.pop(0) for _ in range(conv.load_words)]
                vector = sum(word << (i * width) for i, word in enumerate(taken))
                for out in range(conv.lanes_out):
                    for lane in range(conv.lanes_in):
                        field = vector >> (bits * (out * conv.lanes_in + lane)) & ((1 << bits) - 1)
                        wanted = weight_of(conv, ko, step, out, lane)
                        idle = 1 if conv.binary else 0
                        assert field == (idle if wanted is None else wanted & ((1 << bits) - 1))


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20))
def test_pack(values):
    """Fields of eight bits, lowest first."""
    found = pack(np.array(values), 8, 0xFF)
    assert [(found >> (8 * i) & 0xFF) for i in range(len(values))] == [v & 0xFF for v in values]
    assert found >> (8 * len(values)) == 0


@given(st.integers(-50, 50), st.integers(1, 9))
def test_ceil_div(a, b):
    """The smallest integer that is not below the quotient."""
    assert (ceil_div(a, b) - 1) * b < a <= ceil_div(a, b) * b


@pytest.mark.parametrize(
    "layer",
    [
        Layer("binary", (3, 4, 4), 2),
        Layer("real", (3, 4, 4), 2),
        Layer("frame", (2, 4, 4), 3, outer=True),
        Layer("real", (3, 4, 4), 2, Window((1, 1)), Window((2, 2), (2, 2))),
    ],
)
def test_acc_bounds(layer):
    """Reached by the worst operands of each output channel, and by nothing more."""
    conv = make_geometry([layer], seed=3).convs[0]
    weight = conv.conv.weight.astype(int)
    if conv.binary:
        low, high = -weight[0].size, weight[0].size
    else:
        ends = np.array((-255, 255) if conv.from_frame else (-256, 255))
        ends = ends * (4 if conv.presum is not None else 1)
        sums = [[sum(max(e * w for e in ends) for w in row.ravel()) for row in weight],
                [sum(min(e * w for e in ends) for w in row.ravel()) for row in weight]]  # fmt: skip
        low, high = min(sums[1]), max(sums[0])
    assert conv.acc_bounds == (low, high)


# ------------------------------------------------------------------------- what is not supported

PLACE = "stage0 at model.0"


def refused(change, layer=None, **plan) -> str:
    """The message for a Program whose first stage is changed."""
    geometry = make_geometry([layer or Layer()], **plan)
    program = geometry.program
    stage = change(program.stages[0])
    with pytest.raises(PlanError) as caught:
        ProgramGeometry(replace(program, stages=(stage,)), geometry.plan)
    return str(caught.value)


def window(**changes):
    """A change of the contraction's window."""
    return lambda s: replace(s, contraction=replace(
        s.contraction, window=replace(s.contraction.window, **changes)))  # fmt: skip


REFUSED = {
    "padding": (
        window(padding=(1, 1, 3, 1)), Layer(),
        "padding (1, 1, 3, 1) leaves outputs without a valid tap",
    ),
    "epilogue": (
        lambda s: replace(s, epilogue=s.epilogue * 5), Layer(),
        f"epilogue {'Affine, Saturate, ' * 4}Affine, Saturate ({SUPPORTED})",
    ),
    "two skips": (
        lambda s: replace(s, epilogue=(Skip("t0"), *s.epilogue[:1], Skip("t0"), s.epilogue[1])),
        Layer(), "epilogue Skip, Affine, Skip, Saturate (supported: Skip once)",
    ),
    "a gate behind other steps": (
        lambda s: replace(s, epilogue=(s.epilogue[1], replace(s.epilogue[0], gated=True),
                                       s.epilogue[1])),
        Layer(), "epilogue Saturate, Affine, Saturate with a gate behind other steps "
        "(supported: in the first step)",
    ),
    "stored, not saturated": (
        lambda s: replace(s, epilogue=s.epilogue[:1]), Layer(),
        "epilogue Affine does not end with Saturate, and its values are stored",
    ),
    "wide saturation": (
        lambda s: replace(s, epilogue=(s.epilogue[0], Saturate(-257, 255))), Layer(),
        "values -257..255 (supported: -256..255, 9 bits)",
    ),
    "gated thresholds": (
        lambda s: replace(s, epilogue=s.epilogue[:1], tensor=None, sums=None, signs=(
            replace(s.signs[0], theta=s.signs[0].theta * 0 + 300),)),
        Layer(gated=True, sums=False),
        "epilogue Affine, not saturated: thresholds beyond 9 bits",
    ),
    "nothing": (
        lambda s: replace(s, signs=(), tensor=None, sums=None), Layer(), "nothing is stored",
    ),
    "presum": (
        window(kernel=(3, 3)),
        Layer("real", (3, 6, 7), 6, Window((1, 1)), Window((2, 2), (2, 2))),
        "average pooling before other than an unpadded 1x1 convolution",
    ),
    "dilation": (
        window(dilation=(2, 2)), Layer("frame", (3, 6, 7)),
        "dilation 2 in the first convolution (supported: 1)",
    ),
    "wide pool": (
        lambda s: replace(s, pool=Window((4, 4), (2, 2))), Layer("frame", (3, 6, 7)),
        "max pooling (4, 4)/(2, 2) (supported: stride <= kernel <= stride + 1)",
    ),
    "sparse pool": (
        lambda s: replace(s, pool=Window((2, 2), (3, 3))), Layer("frame", (3, 6, 7)),
        "max pooling (2, 2)/(3, 3) (supported: stride <= kernel <= stride + 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    """What is lacking, where, and the way out."""
    change, layer, reason = REFUSED[name]
    found = refused(change, layer)
    assert found == f"the fpga target does not build:\n  {PLACE}: {reason}\n--target numpy does"


def test_everything_is_named_at_once():
    """All stages, and all that is wrong with one."""
    geometry = make_geometry([Layer(), Layer(), Layer()])
    program = geometry.program
    first, second, third = program.stages
    first = replace(first, contraction=Flatten("in0"), epilogue=(first.epilogue[0],))
    third = replace(third, contraction=Flatten("in2"))
    with pytest.raises(PlanError) as caught:
        ProgramGeometry(replace(program, stages=(first, second, third)), geometry.plan)
    lines = str(caught.value).split("\n")
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        "stage0 at model.0", "stage0 at model.0", "stage2 at model.2",
    ]  # fmt: skip


def test_other_width():
    """A Plan for other tensors."""
    geometry = make_geometry([Layer()])
    with pytest.raises(PlanError, match=r"^the Plan is for 12-bit tensors, the Program has 9$"):
        ProgramGeometry(geometry.program, replace(geometry.plan, act_bits=12))


POOLED = Layer("binary", (3, 6, 1), 2, pool=Window((2, 1), (2, 1)))
UNBUILDABLE = {
    "narrow pooling": (
        POOLED, {}, r"stage0: max pooling of a single column of at most 2 channels",
    ),
    "line buffer": (
        Layer("frame", (3, 9, 7)), {"line_words": 16},
        r"stage0: the line buffer must hold three rows of tiles and the kernel, "
        r"line_words \d+ or more, not 16",
    ),
    "windows that meet": (
        Layer("frame", (3, 6, 7), 6, Window((1, 1)), pool=Window((2, 2), (1, 1), (1, 1, 0, 0))),
        {}, None,
    ),
    "windows that end together": (
        Layer("frame", (3, 6, 7), 6, Window((1, 1)), pool=Window((2, 2), (1, 1), (0, 0, 0, 1))),
        {}, r"stage0: max pooling windows that end at the same position",
    ),
    "outputs without a tap": (
        Layer("binary", (3, 1, 4), 2, Window((3, 3), (1, 1), (4, 1, 4, 1), (2, 1))),
        {}, r"stage0: padding leaves outputs that see nothing of the input",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_unbuildable(name):
    """What does not fit the Plan or the generator, on a line of its own; what just fits passes."""
    layer, plan, reason = UNBUILDABLE[name]
    if reason is None:
        make_geometry([layer], **plan)
        return
    with pytest.raises(PlanError, match=rf"^this Plan cannot be built:\n  {reason}$"):
        make_geometry([layer], **plan)


def test_all_that_does_not_fit_is_named():
    """Every stage."""
    wrong = [UNBUILDABLE["windows that end together"][0], Layer(), POOLED]
    with pytest.raises(PlanError) as caught:
        make_geometry(wrong)
    found = [line.split(":")[0].strip() for line in str(caught.value).split("\n")[1:]]
    assert found == ["stage0", "stage2"]


@pytest.mark.parametrize("tile_pixels", [4, 8, 12])
@pytest.mark.parametrize("rows", [8, 9, 11, 12])
def test_the_frame_is_complete_when_it_has_been_read(rows, tile_pixels):
    """Rows that no tile reads are waited for, too: the frame is given back behind the last tile."""
    layer = Layer("frame", (1, rows, 8), 4, Window((2, 2), (2, 2)))
    geometry = make_geometry([layer], tile_pixels=tile_pixels)
    conv, (row,) = geometry.convs[0], stage_rows(geometry)
    assert conv.tile_rows == tile_pixels // 4
    *_, last = conv.pixel_tiles()
    assert conv.unread_rows == max(0, rows - 2 * (last.row + conv.tile_rows))
    need = row["need_first"] + last.row // conv.tile_rows * row["need_step"]
    assert min(need, conv.rows_in) == conv.rows_in
