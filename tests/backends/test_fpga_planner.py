"""The default Plan of each device, and what is refused."""

from __future__ import annotations

import re

import pytest

from r2b.backends.cost.resources import estimate
from r2b.backends.fpga.emit import render_verilog
from r2b.backends.fpga.planner import (
    MAC_SHARE,
    SHAPES,
    SHARES,
    make_plan,
    misfit_warning,
    misfits,
    parse_parallelism,
)
from r2b.hw.devices import DEVICES, device
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.plan import Plan
from r2b.ir.errors import PlanError
from tests.hw.programs import random_program

PROGRAM = random_program(1)
DEFAULTS = {
    "ecp5-25f": (64, 16), "ecp5-45f": (64, 32), "ecp5-85f": (64, 64), "xc7a35t": (64, 32),
    "xc7a100t": (64, 64), "xc7z020": (64, 64), "zu3eg": (64, 64), "zu7ev": (64, 64),
}  # fmt: skip


def test_the_devices_that_other_tools_lean_on():
    """Names are fixed; every figure has its source."""
    assert list(DEVICES) == list(DEFAULTS)
    assert all(d.name == name and d.source for name, d in DEVICES.items())
    assert device("zu7ev").dsps == 1728


def test_unknown_device():
    """The known ones are listed."""
    text = f"^unknown device 'xc7'; known: {', '.join(DEFAULTS)}$"
    with pytest.raises(PlanError, match=text):
        make_plan(PROGRAM, "xc7")


def test_the_largest_arrays_come_first():
    """All powers of two up to 64 each way."""
    sizes = [p_in * p_out for p_in, p_out in SHAPES]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(SHAPES)) == 49
    assert (SHAPES[0], SHAPES[-1]) == ((64, 64), (1, 1))


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_parallelism(name):
    """The default Plan is within the device."""
    target, plan = DEVICES[name], make_plan(PROGRAM, name)
    assert (plan.p_in, plan.p_out) == DEFAULTS[name]
    needs, has = estimate(PROGRAM, plan).needs(), target.has()
    assert list(needs) == list(has) == list(SHARES)
    assert all(needs[key] <= SHARES[key] * has[key] for key in needs)


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_plan(name):
    """Legal, within the DSPs, at the usual clock, in the Program's width."""
    target = DEVICES[name]
    plan = make_plan(PROGRAM, name)
    ProgramGeometry(PROGRAM, plan)
    assert (plan.device, plan.clock_mhz) == (name, target.clock_mhz)
    assert plan.act_bits == PROGRAM.act_bits
    macs = plan.lanes * plan.mac_out
    assert macs <= max(plan.lanes**2, min(128, MAC_SHARE * target.dsps))
    assert plan.tile_pixels == (32 if target.family == "ecp5" else 64)
    assert plan.weights == "chip"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("64x64", (64, 64)),
        ("1x7", (1, 7)),
        (" 8X4 ", (8, 4)),
        ("03x3", (3, 3)),
        ("64x64x2", (64, 64, 2)),
        ("8x4x1", (8, 4, 1)),
    ],
)
def test_parse_parallelism(text, wanted):
    """Any two positive integers, and pixels at a time."""
    assert parse_parallelism(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "64", "x", "64x", "x64", "0x64", "64x0", "-1x4", "4x-1", "4x4x3", "4x4x0", "4x4x4x4",
     "axb", "1.5x2", "4 x 4", "٣x٣", "64x64\n1"],
)  # fmt: skip
def test_no_parallelism(text):
    """Zero, negative, no number: one message."""
    wanted = (
        "parallelism must be PINxPOUT with two positive integers, for example 64x64, or "
        f"PINxPOUTxPPX with 1, 2 or 4 pixels at a time, for example 64x64x2, not {text!r}"
    )
    with pytest.raises(PlanError, match=f"^{re.escape(wanted)}$"):
        parse_parallelism(text)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 7), (12, 8), (64, 48), (128, 32)])
@pytest.mark.parametrize("weights", ["chip", "stream"])
def test_any_parallelism_is_legal(shape, weights):
    """Lanes divide both sides; the Plan is built."""
    plan = make_plan(PROGRAM, parallelism=shape, weights=weights)
    assert (plan.p_in, plan.p_out) == shape
    assert shape[0] % plan.lanes == shape[1] % plan.lanes == plan.mac_out % plan.lanes == 0
    assert weights == "chip" or plan.weight_word == plan.mac_weight_word


