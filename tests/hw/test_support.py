"""What the hardware lacks is refused by name, with the stage, and what it has instead."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from r2b.backends.fpga.planner import make_plan
from r2b.hw.chain import SUPPORTED
from r2b.hw.support import MOST_STAGES, check_supported
from r2b.ir.errors import PlanError
from r2b.ir.program import (
    Concat,
    Flatten,
    Multiply,
    Pad,
    Pool,
    Program,
    Skip,
    Stage,
    Table,
)
from tests.hw.families import FAMILIES
from tests.hw.programs import POOLS, SAME, random_program


@cache
def network() -> Program:
    """stem, block1 (gated), inner2 (signs only), block2, shortcut4, block4, ..., head."""
    return random_program(
        5, frame=(3, 8, 8), widths=(4, 8), blocks=2, gated=(True, True, False), act_bits=9,
        pool=None,
    )  # fmt: skip


def changed(name: str, **fields) -> Program:
    """The network with one stage changed."""
    stages = [replace(s, **fields) if s.name == name else s for s in network().stages]
    assert any(s.name == name for s in network().stages)
    return replace(network(), stages=tuple(stages))


def stage(name: str) -> Stage:
    return next(s for s in network().stages if s.name == name)


def refusal(program: Program) -> list[str]:
    """Lines of the message, less the first and the last, which are the same for all."""
    with pytest.raises(PlanError) as caught:
        make_plan(program)
    first, *lines, last = str(caught.value).split("\n")
    assert first == "the fpga target does not build:"
    assert last == "--target numpy does"
    return [line.removeprefix("  ") for line in lines]


def contraction(name: str, **fields) -> Program:
    """The network with fields of a stage's contraction changed."""
    return changed(name, contraction=replace(stage(name).contraction, **fields))


def step(make) -> Program:
    """The network with a step more in the first stage."""
    epilogue = stage("stem").epilogue
    return changed("stem", epilogue=(*epilogue[:1], make, *epilogue[1:]))


BUILT = "(supported: BinaryConv, RealConv, Identity, Pool, Concat)"
CASES = {
    "pad": (
        lambda: changed("inner2", contraction=Pad("stem", (1, 1, 1, 1), np.zeros(4, int))),
        f"inner2 at inner2: contraction Pad {BUILT}",
    ),
    "flatten": (
        lambda: changed("inner2", contraction=Flatten("stem")),
        f"inner2 at inner2: contraction Flatten {BUILT}",
    ),
    "maxima before other steps": (
        lambda: changed("inner2", contraction=Pool("stem", POOLS[1], "max")),
        "inner2 at inner2: maximum over windows before other steps than Saturate",
    ),
    "sums of the frame": (
        lambda: changed("inner2", contraction=Pool("frame", SAME, "sum")),
        "inner2 at inner2: contraction Pool of the frame (supported: RealConv, Identity)",
    ),
    "a gate on a concatenation": (
        lambda: changed("block1", contraction=Concat(("stem", "stem"))),
        "block1 at block1: a gate on a concatenation",
    ),
    "five rounds": (
        lambda: changed("stem", epilogue=stage("stem").epilogue * 5),
        f"stem at stem: epilogue {'Affine, Saturate, ' * 4}Affine, Saturate ({SUPPORTED})",
    ),
    "two tables": (
        lambda: changed("stem", epilogue=(
            Table(np.arange(8), -4), *stage("stem").epilogue, Table(np.arange(8), -4))),
        "stem at stem: epilogue Table, Affine, Saturate, Table (supported: Table once)",
    ),
    "a product by a sign map": (
        lambda: step(Multiply("stem.sign", 1)),
        "stem at stem: multiplied by stem.sign (supported: a fixed tensor)",
    ),
    "binary convolution of the frame": (
        lambda: contraction("inner2", source="frame"),
        "inner2 at inner2: binary convolution of frame (supported: of a sign map)",
    ),
    "binary convolution of a tensor": (
        lambda: contraction("inner2", source="stem"),
        "inner2 at inner2: binary convolution of stem (supported: of a sign map)",
    ),
    "skip of a sign map": (
        lambda: changed("block1", epilogue=(
            stage("block1").epilogue[0], Skip("stem.sign"), stage("block1").epilogue[-1])),
        "block1 at block1: skip add of stem.sign (supported: a fixed tensor)",
    ),
    "sign maps of gated values": (
        lambda: changed("block1", signs=stage("block1").signs * 2, tensor=None),
        "block1 at block1: 2 sign maps of gated values that are not stored",
    ),
    "a second reader of the frame": (
        lambda: contraction("shortcut4", source="frame", presum=None),
        "shortcut4 at shortcut4: the frame is read again (supported: by stem alone)",
    ),
    "no reader of the frame": (
        lambda: replace(network(), name="net", stages=network().stages[1:]),
        "net: no convolution reads the frame",
    ),
    "two widths of weights": (
        lambda: replace(contraction("stem", weight_bits=4), name="net"),
        "net: weights of [4, 8] bits (supported: one width)",
    ),
    "a gate on sums of old": (
        lambda: changed("block2", gate=stage("block1").gate),
        "block2 at block2: a gate on stem.sums (supported: block1.sums, the last)",
    ),
    "a head on sums of old": (
        lambda: replace(network(), head=replace(network().head, mean=replace(
            network().head.mean, sums="stem.sums"))),
        "head at head: mean of stem.sums (supported: block6.sums, the last)",
    ),
    "many stages": (
        lambda: replace(network(), name="net", stages=(
            network().stages + network().stages[-1:] * MOST_STAGES)),
        "net: 262 stages (supported: 255)",
    ),
}  # fmt: skip


