"""The Plan: frozen parameters of the accelerator for one Program.

The cost model reads the Plan, the generator builds from the Plan, and a Plan is JSON in and out.
Nothing here touches hardware; what a Plan implies for a Program is in :mod:`r2b.hw.geometry`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from r2b.ir.errors import PlanError
from r2b.ir.program import Program

PLAN_VERSION = 1
WEIGHT_SOURCES = ("chip", "stream")
PIXELS = (1, 2, 4)
"""Legal values of P_px."""
LATER = {"hop", "p_px"}
"""Parameters that a ``plan.json`` may lack: it is from before they were there."""


@dataclass(frozen=True)
class Plan:
    """Parallelism, buffer depths, memory map, clock and device.

    Parameters
    ----------
    device : str
        Name in :data:`r2b.hw.devices.DEVICES`.
    clock_mhz : float
        Target clock.
    act_bits : int
        Width R of fixed tensors; must be the Program's.
    p_in, p_out : int
        XNOR array: input lanes per processing element, processing elements.
    lanes : int
        Epilogue lanes E; divides p_in, p_out and mac_out. A word of the feature memory holds E
        values; the MAC array reads one such word per cycle.
    mac_out : int
        Processing elements of the MAC array; it does ``lanes * mac_out`` products per cycle.
    tile_pixels : int
        T: depth of the accumulators, per bank. The XNOR array's hold ``p_px`` pixels at each depth.
    weight_word, mac_weight_word : int
        Bits per cycle from the weight memory into the XNOR and the MAC array.
    weights : str
        ``"chip"``: ROM. ``"stream"``: the ``s_axis_weights`` port, once per frame.
    gate_macs : int
        int8 products per cycle in the vector unit.
    line_words : int
        Words of ``lanes`` bytes in the stem's line buffer; a power of two.
    hop : int
        Processing elements per forwarding register of the arrays.
    p_px : int
        Pixels side by side that the XNOR array works on at a time, all with the same weights.
    tensors, signs : dict
        Name -> first word in the feature memory and in the sign memory.
    pixel_outer : tuple of str
        Stages that run pixel tile > output-channel tile (all their weights stay available), besides
        those that read the frame, which always do.
    """

    device: str
    clock_mhz: float
    act_bits: int
    p_in: int
    p_out: int
    lanes: int
    mac_out: int
    tile_pixels: int
    weight_word: int
    mac_weight_word: int
    weights: str
    gate_macs: int
    line_words: int
    hop: int = 8
    p_px: int = 1
    tensors: dict[str, int] = field(default_factory=dict)
    signs: dict[str, int] = field(default_factory=dict)
    pixel_outer: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what holds for every Program."""
        positive = ("p_in", "p_out", "lanes", "mac_out", "tile_pixels", "weight_word",
                    "mac_weight_word", "gate_macs", "line_words", "hop")  # fmt: skip
        for name in positive:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise PlanError(f"Plan: {name} must be a positive integer, not {value!r}")
        if type(self.p_px) is not int or self.p_px not in PIXELS:
            raise PlanError(f"Plan: p_px must be one of {PIXELS}, not {self.p_px!r}")
        for name in ("p_in", "p_out", "mac_out"):
            if getattr(self, name) % self.lanes:
                raise PlanError(
                    f"Plan: lanes must divide {name} {getattr(self, name)}, not {self.lanes}"
                )
        if self.line_words & (self.line_words - 1):
            raise PlanError(f"Plan: line_words must be a power of two, not {self.line_words}")
        if self.weights not in WEIGHT_SOURCES:
            raise PlanError(f"Plan: weights must be one of {WEIGHT_SOURCES}, not {self.weights!r}")

    def to_json(self) -> str:
        """Text of ``plan.json``: keys sorted, so equal Plans give equal bytes."""
        return (
            json.dumps({"version": PLAN_VERSION, **asdict(self)}, indent=2, sort_keys=True) + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The Plan of such a text; PlanError names what does not fit."""
        try:
            content: dict[str, Any] = json.loads(text)
            version = content.pop("version")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                f"plan.json is no Plan: {error!r}; write one with r2b-compile"
            ) from None
        if version != PLAN_VERSION:
            raise PlanError(f"plan.json has version {version!r}, this r2b reads {PLAN_VERSION}")
        known = {f.name for f in fields(cls)}
        odd = sorted(known.symmetric_difference(content) - LATER)
        if odd:
            raise PlanError(f"plan.json lacks or does not know: {', '.join(odd)}")
        _check_types(content)
        content["pixel_outer"] = tuple(content["pixel_outer"])
        return cls(**content)

    def require_placed(self, program: Program) -> None:
        """PlanError unless every tensor and sign map of the Program has a place."""
        missing = sorted({*program.tensors, *program.sign_shapes} - {*self.tensors, *self.signs})
        if missing:
            raise PlanError(f"the Plan has no place for {', '.join(missing)}; compile again")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """The Plan in a file."""
        return cls.from_json(path.read_text())


def _check_types(content: dict[str, Any]) -> None:
    """PlanError for the first value of a parsed Plan that is not of its kind."""
    for name, value in content.items():
        good = {
            "device": isinstance(value, str),
            "weights": isinstance(value, str),
            "clock_mhz": isinstance(value, int | float),
            "pixel_outer": isinstance(value, list) and all(isinstance(v, str) for v in value),
            "tensors": _is_map(value),
            "signs": _is_map(value),
        }.get(name, isinstance(value, int))
        if not good:
            raise PlanError(f"plan.json: {name} cannot be {value!r}")


def _is_map(value: object) -> bool:
    """Whether a parsed value is a memory map: words that are not negative."""
    return isinstance(value, dict) and all(isinstance(v, int) and v >= 0 for v in value.values())