def test_changes_replace_parameters():
    """Each by name; what depends on it follows."""
    plan = make_plan(PROGRAM, "zu3eg", 123, (16, 16), lanes=2, tile_pixels=9, hop=3, gate_macs=5)
    assert (plan.clock_mhz, plan.lanes, plan.tile_pixels) == (123.0, 2, 9)
    assert (plan.hop, plan.gate_macs, plan.p_px) == (3, 5, 1)
    assert make_plan(PROGRAM, parallelism=(16, 16, 2)).p_px == 2
    assert make_plan(PROGRAM, p_px=4).p_px == 4
    assert isinstance(plan.clock_mhz, float)


def test_unknown_parameters():
    """All of them are named."""
    with pytest.raises(PlanError, match=r"^unknown Plan parameter depth, voltage$"):
        make_plan(PROGRAM, voltage=1, depth=2)


def test_one_bus():
    """Streamed weights of two widths."""
    text = re.escape(
        "streamed weights come over one bus: weight_word and mac_weight_word must be equal, not "
        "32 and 64"
    )
    with pytest.raises(PlanError, match=f"^{text}$"):
        make_plan(PROGRAM, weights="stream", weight_word=32, mac_weight_word=64)


OUT_OF_RANGE = [
    ("lanes", 3), ("lanes", -2), ("mac_out", 7), ("tile_pixels", -1), ("weight_word", -4),
    ("mac_weight_word", 0), ("gate_macs", 0), ("line_words", 100), ("line_words", 1), ("hop", 0),
    ("weights", "disk"), ("p_in", 5), ("p_out", 0), ("act_bits", 7),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_out_of_range(name, value):
    """A Plan parameter that is illegal ends in a PlanError, which names it or what it breaks."""
    with pytest.raises(PlanError):
        make_plan(PROGRAM, parallelism=(8, 8), **{name: value})


def test_the_plan_comes_back_from_its_text():
    """With its memory map."""
    plan = make_plan(PROGRAM)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.tensors
    assert plan.signs


def test_a_plan_of_ones_own_that_does_not_fit():
    """It is built; the warning names need, have and the way out. One that fits needs none."""
    plan = make_plan(PROGRAM, "ecp5-25f", parallelism=(64, 64))
    needs = estimate(PROGRAM, plan).needs()
    text = misfit_warning(PROGRAM, plan)
    assert text == (
        f"the Plan does not fit ecp5-25f: it needs {needs['LUT']:,} LUT of 24,288, "
        f"{needs['FF']:,} FF of 24,288, {needs['DSP']:,} DSP of 28, as estimated; choose a "
        "smaller --parallelism or a larger --device (ecp5-85f, xc7a100t, xc7z020, zu3eg, zu7ev)"
    )
    assert misfit_warning(PROGRAM, make_plan(PROGRAM, "xc7z020")) is None


def test_the_vector_unit_is_streamed_where_block_ram_is_short(monkeypatch):
    """Not otherwise, and not where its MACs are asked for."""
    streamed = {"parallelism": (8, 8), "weights": "stream"}
    assert make_plan(PROGRAM, **streamed).vector == "chip"
    monkeypatch.setitem(SHARES, "RAM18", 0.0)
    plan = make_plan(PROGRAM, **streamed)
    assert (plan.vector, plan.gate_macs, plan.presum_buffer) == ("stream", 8, True)
    assert make_plan(PROGRAM, gate_macs=4, **streamed).vector == "chip"


def test_constants_of_luts_take_no_block_ram():
    """In the estimate, and yosys is told so in the Verilog."""
    shape = {"parallelism": (8, 8), "constants": "logic"}
    plan = make_plan(WIDE, "ecp5-85f", **shape)
    assert estimate(WIDE, plan).components["epilogue"].ram18 == 0
    assert '(* rom_style = "logic" *)' in render_verilog(ProgramGeometry(WIDE, plan))


NARROW = random_program(3)
WIDE = random_program(0)


def test_a_default_plan_that_the_dsps_bind_packs_two_products():
    """Where they fit; 9-bit operands do on 7-series, 12-bit ones do not."""
    assert (NARROW.act_bits, WIDE.act_bits) == (9, 12)
    more = {"gate_macs": 64}  # leaves few DSPs of the 90
    packed, single = (make_plan(net, "xc7a35t", **more) for net in (NARROW, WIDE))
    assert (packed.mac_packing, single.mac_packing) == (2, 1)
    without = make_plan(NARROW, "xc7a35t", mac_packing=1, **more)
    assert packed.lanes * packed.mac_out > without.lanes * without.mac_out
    assert packed.p_in * packed.p_out >= without.p_in * without.p_out
    assert not misfits(NARROW, packed, SHARES)


@pytest.mark.parametrize(
    ("program", "name", "text"),
    [
        (WIDE, "xc7z020", "mac_packing 2: two products of 12-bit operands and 8-bit weights need a "
         "factor of 27 bits, DSP48E1 takes 25; choose --act-bits 10 or less, or mac_packing 1"),
        (PROGRAM, "zu3eg", "mac_packing 2: two products of 16-bit operands and 8-bit weights need "
         "a factor of 31 bits, DSP48E2 takes 27; choose --act-bits 12 or less, or mac_packing 1"),
        (NARROW, "ecp5-85f", "mac_packing 2: two products of 9-bit operands and 8-bit weights need "
         "a factor of 24 bits, MULT18X18D takes 18; choose mac_packing 1"),
    ],
)  # fmt: skip
def test_products_that_do_not_fit_in_pairs(program, name, text):
    """What they need, what the block takes, which width would do."""
    with pytest.raises(PlanError, match=f"^this Plan cannot be built:\n  {re.escape(text)}$"):
        make_plan(program, name, parallelism=(8, 8), mac_packing=2)


def test_a_weight_that_does_not_fit_in_a_pair():
    """-128 times the least activation is one more than the lower field holds."""
    program = random_program(3)
    stage = program.stages[0]
    stage.contraction.weight[0, 0, 0, 0] = -128
    text = (
        f"this Plan cannot be built:\n  {stage.name}: mac_packing 2 needs weights from -127 to "
        "127, not -128; choose mac_packing 1"
    )
    with pytest.raises(PlanError, match=f"^{text}$"):
        make_plan(program, "xc7z020", parallelism=(8, 8), mac_packing=2)
    assert make_plan(program, "xc7z020", parallelism=(8, 8)).mac_packing == 1


def test_more_macs_with_fewer_dsps():
    """Two products in a DSP, and products of LUTs, come on top of the usual MACs."""
    usual, packed, luts = (
        make_plan(NARROW, "xc7z020", parallelism=(32, 32), **more)
        for more in ({}, {"mac_packing": 2}, {"lut_macs": 5})
    )
    assert packed.mac_out == 2 * usual.mac_out
    assert luts.mac_out == usual.mac_out + 2 * luts.lanes
    needs = [estimate(NARROW, plan).needs() for plan in (usual, packed, luts)]
    assert needs[0]["DSP"] == needs[1]["DSP"]
    assert needs[2]["DSP"] == needs[0]["DSP"] + (2 * luts.lanes - 5) * luts.lanes


def test_nothing_fits():
    """The resource, what it needs, what there is, the way out."""
    text = (
        r"no array from 64x64 to 1x1 fits ecp5-25f with this network: the last one tried needs .*"
        r"\d+ DSP, of which 95% of 28 may be used; choose a larger --device \(ecp5-85f, .*\) or a "
        r"--parallelism of your own, which is not held to these limits"
    )
    with pytest.raises(PlanError, match=f"^{text}$"):
        make_plan(PROGRAM, "ecp5-25f", gate_macs=64, lanes=1, weights="chip")


def test_weights_that_do_not_fit_on_chip_are_streamed():
    program = random_program(
        0, frame=(3, 8, 8), widths=(128, 256), blocks=3, pool=None, gated=(False,), act_bits=8
    )
    plan = make_plan(program, "ecp5-25f")
    assert plan.weights == "stream"
    assert not misfits(program, plan, SHARES)


def test_few_channels_of_a_large_image_fit_a_small_array():
    """Their maps fill block RAM only where most lanes of a word are idle."""
    program = random_program(
        0, frame=(3, 64, 64), widths=(8,), blocks=1, pool=None, gated=(False,), act_bits=12
    )
    plan = make_plan(program, "ecp5-25f")
    assert not misfits(program, plan, SHARES)
    assert min(plan.p_in, plan.p_out) < 64