ALSO = {
    "many stages": "the stages are one, and many times over",
    "sums of the frame": "the frame is read twice",
    "binary convolution of the frame": "the frame is read twice",
}
"""Cases in which more is wrong than the one thing."""


def test_the_network_itself_is_supported():
    """Each case below is this network with one thing changed."""
    check_supported(network())


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_by_name(name):
    """One line: the stage, what it has, what is supported."""
    change, wanted = CASES[name]
    found = refusal(change())
    assert wanted in found
    assert len(found) == 1 or name in ALSO, found


def test_everything_is_named_at_once():
    """All stages, and all that is wrong with one."""
    program = changed("inner2", contraction=Flatten("stem"), epilogue=(), sums="sums")
    program = replace(
        program,
        stages=(
            *program.stages[:-1],
            replace(program.stages[-1], signs=(), sums=None, tensor=None),
        ),
    )
    assert [line.split(" at ")[0] for line in refusal(program)] == ["inner2", "inner2", "block6"]


def test_zero_points_of_a_vector_are_one():
    """A frame of many channels comes in parts, which share their zero points."""
    program = FAMILIES["mlp"](1)
    first = program.stages[0]
    points = first.contraction.zero_point + np.arange(36)
    first = replace(first, contraction=replace(first.contraction, zero_point=points))
    found = refusal(replace(program, stages=(first, *program.stages[1:])))
    assert found == ["fc0 at fc0: zero points that differ between 36 channels (supported: one)"]


UNBUILDABLE = {
    "lanes": (
        "dense", {"lanes": 8},
        r"cat2: 12 channels come before those of conv2\.sign, which lanes 8 do not divide; "
        r"choose other lanes",
    ),
    "bits in words of three": (
        "grouped", {"parallelism": (12, 4)},
        r"binary: a real convolution of bits needs p_in to be lanes times a power of two, not 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_what_a_plan_cannot_build(name):
    """Another Plan can."""
    family, changes, reason = UNBUILDABLE[name]
    program = FAMILIES[family](1)
    make_plan(program)
    with pytest.raises(PlanError, match=reason):
        make_plan(program, **({"parallelism": (8, 8)} | changes))


def test_factors_that_vary_in_other_ways():
    """A tensor of the wrong shape is no factor."""
    program = FAMILIES["factors"](1)
    pixel = next(s for s in program.stages if s.name == "pixel")
    wrong = replace(pixel, epilogue=(Multiply("pixel", 1), *pixel.epilogue[1:]))
    stages = tuple(wrong if s is pixel else s for s in program.stages)
    reason = r"pixel: multiplied by pixel of \(8, 4, 3\), which varies in other ways"
    with pytest.raises(PlanError, match=reason):
        make_plan(replace(program, stages=stages))
