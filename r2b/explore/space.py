"""The space: every Plan that the axes below span, and which of them are not worth evaluating.

An axis is one line of :data:`AXES`; what the generator learns to build is added there. Widths that
are powers of two are enough: a stage's channels and a memory's words are, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from r2b.backends.fpga.planner import make_plan
from r2b.hw.plan import PIXELS, WEIGHT_SOURCES, Plan
from r2b.ir.errors import PlanError
from r2b.ir.program import Program

Value = int | str


@dataclass(frozen=True)
class Axis:
    """One dimension of the space.

    Parameters
    ----------
    name : str
        As in ``--axis`` and in the tables.
    values : tuple
        In the order in which they are tried.
    meaning : str
    """

    name: str
    values: tuple[Value, ...]
    meaning: str


AXES = {
    axis.name: axis
    for axis in (
        Axis("p_in", (8, 16, 32, 64, 128, 256), "XNOR array: inputs per processing element"),
        Axis("p_out", (8, 16, 32, 64, 128, 256), "XNOR array: processing elements"),
        Axis("weights", WEIGHT_SOURCES, "weights from memory on chip, or from a stream"),
        Axis("bus", (64, 128, 256), "bits of weights per cycle into an array"),
        Axis("p_px", PIXELS, "XNOR array: pixels at a time, with the same weights"),
        Axis("vector", WEIGHT_SOURCES, "the same of gates and head"),
        Axis("lanes", (1, 2, 4, 8, 16), "epilogue lanes"),
        Axis("mac_tiles", (1, 2, 4, 8), "elements of the MAC array per epilogue lane"),
        Axis("mac_packing", (1, 2), "products of the MAC array in a DSP block"),
        Axis("lut_tiles", (0, 2), "of mac_tiles, those whose products are made of LUTs"),
        Axis("tile_pixels", (32, 64), "pixels whose sums the accumulators hold"),
        Axis("gate_macs", (4, 16), "int8 products per cycle in the vector unit"),
        Axis("front_tiles", (0, 2), "elements of a front's MAC array per epilogue lane; 0: none"),
        Axis("front_lut_tiles", (0,), "of front_tiles, those whose products are made of LUTs"),
        Axis("front_packing", (1,), "products of the front in a DSP block"),
        Axis("batch", (1, 4), "frames that share weights"),
    )
}
"""Name -> axis. Points that agree in the first ones follow each other and share what depends on
them, the weights' words above all."""
Axes = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Point:
    """A point of the space: one value per axis.

    Parameters
    ----------
    index : int
        Its number in the product of all axes.
    p_in, p_out : int
    weights : str
    bus, p_px : int
    vector : str
    lanes, mac_tiles, mac_packing, lut_tiles, tile_pixels, gate_macs : int
    front_tiles, front_lut_tiles, front_packing, batch : int
    """

    index: int
    p_in: int
    p_out: int
    weights: str
    bus: int
    p_px: int
    vector: str
    lanes: int
    mac_tiles: int
    mac_packing: int
    lut_tiles: int
    tile_pixels: int
    gate_macs: int
    front_tiles: int = 0
    front_lut_tiles: int = 0
    front_packing: int = 1
    batch: int = 1

    @property
    def mac_out(self) -> int:
        """Elements of the MAC array."""
        return self.lanes * self.mac_tiles

    @property
    def vector_macs(self) -> int:
        """Products per cycle of the vector unit: ``gate_macs``, or what the stream feeds."""
        return self.bus // 8 if self.vector == "stream" else self.gate_macs

    @property
    def front_out(self) -> int:
        """Elements of the front's MAC array."""
        return self.lanes * self.front_tiles

    @property
    def front_luts(self) -> int:
        """Elements of the front's MAC array whose products are made of LUTs."""
        return self.lanes * self.front_lut_tiles

    @property
    def alone(self) -> Point:
        """The point without front and batch: those that agree in it follow each other."""
        return replace(self, index=0, front_tiles=0, front_lut_tiles=0, front_packing=1, batch=1)

    @property
    def lut_macs(self) -> int:
        """Elements of the MAC array whose products are made of LUTs."""
        return self.lanes * self.lut_tiles

    @property
    def name(self) -> str:
        """Every parameter, in short."""
        sources = self.weights if self.vector == "chip" else "all streamed"
        kinds = mac_kinds(self.mac_packing, self.lanes * self.lut_macs)
        return (
            f"{array_name(vars(self))} {sources} bus {self.bus}, lanes {self.lanes}, "
            f"MACs {self.lanes * self.mac_out}{kinds}, "
            f"T {self.tile_pixels}, gate MACs {self.vector_macs}{self._beside()}"
        )

    def _beside(self) -> str:
        return beside(vars(self) | {"front_out": self.front_out, "front_luts": self.front_luts})

    def plan(self, program: Program, device: str, clock_mhz: float) -> Plan:
        """Its Plan, with the memory map.

        Raises
        ------
        PlanError
            The point is illegal.
        """
        return make_plan(
            program, device, clock_mhz, (self.p_in, self.p_out, self.p_px), lanes=self.lanes,
            mac_out=self.mac_out, tile_pixels=self.tile_pixels, weights=self.weights,
            weight_word=self.bus, mac_weight_word=self.bus, gate_macs=self.vector_macs,
            vector=self.vector, mac_packing=self.mac_packing, lut_macs=self.lut_macs,
            front_out=self.front_out, front_luts=self.front_luts,
            front_packing=self.front_packing, batch=self.batch,
        )  # fmt: skip


