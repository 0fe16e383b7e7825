"""LUTs, flip-flops, block RAM and DSPs of an accelerator, from its Program and Plan alone.

Block RAM, LUT RAM and DSPs are exact: :mod:`r2b.backends.cost.mapping` follows yosys's own rules
for every memory and product (:mod:`r2b.backends.cost.memories`). LUTs and flip-flops are sums::

    component = sum over its features of coefficient * size

with the sizes of :mod:`r2b.backends.cost.features` and the coefficients of ``coefficients.json``,
which ``benchmarks/calibrate.py`` fits to synthesized accelerators (``docs/cost.md``: how far off).
UltraScale+ takes 7-series coefficients and has not been compared with anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from r2b.backends.cost.features import COMPONENTS, USED, Features, features, vector_features
from r2b.backends.cost.mapping import Memory, dsp_blocks, map_memory
from r2b.backends.cost.memories import memories, products, vector_memories, vector_products
from r2b.hw.devices import device
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.memo import remember
from r2b.hw.params import CoreParams, core_params
from r2b.hw.plan import Plan
from r2b.ir.program import Program

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
CALIBRATED = {"ecp5": "ecp5", "xc7": "xc7", "xcup": "xc7"}
"""Family -> the one whose coefficients it takes."""


@dataclass(frozen=True)
class Count:
    """Numbers of cells.

    Parameters
    ----------
    lut : int
        LUT4 on ECP5 (a CCU2C counts twice), LUT6 on Xilinx; without LUT RAM.
    lutram : int
        LUT RAM primitives.
    ff : int
    ram18 : int
        18 kb block RAMs; a RAMB36 counts twice.
    dsp : int
    ram_luts : int
        LUTs that are LUT RAM, or that it takes away.
    """

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    ram18: int = 0
    dsp: int = 0
    ram_luts: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.lut + other.lut, self.lutram + other.lutram, self.ff + other.ff,
            self.ram18 + other.ram18, self.dsp + other.dsp, self.ram_luts + other.ram_luts,
        )  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """Estimated resources.

    Parameters
    ----------
    family : str
    calibrated : bool
        False: the coefficients are those of another family, or something here was never measured.
    unmeasured : tuple of str
        Features, as ``component: feature``, that no fitted accelerator of the family has; their
        LUTs and flip-flops are missing here.
    components : dict of str to Count
        In the order of :data:`r2b.backends.cost.features.COMPONENTS`; with a front, both halves'.
    """

    family: str
    calibrated: bool
    unmeasured: tuple[str, ...]
    components: dict[str, Count]

    @property
    def total(self) -> Count:
        """Of all components."""
        return sum(self.components.values(), Count())

    @property
    def occupied_luts(self) -> int:
        """LUTs, those of the LUT RAM included."""
        total = self.total
        return total.lut + total.ram_luts

    def needs(self) -> dict[str, int]:
        """What a device must have, by name of the resource."""
        total = self.total
        return {"LUT": self.occupied_luts, "FF": total.ff, "RAM18": total.ram18, "DSP": total.dsp}


def with_vector(known: Resources, params: CoreParams) -> Resources:
    """Resources of a core that differs in the vector unit alone from one whose are known."""
    sizes, cells = vector_features(params, known.family), Count()
    for memory in vector_memories(params):
        cells += memory_count(memory, known.family)
    for product in vector_products(params):
        cells += Count(dsp=dsp_blocks(product, known.family))
    count = logic("vector", sizes, known.family) + cells
    others = (name for name in known.unmeasured if not name.startswith("vector: "))
    table = coefficients()["families"][CALIBRATED[known.family]]
    unmeasured = tuple(sorted({*others, *_unmeasured({"vector": sizes}, table)}))
    return replace(
        known,
        calibrated=CALIBRATED[known.family] == known.family and not unmeasured,
        unmeasured=unmeasured,
        components=known.components | {"vector": count},
    )


def memory_count(memory: Memory, family: str) -> Count:
    """Cells of a memory."""
    mapped = map_memory(memory, family)
    return Count(ram18=mapped.ram18, lutram=mapped.lutram, ram_luts=mapped.ram_luts)


def logic(component: str, sizes: dict[str, float], family: str) -> Count:
    """LUTs and flip-flops of a component."""
    table = coefficients()["families"][CALIBRATED[family]]
    lut, ff = (
        sum(table[resource].get(shared_name(component), {}).get(name, 0.0) * size
            for name, size in sizes.items())
        for resource in ("lut", "ff")
    )  # fmt: skip
    return Count(lut=round(lut), ff=round(ff))


@cache
def coefficients() -> dict[str, Any]:
    """Content of ``coefficients.json``."""
    return json.loads(COEFFICIENTS.read_text(encoding="utf-8"))


def shared_name(component: str) -> str:
    """Name under which a component's coefficients stand: both engines' loops have the same."""
    return "loops" if component.endswith("loops") else component


def estimate(program: Program, plan: Plan, family: str | None = None) -> Resources:
    """Resources of the accelerator on a family, by default that of the Plan's device."""
    params = core_params(ProgramGeometry(program, plan))
    return estimate_params(params, family or device(plan.device).family)


def estimate_params(params: CoreParams, family: str) -> Resources:
    """Resources of a core with these parameters, a front included."""
    found = {name: Count() for name in COMPONENTS}
    unmeasured: set[str] = set()
    for half in (params,) if params.front is None else (params, params.front):
        all_memories = remember(half, "memories", None, lambda half=half: memories(half))
        needed = features(half, family, all_memories)
        for component, sizes in needed.items():
            found[component] += logic(component, sizes, family)
        for memory in all_memories:
            found[memory.component] += memory_count(memory, family)
        for product in products(half):
            found[product.component] += Count(dsp=dsp_blocks(product, family))
        unmeasured |= set(_unmeasured(needed, coefficients()["families"][CALIBRATED[family]]))
    used = {name: count for name, count in found.items() if count != Count()}
    calibrated = CALIBRATED[family] == family and not unmeasured
    return Resources(family, calibrated, tuple(sorted(unmeasured)), used)


def _unmeasured(needed: dict[str, Features], table: dict[str, Any]) -> tuple[str, ...]:
    """Features in use for which there is no coefficient, not even 0."""
    return tuple(
        sorted(
            {
                f"{component}: {feature}"
                for resource, parts in USED.items()
                for component, sizes in needed.items()
                for feature in parts[shared_name(component)]
                if sizes.get(feature) and feature not in table[resource][shared_name(component)]
            }
        )
    )


__all__ = [
    "Count",
    "Resources",
    "coefficients",
    "estimate",
    "estimate_params",
    "logic",
    "shared_name",
    "with_vector",
]
