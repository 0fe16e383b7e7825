"""Accelerators with a front: bit-exact, as fast as predicted, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from r2b.backends.cost.hardware import cost
from r2b.backends.cost.resources import estimate
from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.halves import Ports, last_reader, ports_of
from r2b.hw.params import core_params
from r2b.hw.registers import offset_of
from r2b.hw.timing import predict
from r2b.hw.weights import stream_length
from r2b.ir.errors import PlanError
from r2b.ir.execute import execute, logits
from r2b.ir.program import Multiply, Program, Saturate, Skip
from r2b.sim.compare import compare
from r2b.sim.harness import Access, Simulator, Streams
from r2b.sim.verify import verify
from tests.hw.families import FAMILIES, Chains
from tests.hw.programs import POINT, POOLS, SAME, random_frames, random_program

FRAMES = 5


def reads() -> Program:
    """The first stage's tensor is a real convolution's skip and source, and a factor."""
    net = Chains.on(2, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("real", net.real(8, SAME, "stem"), "ASL", skip="stem")
    net.add("factor", net.binary(8, SAME), "MAL", multiply="stem")
    net.add("later", net.real(8, POINT, "factor"), "ASL", skip="real")
    net.add("last", net.binary(8, SAME), "AL", sums=True)
    return net.finish("reads")


def head_alone() -> Program:
    """The head takes means of the first stage; the other stage reads its signs."""
    net = Chains.on(2, (1, 6, 5), classes=3)
    net.add("stem", net.real(4, SAME), "AL", sums=True)
    net.add("beside", net.binary(4, SAME), "AL")
    return net.finish("head")


NETWORK = random_program(
    3, frame=(3, 9, 8), widths=(8, 12), blocks=2, pool=POOLS[2], gated=(False, True), classes=4,
    act_bits=9,
)  # fmt: skip
CHANGES = {"parallelism": (8, 4), "tile_pixels": 12, "front_out": 8}
RUNS = {
    "channel sums, everything streamed": (FAMILIES["gates"](5), {
        "parallelism": (8, 4), "weights": "stream", "vector": "stream", "tile_pixels": 9,
        "lanes": 4, "mac_out": 4, "front_out": 4,
    }),
    "two pixels": (FAMILIES["padded"](6), {
        "parallelism": (8, 8, 2), "tile_pixels": 5, "front_out": 4, "front_packing": 2,
    }),
    "no MAC array behind it, streamed": (FAMILIES["mlp"](3), {
        "parallelism": (8, 4), "weights": "stream", "tile_pixels": 9, "front_out": 8,
    }),
    "a real convolution's skip, a factor": (reads(), {
        "parallelism": (8, 4), "tile_pixels": 20, "lanes": 4, "mac_out": 4, "front_out": 4,
    }),
    "the head": (head_alone(), {
        "parallelism": (4, 4), "tile_pixels": 20, "lanes": 2, "mac_out": 2, "front_out": 4,
    }),
}  # fmt: skip
PORTS = {
    "a real convolution's skip, a factor": Ports(True, True, True, 0, False, False),
    "the head": Ports(False, False, False, 1, False, True),
}


@pytest.fixture(scope="module")
def plan():
    return make_plan(NETWORK, **CHANGES)


@pytest.fixture(scope="module")
def simulator(plan, tmp_path_factory):
    path = tmp_path_factory.mktemp("front")
    return Simulator([emit_verilog(NETWORK, plan, path)], Streams.of(NETWORK, plan))


def check(simulator: Simulator, program, plan) -> None:
    """Every stored bit; cycles of every stage; when front and back begin and end every frame."""
    frames = random_frames(program, FRAMES)
    found = verify(simulator, program, plan, frames)
    assert found.report.equal, found.report.first
    geometry = ProgramGeometry(program, plan)
    wanted = [stage.active for stage in predict(geometry)]
    assert [[active for active, _ in f.stages] for f in found.frames] == [wanted] * FRAMES
    expected = predict_frames(geometry, FRAMES)
    beats = core_params(geometry).frame.beats  # cycles until the first pixel is stored
    zero = found.frames[0].first_beat + 1 - beats
    ends = [(f.front_start, f.front_done, f.start, f.done) for f in found.frames]
    assert [[end - zero for end in row] for row in ends] == [
        [f.front.first, f.front.last, f.first, f.last] for f in expected
    ]
    assert [(f.total, f.active) for f in found.frames] == [(f.cycles, f.active) for f in expected]


def test_bit_exact_and_predicted(simulator, plan):
    """A pooled first convolution whose sums a gate reads, beside blocks with shortcuts."""
    check(simulator, NETWORK, plan)


@pytest.mark.parametrize(("program", "changes"), RUNS.values(), ids=RUNS)
def test_other_networks(program, changes, tmp_path):
    plan = make_plan(program, **changes)
    simulator = Simulator([emit_verilog(program, plan, tmp_path)], Streams.of(program, plan))
    check(simulator, program, plan)
    waits = [check_stalled(simulator, program, plan, seed) for seed in range(3)]
    assert (max(waits) > 0) == (plan.weights == "stream")


@pytest.mark.parametrize("seed", range(6))
def test_stalls(simulator, plan, seed):
    assert check_stalled(simulator, NETWORK, plan, seed) == 0


def check_stalled(simulator, program, plan, seed) -> int:
    """Active cycles stay; every other one has one cause; the halves wait for themselves alone.

    Gives the cycles for which weights were waited.
    """
    frames = random_frames(program, FRAMES)
    result = simulator.simulate(frames, stalls=seed, record=True)
    report = compare(program, plan, result, execute(program, frames))
    assert report.equal, report.first
    wanted = [stage.active for stage in predict(ProgramGeometry(program, plan))]
    for frame in result.frames:
        assert [active for active, _ in frame.stages] == wanted
        assert sum(frame.stages[0]) == frame.front_done - frame.front_start + 1
        assert sum(map(sum, frame.stages[1:])) == frame.total == frame.counters["cycles"]
        causes = ("active", "wait_input", "wait_weights", "wait_output")
        assert sum(frame.counters[name] for name in causes) == frame.total
        assert frame.counters["wait_input"] == 0
        assert frame.front_done < frame.start
    assert all(a.front_done < b.front_start for a, b in pairwise(result.frames))
    return sum(frame.counters["wait_weights"] for frame in result.frames)


@pytest.mark.parametrize("stalls", [None, 4])
@pytest.mark.parametrize("lengths", [{0: 5}, {2: 90}, {1: 71, 3: 73}, {4: 1}], ids=str)
def test_bad_frames_do_not_disturb_their_neighbours(simulator, plan, lengths, stalls):
    """Too short or too long: no result, and it is counted."""
    frames = random_frames(NETWORK, FRAMES)
    registers = [Access(offset_of(name)) for name in ("FRAMES", "DROPPED")]
    result = simulator.simulate(
        frames, lengths=lengths, stalls=stalls, record=True, accesses=registers
    )
    good = frames[result.rows]
    assert np.array_equal(result.logits, logits(NETWORK, good))
    assert compare(NETWORK, plan, result, execute(NETWORK, good)).equal
    assert [a.data for a in result.answers] == [FRAMES - len(lengths), len(lengths)]


def test_reset_at_any_time(simulator, plan):
    """While only the front works, both, only the back, and at every step of a hand-over."""
    frames = random_frames(NETWORK, 3)
    first, second, _ = predict_frames(ProgramGeometry(NETWORK, plan), 3)
    times = [40, second.front.first + 30, second.first + 30]
    times += range(first.front.last + 2, first.front.last + 8)
    wanted = logits(NETWORK, frames)
    for cycle in times:
        result = simulator.simulate(frames, reset_at=[cycle])
        assert np.array_equal(result.logits, wanted), cycle


def test_one_frame_per_start(simulator):
    """A start lets one frame into the front, also while the back is busy all the time."""
    control = offset_of("CTRL")
    starts = [Access(control, 1, at=3000 + 10 * n) for n in range(200)]
    frames = random_frames(NETWORK, 3)
    result = simulator.simulate(frames, accesses=[Access(control, 0, at=5), *starts])
    assert np.array_equal(result.logits, logits(NETWORK, frames))
    idle = [Access(control, 0, at=5), Access(offset_of("STATUS"), at=20_000), Access(control, 1)]
    late = simulator.simulate(
        frames[:2], accesses=[idle[0], idle[1], Access(control, 1, at=20_010)], idle_limit=50_000
    )
    assert late.frames[0].front_start < 20_000 < late.frames[1].front_start
    assert late.answers[1].data & 1 == 0  # neither half works


def test_the_halves_overlap():
    """An interval is that of the longer half and the hand-over; without a front it is the sum."""
    plans = [make_plan(NETWORK, **CHANGES | {"front_out": n}) for n in (0, 8)]
    one, two = (cost(NETWORK, plan) for plan in plans)
    assert one.frame_cycles <= one.interval
    front, *back = (stage.cycles for stage in two.stages)
    assert max(front, sum(back)) < two.interval < front + sum(back)
    frames = predict_frames(ProgramGeometry(NETWORK, plans[1]), 12)
    later = [b.last - a.last for a, b in pairwise(frames)][2:]
    assert later == [two.interval] * len(later)


def test_memory_map():
    """The first stage's results lie alone, nothing is added to them in place."""
    plan = make_plan(NETWORK, **CHANGES)
    geometry = ProgramGeometry(NETWORK, plan)
    first = NETWORK.stages[0]
    assert plan.tensors[first.tensor] == plan.signs[first.signs[0].name] == 0
    core = core_params(geometry)
    words = np.prod(first.shape[1:]) * -(-first.shape[0] // plan.lanes)
    assert core.front.fm_words == words
    without = core_params(
        ProgramGeometry(NETWORK, make_plan(NETWORK, **CHANGES | {"front_out": 0}))
    )
    assert without.fm_words < core.fm_words + core.front.fm_words <= without.fm_words + words
    assert ports_of(geometry.back) == Ports(
        feature=True, skip=False, multiply=False, signs=1, sums=True, head=False
    )
    assert last_reader(geometry.back) == 1


@pytest.mark.parametrize("name", PORTS)
def test_what_is_read(name):
    """The head is behind all stages, so nothing overlaps where it reads."""
    program, changes = RUNS[name]
    geometry = ProgramGeometry(program, make_plan(program, **changes))
    assert ports_of(geometry.back) == PORTS[name]
    assert last_reader(geometry.back) == 2
    halves = predict_frames(geometry, 3)
    assert (halves[2].front.first < halves[1].last) == (name != "the head")


def test_the_fronts_weights_are_on_chip():
    """The stream has the other stages' alone; the front's memory does not depend on it."""
    plans = [make_plan(NETWORK, **CHANGES | {"front_out": n, "weights": "stream"}) for n in (0, 8)]
    geometries = [ProgramGeometry(NETWORK, plan) for plan in plans]
    first = geometries[0].convs[0]
    lengths = [stream_length(geometry) for geometry in geometries]
    assert lengths[0] - lengths[1] == first.segment_words * first.segments
    chip = ProgramGeometry(NETWORK, make_plan(NETWORK, **CHANGES))
    words = [core_params(g).front.engines[False].words for g in (geometries[1], chip)]
    assert words[0] == words[1] is not None


def test_narrow_operands():
    """The front takes pixels, of 9 bits, whatever a stored value has; two share a DSP block."""
    wide = random_program(3, frame=(3, 9, 8), widths=(8, 12), act_bits=12, classes=4)
    plan = make_plan(wide, "xc7z020", **CHANGES, mac_out=8, front_packing=2)
    core = core_params(ProgramGeometry(wide, plan))
    assert [p.engines[False].array.a_width for p in (core.front, core)] == [9, 12]
    single = make_plan(wide, "xc7z020", **CHANGES, mac_out=8)
    spared = [estimate(wide, p).needs()["DSP"] for p in (single, plan)]
    assert spared[0] - spared[1] == plan.lanes * plan.front_out // 2
    with pytest.raises(PlanError, match=r"front_packing 2: two products of 9-bit operands and "
                       r"8-bit weights need a factor of 24 bits, MULT18X18D takes 18; choose "
                       r"front_packing 1$"):  # fmt: skip
        make_plan(wide, "ecp5-85f", **CHANGES, front_packing=2)


def test_luts_of_the_front():
    """``front_luts`` elements take no DSP blocks; those of the other array do."""
    plans = [make_plan(NETWORK, **CHANGES, front_luts=n) for n in (0, 3)]
    dsps = [estimate(NETWORK, plan).needs()["DSP"] for plan in plans]
    assert dsps[0] - dsps[1] == 3 * plans[0].lanes


def changed(program, number: int, **fields):
    """The Program with another stage in place of one."""
    stages = list(program.stages)
    stages[number] = replace(stages[number], **fields)
    return replace(program, stages=tuple(stages))


def twice():
    """A network of which two stages read the frame."""
    net = Chains.on(4, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("again", net.real(8, SAME), "ASL", skip="stem", sums=True)
    return net.finish("twice")


def unread():
    """A network of which no stage reads what the first one gives; the second is as good."""
    net = Chains.on(4, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("next", net.binary(8, SAME), "AL")
    net.add("last", net.binary(8, SAME), "AL", sums=True)
    program = net.finish("unread")
    conv = replace(program.stages[1].contraction, source="next.sign")
    return changed(program, 1, contraction=conv)


GATED = FAMILIES["gates"](5)
REFUSED = {
    "the frame twice": (twice(), "again reads the frame, too"),
    "a skip": (changed(NETWORK, 0, epilogue=(Skip("stem"), Saturate(-256, 255))),
               "stem has Skip (supported: constants)"),
    "a factor and a gate": (
        changed(
            GATED, 0, epilogue=(Multiply("stem", 1), Saturate(-256, 255)), gate=GATED.stages[1].gate
        ),
        "stem has Multiply and a gate (supported: constants)",
    ),
    "nothing is read": (unread(), "no stage reads what stem gives"),
    "first stage": (FAMILIES["moved"](7), "first, the first stage, does not convolve the frame"),
    "several maps": (FAMILIES["signs"](12), "stem runs several times, for stem.sign, stem.sign1, "
                     "stem.sign2 (supported: once)"),
    "nothing behind": (replace(NETWORK, stages=NETWORK.stages[:1]),
                       "there is no stage behind stem"),
}  # fmt: skip


def test_no_front_with_a_batch():
    with pytest.raises(PlanError) as caught:
        make_plan(NETWORK, parallelism=(8, 8), front_out=8, batch=2)
    assert str(caught.value) == (
        "Plan: front_out 8 needs batch 1, not 2: a front takes one frame at a time; choose "
        "front_out 0 or batch 1"
    )


@pytest.mark.parametrize(("program", "text"), REFUSED.values(), ids=REFUSED)
def test_refused(program, text):
    lanes = 4
    plan = replace(make_plan(NETWORK, parallelism=(8, 8)), lanes=lanes, act_bits=program.act_bits)
    with pytest.raises(PlanError) as caught:
        ProgramGeometry(program, replace(plan, front_out=2 * lanes))
    assert str(caught.value) == (
        f"this Plan cannot be built:\n  front_out: {text}; choose front_out 0"
    )
