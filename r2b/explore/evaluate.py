"""What a point of the space costs and gives on each device, by the cost model: analytic, exact
where :mod:`r2b.backends.cost` is, nothing synthesized.

Resources come first. Cycles, which take longer, are predicted only for Plans that fit some device.
Where block RAM alone is too little, the epilogue's constants are tried in LUTs, as
:func:`r2b.backends.fpga.planner.make_plan` does; no cycle depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from r2b.backends.cost.critical import critical
from r2b.backends.cost.features import array_features
from r2b.backends.cost.hardware import FRAMES, bytes_per_frame, share, stage_costs
from r2b.backends.cost.mapping import Memory, dsp_blocks, map_memory
from r2b.backends.cost.memories import ENGINE_NAMES, array_memories, array_products, word_memory
from r2b.backends.cost.resources import (
    Count,
    Resources,
    estimate_params,
    logic,
    memory_count,
    with_vector,
)
from r2b.backends.fpga.planner import SHARES, lacking
from r2b.explore.space import Point
from r2b.explore.worth import extent_of, indivisible, unpackable
from r2b.hw.array import ArrayParams
from r2b.hw.devices import DEVICES, Device
from r2b.hw.flow import predict_frames
from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.hw.halves import BACK
from r2b.hw.loops import ceil_div
from r2b.hw.memo import remember
from r2b.hw.packing import operand_width, pairs
from r2b.hw.params import CoreParams, constants_in_luts, core_params, with_gate_macs
from r2b.hw.passes import passes_of, runs_of
from r2b.hw.plan import Plan
from r2b.hw.rounds import signed_width
from r2b.ir.errors import PlanError
from r2b.ir.program import Program

HOP = Plan.hop
"""Of every Plan of the space: the default."""
Row = dict[str, Any]
FITS, TOO_LARGE, FAILED = "fits", "too large", "failed"
RESOURCES = tuple(SHARES)
POINT_COLUMNS = (
    "p_in", "p_out", "weights", "bus", "p_px", "vector", "lanes", "mac_out", "mac_packing",
    "lut_macs", "tile_pixels", "gate_macs", "front_out", "front_luts", "front_packing", "batch",
)  # fmt: skip
COLUMNS = (
    "device", "clock_mhz", "point", *POINT_COLUMNS, "constants", "status", "reason", *RESOURCES,
    "share", "fullest", "fps", "frame_cycles", "interval", "latency", "bytes_per_frame",
    "bandwidth", "binds",
)  # fmt: skip
"""Of a row; latency in cycles, bandwidth in bytes per second."""


@dataclass(frozen=True)
class Goal:
    """A device and the clock it is to run at, in MHz."""

    device: Device
    clock_mhz: float


@dataclass(frozen=True)
class Outcome:
    """What became of some points.

    Parameters
    ----------
    rows : list of dict
        One per evaluated Plan and device, keys as COLUMNS.
    excluded : dict of str to int
        Points without a Plan, by reason.
    """

    rows: list[Row]
    excluded: dict[str, int]


def evaluate(program: Program, points: Sequence[Point], goals: Sequence[Goal]) -> Outcome:
    """Evaluate points; one that is illegal is counted, one that fails is a row that says so."""
    evaluator = Evaluator(program, goals)
    rows: list[Row] = []
    excluded: Counter[str] = Counter()
    for point in points:
        try:
            rows += evaluator.rows(point)
        except PlanError as error:
            excluded[reason_of(error)] += 1
        except Exception as error:
            rows += [_failed(point, goal, error) for goal in goals]
    return Outcome(rows, dict(excluded))


def reason_of(error: PlanError) -> str:
    """What is illegal, without this Plan's numbers and stages."""
    first = next((line for line in str(error).splitlines() if line.startswith("  ")), str(error))
    place, _, rest = first.strip().partition(": ")
    text = rest if rest else place
    return "".join("N" if char.isdigit() else char for char in text).replace("NN", "N")


def _failed(point: Point, goal: Goal, error: Exception) -> Row:
    brief = " ".join(f"{type(error).__name__}: {error}".split())
    return _row(point, goal) | {"status": FAILED, "reason": f"{brief:.200}"}


def _row(point: Point, goal: Goal) -> Row:
    known = {name: getattr(point, name) for name in POINT_COLUMNS}
    known["gate_macs"] = point.vector_macs
    start = {"device": goal.device.name, "clock_mhz": goal.clock_mhz, "point": point.index}
    return dict.fromkeys(COLUMNS) | start | known | {"constants": Plan.constants}


