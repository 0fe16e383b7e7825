"""A stage's epilogue in the form the lanes run: rounds of product, skip, saturate, table.

A Program's epilogue is a list of steps; the lanes have a fixed order, as often as some stage of the
network needs it::

    round:  product (affine, or by a tensor, or by a factor of the position), skip, saturate, table

A step that is missing is one that changes nothing: the product becomes ``rs(2 * v, 1)``, and
``saturate`` one at bounds that no value passes. A stage that keeps signs alone need not saturate:
where a threshold lies outside of R bits, it is subtracted in the last affine step, so that the
comparison is with 0 (``rs(x - theta * 2**shift, shift) = rs(x, shift) - theta``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from r2b.ir.arith import bounds, piecewise_affine
from r2b.ir.program import Affine, Multiply, Saturate, Skip, SpatialScale, Stage, Step, Table

ORDER: dict[type, int] = {Affine: 0, Multiply: 0, SpatialScale: 0, Skip: 1, Saturate: 2, Table: 3}
ONCE = (Skip, Multiply, SpatialScale, Table)
"""Steps that a chain has once at most."""
MOST_ROUNDS = 4
SUPPORTED = f"supported: at most {MOST_ROUNDS} rounds of product, Skip, Saturate, Table"
Interval = tuple[int, int]


@dataclass(frozen=True)
class Round:
    """One round; ``product`` None is neutral, ``limit`` None not yet known."""

    product: Affine | Multiply | SpatialScale | None = None
    skip: str | None = None
    limit: Saturate | None = None
    table: Table | None = None

    @property
    def shift(self) -> int:
        """Of the product."""
        return 1 if self.product is None else self.product.shift

    @property
    def gated(self) -> bool:
        """The factor is the gate's."""
        return isinstance(self.product, Affine) and self.product.gated

    @property
    def multiply(self) -> str | None:
        """The stored tensor that is multiplied by."""
        return self.product.source if isinstance(self.product, Multiply) else None

    @property
    def spatial(self) -> SpatialScale | None:
        """The factors of the positions."""
        return self.product if isinstance(self.product, SpatialScale) else None

    def affine(self, channels: int) -> Affine:
        """The constants of the product, neutral ones where it has none."""
        if isinstance(self.product, Affine):
            return self.product
        zeros = np.zeros(channels, np.int64)
        twos = np.full((2, channels), 2)
        return Affine(zeros, twos, np.zeros((2, channels), np.int64), 1)

    @property
    def reach(self) -> Interval:
        """Smallest and largest value the round gives."""
        if self.table is not None:
            return int(self.table.entries.min()), int(self.table.entries.max())
        assert self.limit is not None
        return self.limit.low, self.limit.high


@dataclass(frozen=True)
class Chain:
    """What the lanes do for one stage.

    Parameters
    ----------
    rounds : tuple of Round
        All with a ``limit``.
    thetas : tuple of ndarray
        Threshold of each sign map, int [C], within R bits.
    """

    rounds: tuple[Round, ...]
    thetas: tuple[np.ndarray, ...]

    def round(self, index: int) -> Round:
        """Round ``index``; one behind the last changes nothing."""
        if index < len(self.rounds):
            return self.rounds[index]
        return Round(limit=Saturate(*self.rounds[-1].reach))

    @property
    def skip(self) -> str | None:
        """The fixed tensor that is added."""
        return next((part.skip for part in self.rounds if part.skip is not None), None)

    @property
    def multiply(self) -> str | None:
        """The fixed tensor that is multiplied by."""
        return next((part.multiply for part in self.rounds if part.multiply is not None), None)

    @property
    def spatial(self) -> SpatialScale | None:
        """The factors of the positions."""
        return next((part.spatial for part in self.rounds if part.spatial is not None), None)

    @property
    def table(self) -> Table | None:
        """The function that is looked up."""
        return next((part.table for part in self.rounds if part.table is not None), None)


def deal(steps: tuple[Step, ...]) -> list[Round] | None:
    """The steps dealt out to rounds; None where there is a step of another kind."""
    found, reached = [Round()], -1
    for step in steps:
        place = ORDER.get(type(step))
        if place is None:
            return None
        if place <= reached:
            found.append(Round())
        reached = place
        name = ("product", "skip", "limit", "table")[place]
        value = step.source if isinstance(step, Skip) else step
        found[-1] = replace(found[-1], **{name: value})
    return found


