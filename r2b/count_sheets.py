"""The tables of ``r2b-count``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from r2b.backends.cost.accounting import REAL_BITS, Count, LayerCount
from r2b.backends.cost.rules import CONVENTIONS, UNITS
from r2b.counting import Counted
from r2b.sheets import Cell, Sheet

_MIB = 8 * 2**20
"""Bits."""
_SIDE_BY_SIDE = 3
"""Models that have a column each; more have a row each."""


def overview(models: Sequence[Counted]) -> list[Sheet]:
    """What the models cost in all: every quantity for a few, the main ones for many."""
    if len(models) == 1:
        return [quantities_sheet(models)]
    sheets = [models_sheet(models)]
    return [*sheets, quantities_sheet(models)] if len(models) <= _SIDE_BY_SIDE else sheets


def models_sheet(models: Sequence[Counted]) -> Sheet:
    """A row per model, and how each figure differs from the row above."""
    first = models[0].count
    names = [name for name, _ in _figures(first)]
    columns = ["model"]
    for name in names:
        columns += [name, "+/-"]
    rows: list[tuple[Cell, ...]] = []
    before: list[float] = []
    for model in models:
        values = [value for _, value in _figures(model.count)]
        row: list[Cell] = [model.name]
        for place, value in enumerate(values):
            row += [value, _difference(value, before[place]) if before else None]
        rows.append(tuple(row))
        before = values
    signed = frozenset(range(2, len(columns), 2))
    return Sheet(f"{_convention(first)}, +/- to the row above", tuple(columns), tuple(rows), signed)


def _figures(count: Count) -> list[tuple[str, float]]:
    figure = CONVENTIONS[count.convention].figure
    single = [] if count.figure is None else [(figure, count.figure)]
    return [
        ("BOPS", count.bops),
        ("FLOPS", count.flops),
        *single,
        ("parameters", count.stored.values),
        ("MiB", round(count.stored.bits(count.real_bits) / _MIB, 3)),
    ]


def quantities_sheet(models: Sequence[Counted]) -> Sheet:
    """A row per quantity, a column per model, and how it differs from the column on its left."""
    found = [dict(_quantities(model.count)) for model in models]
    names = dict.fromkeys(name for quantities in found for name in quantities)
    columns = ["", models[0].name]
    for model in models[1:]:
        columns += [model.name, "+/-"]
    rows = [(name, *_cells([quantities.get(name, 0) for quantities in found])) for name in names]
    signed = frozenset(range(3, len(columns), 2))
    title = f"{', '.join(model.name for model in models)}: {_convention(models[0].count)}"
    return Sheet(title, tuple(columns), tuple(rows), signed)


def _cells(values: Sequence[float]) -> list[Cell]:
    cells: list[Cell] = [values[0]]
    for left, value in pairwise(values):
        cells += [value, _difference(value, left)]
    return cells


def _difference(value: float, before: float) -> float:
    return round(value - before, 3)


def _quantities(count: Count) -> Iterable[tuple[str, float]]:
    figure = CONVENTIONS[count.convention].figure
    yield "BOPS", count.bops
    yield "FLOPS", count.flops
    if count.figure is not None:
        yield figure, count.figure
    for kind, (bops, flops) in count.by_kind().items():
        if bops:
            yield f"  binary {kind}", bops
        if flops:
            yield f"  {kind}", flops
    for (weight, activation), number in count.macs.items():
        yield f"MACs, {weight}-bit weight x {activation}-bit activation", number
    yield "parameters, 1 bit", count.stored.binary
    yield "parameters, other", count.stored.real
    for bits in REAL_BITS:
        yield f"parameters, bytes, others in {bits} bits", _bytes(count.stored.bits(bits))
    yield f"activations, bytes, in {count.real_bits} bits", _bytes(count.activation_bits)
    yield "activations, bytes, held at once", _bytes(count.peak_activation_bits)


def _bytes(bits: int) -> int:
    """Whole bytes that hold some bits."""
    return -(-bits // 8)


def layers_sheet(models: Sequence[Counted], everything: bool = False) -> Sheet:
    """A row per operation; those that cost and store nothing are left out unless all are wanted."""
    columns = ("module", "operation", "output", "BOPS", "FLOPS", "stored bits", "output bits")
    several = len(models) > 1
    rows = [
        (*([model.name] if several else []), *_layer(layer))
        for model in models
        for layer in model.count.layers
        if everything or layer.bops or layer.flops or layer.parameter_bits
    ]
    first = ("model",) if several else ()
    names = ", ".join(model.name for model in models)
    title = f"{names}: operations, {_convention(models[0].count)}"
    return Sheet(title, (*first, *columns), tuple(rows))


def _layer(layer: LayerCount) -> tuple[Cell, ...]:
    return (
        layer.module or layer.name,
        layer.op,
        _shape(layer.output_shape),
        layer.bops,
        layer.flops,
        layer.parameter_bits,
        layer.activation_bits,
    )


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _convention(count: Count) -> str:
    return f"convention {count.convention}, per frame"


def rules_sheets() -> list[Sheet]:
    """Every rule: what a unit of each kind is, and what it costs by each convention."""
    rows = tuple(
        (kind, unit.operations, unit.unit, *(_cost(name, kind) for name in CONVENTIONS))
        for kind, unit in UNITS.items()
    )
    costs = Sheet("cost per unit", ("kind", "operations", "unit", *CONVENTIONS), rows)
    meanings = tuple((name, _meaning(name)) for name in CONVENTIONS)
    return [costs, Sheet("conventions", ("name", "meaning"), meanings)]


def _cost(name: str, kind: str) -> Cell:
    convention = CONVENTIONS[name]
    cost = next(value for key, value in convention.costs.items() if key == kind)
    return "bits x bits" if cost and convention.times_bits else cost


def _meaning(name: str) -> str:
    convention = CONVENTIONS[name]
    share = convention.binary_share
    if share is None:
        return convention.summary
    term = "BOPS" if share == 1 else f"BOPS/{1 / share:g}"
    return f"{convention.summary}. {convention.figure} = FLOPS + {term}"