class Evaluator:
    """Evaluates points of one Program one after the other.

    Points that differ in ``gate_macs`` alone share everything but the vector unit. Of fronts that
    are larger than one with which the back never waits, nothing is evaluated.
    """

    def __init__(self, program: Program, goals: Sequence[Goal]) -> None:
        self.program, self.goals = program, goals
        self.families = sorted({goal.device.family for goal in goals})
        self._key: Point | None = None
        self._core: CoreParams | None = None
        self._resources: dict[str, Resources] = {}
        self._in_luts: dict[str, Resources] = {}
        self._busy: Point | None = None
        self._enough = 0

    def rows(self, point: Point) -> list[Row]:
        """A row per device whose DSP blocks take the point's products.

        Raises
        ------
        PlanError
            The point is illegal.
        """
        if (problem := indivisible(point)) is not None:
            raise PlanError(problem)
        if self._is_dominated(point):
            raise PlanError("a smaller front keeps the back busy all the time")
        problems = {family: unpackable(self.program, point, family) for family in self.families}
        goals = [goal for goal in self.goals if problems[goal.device.family] is None]
        if not goals:
            raise PlanError(next(problem for problem in problems.values() if problem))
        rows = [_row(point, goal) for goal in goals]
        able = [family for family in self.families if problems[family] is None]
        least = {family: least_needs(self.program, point, family) for family in able}
        bounded = [least_fit(least[goal.device.family], goal.device) for goal in goals]
        if all(found["status"] == TOO_LARGE for found in bounded):
            return [row | found for row, found in zip(rows, bounded, strict=True)]
        params, found = self._known(point, goals[0])
        rows = [
            row | self._fit(params, found[goal.device.family], goal.device)
            for row, goal in zip(rows, goals, strict=True)
        ]
        if any(row["status"] == FITS for row in rows):
            speed, half = _speed(params)
            if half == BACK:
                self._busy, self._enough = point.alone, point.front_tiles
            rows = [row | _rate(speed, goal) for row, goal in zip(rows, goals, strict=True)]
        return rows

    def _is_dominated(self, point: Point) -> bool:
        """Whether a point before this one has a smaller front, and yet its back never waits."""
        return (
            point.front_tiles > self._enough
            and point.front_lut_tiles <= self._enough
            and point.alone == self._busy
        )

    def _known(self, point: Point, goal: Goal) -> tuple[CoreParams, dict[str, Resources]]:
        """Parameters and resources, from those of the point before where the core is the same."""
        key = replace(point, index=0, gate_macs=1)
        if self._core is None or key != self._key:
            plan = point.plan(self.program, goal.device.name, goal.clock_mhz)
            self._core, self._key = core_params(ProgramGeometry(self.program, plan)), key
            self._resources = {f: estimate_params(self._core, f) for f in self.families}
            self._in_luts = {}
        params, found = self._core, self._resources
        if params.geometry.plan.gate_macs != point.vector_macs:
            params = with_gate_macs(params, point.vector_macs)
            found = {family: with_vector(found[family], params) for family in self.families}
        return params, found

    def _fit(self, params: CoreParams, found: Resources, device: Device) -> Row:
        """What :func:`fit` says of a core; with its constants in LUTs if only so it fits."""
        needs = found.needs()
        if [lack.resource for lack in lacking(needs, device, SHARES)] == ["RAM18"]:
            spare = found.components.get("epilogue", Count()).ram18
            if needs["RAM18"] - spare <= SHARES["RAM18"] * device.ram18:
                other = fit(self._with_constants_in_luts(params, device.family).needs(), device)
                if other["status"] == FITS:
                    return other | {"constants": "logic"}
        return fit(needs, device)

    def _with_constants_in_luts(self, params: CoreParams, family: str) -> Resources:
        """Estimated once for all points that differ in ``gate_macs`` alone."""
        assert self._core is not None
        if family not in self._in_luts:
            self._in_luts[family] = estimate_params(constants_in_luts(self._core), family)
        found = self._in_luts[family]
        return found if params is self._core else with_vector(found, params)


# ----------------------------------------------------------------------------------- lower bounds


def least_needs(program: Program, point: Point, family: str) -> dict[str, int]:
    """Part of what a Plan needs that follows from a few parameters: the two arrays, and the
    weights where they are on chip. The estimate has these very terms, so no Plan needs less.
    """
    needs = dict.fromkeys(RESOURCES, 0)
    arrays = arrays_of(program, point)
    if point.front_tiles:  # the MAC array may have nothing left to do, and so not be there
        arrays = [array for array in arrays if array.binary]
    for array in arrays:
        for name, value in _array_needs(array, family).items():
            needs[name] += value
    if point.weights == "chip" and not point.front_tiles:
        needs["RAM18"] = sum(
            map_memory(memory, family).ram18 for memory in _weights_on_chip(program, point, family)
        )
    return needs


