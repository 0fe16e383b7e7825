"""The Plan: frozen parameters of the accelerator for one Program.

The cost model reads the Plan, the generator builds from the Plan, and a Plan is JSON in and out.
Nothing here touches hardware; what a Plan implies for a Program is in :mod:`r2b.hw.geometry`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from r2b.ir.errors import PlanError
from r2b.ir.program import Program

PLAN_VERSION = 1
WEIGHT_SOURCES = ("chip", "stream")
PIXELS = (1, 2, 4)
"""Legal values of P_px."""
CONSTANTS = ("auto", "logic")
MOST_FRAMES = 16
"""Largest batch."""
OPTIONAL = {
    "hop", "vector", "constants", "presum_buffer", "mac_packing", "lut_macs", "p_px", "batch",
    "front_out", "front_luts", "front_packing",
}  # fmt: skip
"""Fields that a ``plan.json`` may lack: older ones do."""
FRONT_LOADS = 16
"""Cycles in which a front's weight ROM loads a step, of 8-bit weights."""


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
    vector : str
        The vector unit's weights and tables: ``"chip"``, or ``"stream"``, in which case a word of
        the stream holds the weights of one of its cycles, ``8 * gate_macs = weight_word``.
    constants : str
        The epilogue's constants: ``"auto"``, as synthesis likes, or ``"logic"``, LUTs, where block
        RAM is short: they are wide and few.
    presum_buffer : bool
        Average pooling before a 1x1 convolution is summed once per tile of pixels and kept for
        the output-channel tiles that follow, instead of read tap by tap for each of them. Such
        stages run pixel tile > output-channel tile, and their weights are streamed once per tile.
    mac_packing : int
        2: a DSP block holds the products of two elements of the MAC array (Xilinx, narrow operands;
        see :mod:`r2b.hw.packing`). 1: of one.
    lut_macs : int
        Elements of the MAC array whose products are made of LUTs, the first ones.
    p_px : int
        Pixels side by side that the XNOR array works on at a time, all with the same weights.
    batch : int
        Frames that each stage runs for before the next stage begins, so that streamed weights come
        once for all of them. Feature and sign memory are as many times as large.
    front_out : int
        Processing elements of the *front*: a MAC array of its own, with ``lanes`` lanes, that runs
        the first stage of the next frame while the other stages of this one run. A multiple of
        ``lanes``; 0: no front. Its weights are on chip with either value of ``weights``.
    front_luts, front_packing : int
        What ``lut_macs`` and ``mac_packing`` are to the MAC array, of the front's. It takes pixels
        alone, 9 bits, so that two products share a block of every Xilinx device.
    tensors, signs : dict
        Name -> first word in the feature memory and in the sign memory. With a front the first
        stage's are in memories of its own, and all others in the other ones.
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
    vector: str = "chip"
    constants: str = "auto"
    presum_buffer: bool = False
    mac_packing: int = 1
    lut_macs: int = 0
    p_px: int = 1
    batch: int = 1
    front_out: int = 0
    front_luts: int = 0
    front_packing: int = 1
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
        for name in ("mac_packing", "front_packing"):
            value = getattr(self, name)
            if type(value) is not int or value not in (1, 2):
                raise PlanError(f"Plan: {name} must be 1 or 2, not {value!r}")
        if type(self.lut_macs) is not int or not 0 <= self.lut_macs <= self.mac_out:
            raise PlanError(
                f"Plan: lut_macs must be 0 to mac_out {self.mac_out}, not {self.lut_macs!r}"
            )
        self._check_front()
        if self.weights not in WEIGHT_SOURCES:
            raise PlanError(f"Plan: weights must be one of {WEIGHT_SOURCES}, not {self.weights!r}")
        if self.constants not in CONSTANTS:
            raise PlanError(f"Plan: constants must be one of {CONSTANTS}, not {self.constants!r}")
        if self.vector not in WEIGHT_SOURCES:
            raise PlanError(f"Plan: vector must be one of {WEIGHT_SOURCES}, not {self.vector!r}")
        if type(self.batch) is not int or not 1 <= self.batch <= MOST_FRAMES:
            raise PlanError(f"Plan: batch must be 1 to {MOST_FRAMES} frames, not {self.batch!r}")
        if self.vector == "stream":
            self._check_streamed_vector()

    def _check_front(self) -> None:
        for name in ("front_out", "front_luts"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise PlanError(f"Plan: {name} must be 0 or a positive integer, not {value!r}")
        if self.front_out and self.batch > 1:
            raise PlanError(
                f"Plan: front_out {self.front_out} needs batch 1, not {self.batch}: a front takes "
                "one frame at a time; choose front_out 0 or batch 1"
            )
        if self.front_out % self.lanes:
            raise PlanError(f"Plan: lanes must divide front_out {self.front_out}, not {self.lanes}")
        if self.front_luts > self.front_out:
            raise PlanError(
                f"Plan: front_luts must be 0 to front_out {self.front_out}, not {self.front_luts}"
            )

    @property
    def front(self) -> Plan:
        """What the front is built from: an accelerator of the first stage alone."""
        word = -(-8 * self.lanes * self.front_out // FRONT_LOADS)
        return replace(
            self, front_out=0, front_luts=0, mac_out=self.front_out, lut_macs=self.front_luts,
            mac_packing=self.front_packing, front_packing=1, mac_weight_word=word, weights="chip",
            vector="chip", presum_buffer=False,
        )  # fmt: skip

    def _check_streamed_vector(self) -> None:
        if self.weights != "stream":
            raise PlanError("Plan: vector can only be 'stream' where weights are")
        if 8 * self.gate_macs != self.weight_word:
            raise PlanError(
                "Plan: a streamed vector unit takes one word of the stream per cycle, so gate_macs "
                f"must be weight_word / 8, not {self.gate_macs} with {self.weight_word} bits"
            )

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
        odd = sorted(known.symmetric_difference(content) - OPTIONAL)
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
            "vector": isinstance(value, str),
            "constants": isinstance(value, str),
            "presum_buffer": isinstance(value, bool),
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