def mac_kinds(packing: int, luts: int) -> str:
    """What a Plan's MACs are made of, unless each has a DSP block."""
    kinds = [f"{packing} per DSP"] * (packing > 1) + [f"{luts} of LUTs"] * (luts > 0)
    return f" ({', '.join(kinds)})" if kinds else ""


def beside(row: Mapping[str, Any]) -> str:
    """The front and the batch of a point or of a row, if there is one, and what else is unusual."""
    front = front_name(row)
    texts = [f", front MACs {front}"] if front else []
    texts += [f", batch {row['batch']}"] if row["batch"] > 1 else []
    texts += [", constants in LUTs"] * (row.get("constants") == "logic")
    return "".join(texts)


def front_name(row: Mapping[str, Any]) -> str:
    """The front's MACs of a point or of a row; nothing without a front."""
    macs, luts = (row["lanes"] * row[name] for name in ("front_out", "front_luts"))
    return f"{macs}{mac_kinds(row['front_packing'], luts)}" if macs else ""


def array_name(row: Mapping[str, Any]) -> str:
    """The array of a point or of a row: ``64x64``, or ``64x64x2`` for two pixels at a time."""
    pixels = f"x{row['p_px']}" if row["p_px"] > 1 else ""
    return f"{row['p_in']}x{row['p_out']}{pixels}"


def points(axes: Axes) -> Iterator[Point]:
    """Every point, in one order."""
    for index, values in enumerate(product(*(axes[name] for name in AXES))):
        yield Point(index, *values)  # type: ignore[arg-type]


def full_axes() -> dict[str, tuple[Value, ...]]:
    """The values of every axis."""
    return {name: axis.values for name, axis in AXES.items()}


def parse_axes(texts: list[str]) -> dict[str, tuple[Value, ...]]:
    """The axes with those of ``NAME=V,V,...`` replaced.

    Raises
    ------
    PlanError
        A text is of another form, or names no axis.
    """
    axes = full_axes()
    for text in texts:
        name, _, values = text.partition("=")
        if name not in axes:
            raise PlanError(f"--axis {text!r}: the axes are {', '.join(AXES)}; --axes lists them")
        axes[name] = tuple(_value(name, item.strip()) for item in values.split(","))
        if len(set(axes[name])) < len(axes[name]):
            raise PlanError(f"--axis {text!r} names a value twice")
    return axes


def _value(name: str, text: str) -> Value:
    if name in ("weights", "vector"):
        if text not in WEIGHT_SOURCES:
            raise PlanError(f"--axis {name} takes {' or '.join(WEIGHT_SOURCES)}, not {text!r}")
        return text
    least = 0 if name in ("lut_tiles", "front_tiles", "front_lut_tiles") else 1
    if name in ("mac_packing", "front_packing") and text not in ("1", "2"):
        raise PlanError(f"--axis {name} takes 1 or 2, not {text!r}")
    if name == "p_px" and text not in map(str, PIXELS):
        raise PlanError(f"--axis p_px takes some of {', '.join(map(str, PIXELS))}, not {text!r}")
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise PlanError(f"--axis {name} takes positive integers with commas, not {text!r}")
    return int(text)