def arrays_of(program: Program, point: Point) -> list[ArrayParams]:
    """The arrays of a point, as :func:`r2b.hw.params.core_params` makes them."""
    widths = remember(program, "acc widths", None, lambda: _acc_widths(program))
    bits = extent_of(program).weight_bits
    real_bits = operand_width(program.act_bits, extent_of(program).presum_bits(point))
    shapes = {
        True: (point.p_in, point.p_out, 1, 1, point.p_px),
        False: (point.lanes, point.mac_out, real_bits, bits, 1),
    }
    return [
        ArrayParams(
            binary, lanes_in, lanes_out, point.lanes, a_width, w_width, widths[binary],
            point.tile_pixels, point.bus, ceil_div(lanes_in * lanes_out * w_width, point.bus), HOP,
            not binary and point.mac_packing == 2, 0 if binary else point.lut_macs, px,
        )
        for binary, (lanes_in, lanes_out, a_width, w_width, px) in shapes.items()
        if binary in widths
    ]  # fmt: skip


def _acc_widths(program: Program) -> dict[bool, int]:
    """Bits of a sum of each engine that the network uses; no Plan changes them."""
    plan = Plan("", 1.0, program.act_bits, 1, 1, 1, 1, 1, 1, 1, "stream", 1, 1)
    convs = [
        ConvGeometry(run, part, plan)
        for stage in program.stages
        for run in runs_of(stage)
        for part in passes_of(program, run)
    ]
    return {
        binary: signed_width(
            min(conv.acc_bounds[0] for conv in convs if conv.binary is binary),
            max(conv.acc_bounds[1] for conv in convs if conv.binary is binary),
        )
        for binary in {conv.binary for conv in convs}
    }


@lru_cache(maxsize=4096)
def _array_needs(array: ArrayParams, family: str) -> dict[str, int]:
    name = "binary array" if array.binary else "real array"
    count = logic(name, array_features(array, family), family)
    for memory in array_memories(array, ENGINE_NAMES[array.binary]):
        count += memory_count(memory, family)
    products = [] if array.binary else array_products(array)
    dsp = sum(dsp_blocks(product, family) for product in products)
    return Resources(family, True, (), {name: count + Count(dsp=dsp)}).needs()


def _weights_on_chip(program: Program, point: Point, family: str) -> list[Memory]:
    """Weight memories of both engines; their content, which takes long, is made once."""
    packed = point.mac_packing == 2
    first = pairs(point.mac_out, HOP, point.lut_macs) if packed else ()
    key = (point.p_in, point.p_out, point.lanes, point.mac_out, point.bus, first)
    name = next(name for name, target in DEVICES.items() if target.family == family)

    def make() -> list[Memory]:
        plan = point.plan(program, name, 1.0)
        geometry = ProgramGeometry(program, plan)
        return [
            word_memory(geometry, binary) for binary in (True, False) if geometry.engine(binary)
        ]

    return remember(program, "weights on chip", key, make, 4096)


def least_fit(needs: dict[str, int], device: Device) -> Row:
    """What :func:`fit` says of a lower bound; figures that are no estimate are left away."""
    found = fit(needs, device)
    if found["status"] == TOO_LARGE:
        return {
            "status": TOO_LARGE, "share": found["share"], "fullest": found["fullest"],
            "reason": f"at least {found['reason']}",
        }  # fmt: skip
    return found


def fit(needs: dict[str, int], device: Device) -> Row:
    """What a Plan needs of a device, and whether that is within the planner's shares."""
    has = device.has()
    shares = {name: need / has[name] for name, need in needs.items()}
    fullest = max(shares, key=lambda name: shares[name])
    lacks = lacking(needs, device, SHARES)
    return needs | {
        "status": TOO_LARGE if lacks else FITS,
        "reason": ", ".join(map(str, lacks)),
        "share": shares[fullest],
        "fullest": fullest,
    }


def _speed(params: CoreParams) -> tuple[Row, str]:
    """How fast a core is, and which half binds."""
    geometry = params.geometry.whole
    frames = predict_frames(geometry, FRAMES)
    period = frames[-1].last - frames[-2].last
    found = critical(frames[-1], period, stage_costs(geometry, params))
    return {
        "frame_cycles": frames[-1].work,
        "interval": share(period, geometry.plan.batch),
        "latency": frames[-1].latency,
        "bytes_per_frame": bytes_per_frame(geometry).total,
        "binds": found.binds,
    }, found.half


def _rate(speed: Row, goal: Goal) -> Row:
    fps = goal.clock_mhz * 1e6 / speed["interval"]
    return speed | {"fps": fps, "bandwidth": fps * speed["bytes_per_frame"]}


def plan_of(program: Program, row: Row) -> Plan:
    """The Plan of a row."""
    point = Point(
        row["point"], row["p_in"], row["p_out"], row["weights"], row["bus"], row["p_px"],
        row["vector"], row["lanes"], row["mac_out"] // row["lanes"], row["mac_packing"],
        row["lut_macs"] // row["lanes"], row["tile_pixels"], row["gate_macs"],
        row["front_out"] // row["lanes"], row["front_luts"] // row["lanes"], row["front_packing"],
        row["batch"],
    )  # fmt: skip
    return replace(
        point.plan(program, row["device"], row["clock_mhz"]),
        clock_mhz=float(row["clock_mhz"]), constants=row["constants"],
    )  # fmt: skip
