"""The accelerators that the cost model is calibrated and tested with, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from r2b.backends.fpga.planner import make_plan
from r2b.hw.plan import Plan
from r2b.ir.program import Program
from tests.hw.families import FAMILIES
from tests.hw.programs import HALF, Shape, random_program

WIDE = Shape(frame=(3, 32, 32), widths=(32, 64, 96), stem=HALF, blocks=2, classes=10, act_bits=12)


@dataclass(frozen=True)
class Point:
    """An accelerator.

    Parameters
    ----------
    program : str
        Name of a Program, see :func:`program`.
    device : str
    array : tuple of int
        P_in, P_out.
    held_out : bool
        Not used in the fit.
    changes : dict
        Other parameters of the Plan.
    """

    program: str
    device: str
    array: tuple[int, int]
    held_out: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique among the points."""
        more = " ".join(f"{key}={value}" for key, value in self.changes.items())
        return f"{self.program} {self.device} {self.array[0]}x{self.array[1]} {more}".strip()

    def plan(self, program: Program) -> Plan:
        """The Plan for its Program."""
        return make_plan(program, self.device, parallelism=self.array, **self.changes)


@cache
def program(name: str) -> Program:
    """``digits``, a family of :mod:`tests.hw.families`, ``wide``, or ``random`` and a seed."""
    if name == "digits":
        return _digits()
    if name in FAMILIES:
        return FAMILIES[name](1)
    if name == "wide":
        return random_program(1, WIDE)
    return random_program(int(name.removeprefix("random")))


def _digits() -> Program:
    import torch

    from r2b.frontend.importer import import_module
    from r2b.ir.passes.canonicalize import canonicalize
    from r2b.ir.quantize import quantize
    from r2b.train import checkpoint
    from tests.end_to_end.conftest import DIGITS

    loaded = checkpoint.load(DIGITS / "digits.pt")
    example = torch.zeros(1, *loaded.calibration.shape[1:])
    graph = canonicalize(import_module(checkpoint.module(loaded), example))
    return quantize(graph, loaded.calibration)[0]


def _small(lanes: int, macs: int, gate_macs: int = 4, **more: Any) -> dict[str, Any]:
    return {"lanes": lanes, "mac_out": macs // lanes, "gate_macs": gate_macs, **more}


_STREAM = {"weights": "stream", "weight_word": 32, "mac_weight_word": 32}
_WHOLE = {"weights": "stream", "vector": "stream", "weight_word": 64, "mac_weight_word": 64}
E, X = "ecp5-85f", "xc7z020"

POINTS = (
    Point("digits", X, (8, 8)),
    Point("digits", E, (8, 8)),
    Point("gates", E, (16, 16), False, _small(4, 16)),
    Point("react", X, (16, 8), False, _small(4, 16)),
    Point("vgg", E, (8, 16), False, _small(4, 16, 8, tile_pixels=16)),
    Point("factors", X, (8, 8), False, _small(4, 32, 8)),
    Point("digits", E, (32, 32), True, _small(4, 32, 8)),
    Point("digits", X, (32, 32), True, _small(4, 32, 8)),
    Point("factors", E, (8, 8), False, _small(2, 8)),
    Point("gates", X, (16, 16), False, _small(4, 16, tile_pixels=32)),
    Point("random3", E, (16, 8), False, _small(4, 32, **_STREAM)),
    Point("random3", X, (16, 8), True, _small(4, 32, **_STREAM)),
    Point("react", E, (32, 16), False, _small(4, 16, 8)),
    Point("vgg", X, (32, 16), False, _small(8, 64, 8)),
    Point("digits", E, (16, 16), True, _small(4, 64, 16, tile_pixels=64)),
    Point("digits", X, (16, 16), True, _small(4, 64, 16)),
    Point("padded", E, (32, 8), False, _small(8, 64, **_STREAM)),
    Point("padded", X, (8, 32), False, _small(4, 16, **_STREAM)),
    Point("wide", E, (32, 32), False, _small(8, 64, 16)),
    Point("wide", X, (32, 32), False, _small(8, 64, 16)),
    Point("grouped", E, (8, 8), True, _small(4, 16)),
    Point("dense", X, (8, 16), True, _small(4, 16, tile_pixels=16)),
    Point("moved", E, (16, 16), False, _small(4, 48, 8, tile_pixels=16)),
    Point("signs", X, (16, 32), False, _small(4, 16)),
    Point("react", E, (16, 8), False, _small(4, 16, 8, **_WHOLE)),
    Point("react", X, (8, 16), False, _small(4, 16, 8, tile_pixels=32, **_WHOLE)),
    Point("gates", E, (16, 16), True, _small(4, 16, 8, constants="logic", **_WHOLE)),
    Point("digits", X, (32, 16), False, _small(8, 64, 8, **_WHOLE)),
    Point("gates", X, (16, 16), True, _small(4, 32, mac_packing=2)),
    Point("gates", E, (16, 16), True, _small(4, 32, lut_macs=4)),
    Point("digits", E, (64, 64), True),
    Point("digits", X, (64, 64), True),
    Point("gates", X, (16, 16), False, _small(4, 16, p_px=2)),
    Point("gates", E, (16, 16), False, _small(4, 16, p_px=2)),
)
"""In the order in which they are worth having."""