def problem(stage: Stage, act_bits: int) -> str | None:
    """Why the lanes cannot run a stage's epilogue, or None."""
    names = ", ".join(type(step).__name__ for step in stage.epilogue) or "none"
    found = deal(stage.epilogue)
    if found is None or len(found) > MOST_ROUNDS:
        return f"epilogue {names} ({SUPPORTED})"
    counts = Counter(type(step) for step in stage.epilogue)
    twice = [kind.__name__ for kind in ONCE if counts[kind] > 1]
    if twice:
        return f"epilogue {names} (supported: {twice[0]} once)"
    if any(part.gated for part in found[1:]):
        return f"epilogue {names} with a gate behind other steps (supported: in the first step)"
    return _problem_at_end(stage, found[-1], act_bits, names)


def _problem_at_end(stage: Stage, end: Round, act_bits: int, names: str) -> str | None:
    """Values that are stored, or compared, must have R bits."""
    low, high = bounds(act_bits)
    saturated = end.limit is not None or end.table is not None
    if not saturated and (stage.tensor is not None or stage.sums is not None):
        return f"epilogue {names} does not end with Saturate, and its values are stored"
    if saturated:
        least, most = end.reach
        if not low <= least <= most <= high:
            return f"values {least}..{most} (supported: {low}..{high}, {act_bits} bits)"
    movable = isinstance(end.product, Affine | None) and not end.gated and len(stage.signs) < 2
    if not saturated and _moves(stage, act_bits) and not movable:
        return f"epilogue {names}, not saturated: thresholds beyond {act_bits} bits"
    return None


def _moves(stage: Stage, act_bits: int) -> bool:
    low, high = bounds(act_bits)
    return any(((s.theta <= low) | (s.theta > high)).any() for s in stage.signs)


def chain_of(stage: Stage, act_bits: int, acc: Interval) -> Chain:
    """The chain of a stage that has no :func:`problem`; ``acc``: smallest and largest sum."""
    found = deal(stage.epilogue)
    assert found is not None
    thetas = tuple(sink.theta for sink in stage.signs)
    end = found[-1]
    if end.limit is None and end.table is None:
        if _moves(stage, act_bits):
            affine, theta = _move_threshold(end.affine(stage.shape[0]), thetas[0], act_bits)
            end, thetas = replace(end, product=affine), (theta,)
        found[-1] = replace(end, limit=Saturate(*bounds(act_bits)))
    reach = acc
    for index, part in enumerate(found):
        found[index] = _limited(part, reach, stage.shape[0], act_bits)
        reach = found[index].reach
    return Chain(tuple(found), thetas)


def _limited(part: Round, reach: Interval, channels: int, act_bits: int) -> Round:
    """The round with bounds that hold what it gives; a table's arguments are bounds, too."""
    if part.limit is None:
        part = replace(part, limit=Saturate(*_reach(part, reach, channels, act_bits)))
    if part.table is None:
        return part
    assert part.limit is not None
    first, last = part.table.low, part.table.low + len(part.table.entries) - 1
    low, high = (int(np.clip(end, first, last)) for end in (part.limit.low, part.limit.high))
    return replace(part, limit=Saturate(low, high))


def _move_threshold(step: Affine, theta: np.ndarray, act_bits: int) -> tuple[Affine, np.ndarray]:
    """The step with thresholds outside of R bits subtracted, and the thresholds that are left."""
    low, high = bounds(act_bits)
    moved = np.where((theta <= low) | (theta > high), theta, 0)
    return replace(step, offset=step.offset - (moved << step.shift)), theta - moved


def _reach(part: Round, values: Interval, channels: int, act_bits: int) -> Interval:
    """Smallest and largest value behind a product and a skip add."""
    most = max(-values[0], values[1])
    if part.spatial is not None:
        factor = int(np.abs(part.spatial.multiplier).max())
    else:
        factor = 1 << ((act_bits if part.multiply else 16) - 1)
    if part.spatial is not None or part.multiply is not None or part.gated:
        high = (most * factor >> part.shift) + 1
        low = -high
    else:  # monotone on either side of the knot
        step = part.affine(channels)
        ends = [np.clip(end, *values) for end in (*values, step.knot - 1, step.knot)]
        found = [
            piecewise_affine(end, step.knot, step.multiplier, step.offset, step.shift)
            for end in ends
        ]
        low, high = min(int(v.min()) for v in found), max(int(v.max()) for v in found)
    if part.skip is not None:
        less, more = bounds(act_bits)
        low, high = low + less, high + more
    return low, high
