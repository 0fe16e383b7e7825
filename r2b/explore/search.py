"""The search that ``r2b-compile --target-fps`` does by itself: in this process, in seconds."""

from __future__ import annotations

from collections.abc import Callable

from r2b.explore.evaluate import Goal, evaluate, plan_of
from r2b.explore.front import choose, describe, objective_of, shortfall
from r2b.explore.run import Explored, Work, work_of
from r2b.explore.space import Axes, full_axes
from r2b.hw.devices import device
from r2b.hw.plan import Plan
from r2b.hw.support import check_supported
from r2b.ir.errors import PlanError
from r2b.ir.program import Program

COARSE: Axes = full_axes() | {
    "p_px": (1, 2), "bus": (64, 256), "lanes": (1, 4, 8), "mac_tiles": (1, 2, 4),
    "tile_pixels": (32, 64), "gate_macs": (4, 16), "lut_tiles": (0,), "front_tiles": (0,),
    "front_lut_tiles": (0,), "front_packing": (1,), "batch": (1,),
}  # fmt: skip
"""Fewer values than ``r2b-explore`` tries: a fifteenth of its Plans of one frame at a time."""
MORE = {"lut_tiles": (2,)}, {"front_tiles": (2,)}
"""What is tried besides where these do not reach the target: MACs of LUTs, a front."""


def smallest_plan(
    program: Program,
    device_name: str,
    clock_mhz: float | None,
    target_fps: float,
    detail: Callable[[str], None] = lambda text: None,
    batch: int | None = None,
) -> tuple[Plan, str]:
    """The smallest Plan that reaches a frame rate, and why it was chosen.

    Smallest by the largest share of the device that it takes of any resource; analytic. Plans with
    MACs of LUTs or a front are tried if no other reaches it; batches, which raise latency, if they
    are asked for.

    Parameters
    ----------
    program : Program
    device_name : str
    clock_mhz : float or None
        None for the device's usual clock.
    target_fps : float
    detail : callable
        Told how far the search has come.
    batch : int or None
        Frames that share weights; None for one at a time.

    Raises
    ------
    PlanError
        None that fits reaches it; the nearest is named.
    """
    check_supported(program)
    target = device(device_name)
    goals = [Goal(target, float(clock_mhz or target.clock_mhz))]
    found, row = Explored(device_name), None
    for more in ({}, *MORE):
        axes: Axes = {**COARSE, **more, "batch": (batch or 1,)}
        _explore(program, work_of(program, axes, goals), found, detail)
        row = choose(found.fits, objective_of("share", target_fps), target_fps)
        if row is not None:
            break
    else:
        batches = ", or batches of frames, which raise latency, with --batch"
        way = batches if found.fits and not batch else ""
        raise PlanError(shortfall(found.known, device_name, target_fps, True) + way)
    number = sum(found.counts.values())
    able = sum(1 for other in found.fits if other["fps"] >= target_fps)
    why = (
        f"chose {describe(row)}: the smallest of {able:,} Plans that reach {target_fps:g} "
        f"frames/s, of {number:,} evaluated; {row['fps']:,.1f} frames/s at {row['clock_mhz']:g} "
        f"MHz, {row['fullest']} {row['share']:.0%} of {device_name} (analytic)"
    )
    return plan_of(program, row), why


def _explore(program: Program, work: Work, found: Explored, detail: Callable[[str], None]) -> None:
    """Evaluate every point here."""
    for number, chunk in enumerate(work.chunks):
        detail(f"{number / len(work.chunks):.0%}")
        for row in evaluate(program, chunk.points, chunk.goals).rows:
            found.add(row)
