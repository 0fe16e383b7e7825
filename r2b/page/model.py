"""What the page shows, made from the content of ``report.json``: typed, frozen, texts cleaned."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from math import prod
from typing import Any

Report = dict[str, Any]

KINDS = {
    "BinaryConv": "binary conv", "RealConv": "real conv", "Pool": "pooling",
    "Identity": "no contraction", "Pad": "padding", "Concat": "concatenation",
    "Flatten": "flattening", "Head": "dense",
}  # fmt: skip
"""Words for the contractions of a Program."""
FRONT = "front"
"""Engine of the stage that runs beside the frame before."""
NO_ENGINE = "none"
"""Engine of a stage that multiplies nothing and has no Plan."""
SECTIONS = ("hardware", "operations")
"""Parts of a report that have a section of their own, where there are any."""


@dataclass(frozen=True)
class Value:
    """A value between stages; ``kind`` is frame, tensor, signs, sums or logits."""

    kind: str
    name: str


@dataclass(frozen=True)
class Read:
    """A value that a stage reads; ``role`` is input, skip, factor, gate or mean."""

    value: Value
    role: str


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates per frame, padding included."""

    binary: int
    real: int

    @property
    def total(self) -> int:
        """Both."""
        return self.binary + self.real


@dataclass(frozen=True)
class Kept:
    """Bits that a stage keeps, as in :class:`r2b.backends.cost.stage_memory.StageMemory`."""

    binary_weights: int
    real_weights: int
    tensor: int
    signs: int

    @property
    def weights(self) -> int:
        """Bits of all weights."""
        return self.binary_weights + self.real_weights

    @property
    def total(self) -> int:
        """All bits."""
        return self.weights + self.tensor + self.signs


@dataclass(frozen=True)
class Limits:
    """What holds a stage back, as in :class:`r2b.backends.cost.hardware.StageCost`.

    ``utilisation`` is that of the taps inside the image, ``attained / peak``.
    """

    engine: str
    cycles: int
    compute: int
    weights: int
    epilogue: int
    gate: int
    executed: int
    peak: int
    weight_word: int
    attained: float
    utilisation: float
    intensity: float | None
    binds: str


@dataclass(frozen=True)
class Fidelity:
    """How well a stage follows the float network on the calibration frames."""

    sqnr_db: float | None
    saturated: float | None
    equal_signs: float | None
    equal_signs_end_to_end: float | None


@dataclass(frozen=True)
class StageView:
    """One stage.

    Parameters
    ----------
    number : int
        From 1 on.
    name, location : str
        The user's; ``location`` is module path and source line.
    kind : str
        The contraction in words, with its kernel and stride.
    engine : str
        ``binary``, ``real``, ``front``, ``vector``, or ``none``.
    source, weight, result : str
        Shape and formats of what goes in, of the weights, and of what comes out.
    reads : tuple of Read
    writes : tuple of Value
    gated : bool
    cycles, measured : int or None
    """

    number: int
    name: str
    location: str
    kind: str
    engine: str
    source: str
    weight: str
    result: str
    reads: tuple[Read, ...]
    writes: tuple[Value, ...]
    gated: bool
    work: Work
    kept: Kept
    cycles: int | None
    measured: int | None
    limits: Limits | None
    fidelity: Fidelity | None


@dataclass(frozen=True)
class Machine:
    """The Plan's parameters, as in :class:`r2b.hw.plan.Plan`."""

    device: str
    clock_mhz: float
    p_in: int
    p_out: int
    p_px: int
    lanes: int
    mac_out: int
    gate_macs: int
    tile_pixels: int
    weights: str
    weight_word: int
    mac_weight_word: int

    @property
    def macs(self) -> int:
        """Products per cycle of the MAC array."""
        return self.lanes * self.mac_out

    @property
    def xnors(self) -> int:
        """Products per cycle of the XNOR array."""
        return self.p_in * self.p_out * self.p_px


@dataclass(frozen=True)
class Verdict:
    """The outcome of the simulation."""

    equal: bool
    frames: int
    differing_bits: int
    compared_bits: int


@dataclass(frozen=True)
class Page:
    """Everything the page shows.

    Parameters
    ----------
    name, version, frame : str
        Of the network, of r2b; shape of a frame.
    classes, act_bits, calibration_frames : int
    top1_agreement : float
    machine : Machine or None
        None where no Plan was made.
    cycles, measured : int or None
        Per frame.
    work, kept : Work, Kept
        Totals.
    stages : tuple of StageView
        The head is the last one.
    verdict : Verdict or None
    sections : dict
        Parts of the report in :data:`SECTIONS` that it has.
    """

    name: str
    version: str
    frame: str
    classes: int
    act_bits: int
    calibration_frames: int
    top1_agreement: float
    machine: Machine | None
    cycles: int | None
    measured: int | None
    work: Work
    kept: Kept
    stages: tuple[StageView, ...]
    verdict: Verdict | None
    sections: dict[str, Report]

    @property
    def front_cycles(self) -> int:
        """Cycles of the front, which works beside the other stages; 0 if there is none."""
        return sum(stage.cycles or 0 for stage in self.stages if stage.engine == FRONT)

    @property
    def period(self) -> int | None:
        """Cycles from the end of a frame, or batch, to the next one's."""
        return self.sections.get("hardware", {}).get("period")

    @property
    def frames_per_second(self) -> float | None:
        """Frames per second with streams that never make it wait."""
        return self.sections.get("hardware", {}).get("fps")


def page_of(report: Report) -> Page:
    """The page of a report."""
    report = clean(report)
    costs = {entry["name"]: entry for entry in (report.get("hardware") or {}).get("stages", ())}
    stages = (
        _stage(number, entry, costs.get(entry["name"], {}))
        for number, entry in enumerate(report["stages"], 1)
    )
    verdict, machine = report["verification"], report["plan"]
    return Page(
        name=report["name"],
        version=report["r2b"],
        frame=shape_text(report["input_shape"]),
        classes=report["num_classes"],
        act_bits=report["act_bits"],
        calibration_frames=report["calibration"]["frames"],
        top1_agreement=report["calibration"]["top1_agreement"],
        machine=machine and _picked(Machine, machine),
        cycles=report["cycles"]["predicted"],
        measured=report["cycles"]["measured"],
        work=_picked(Work, report["ops"]),
        kept=_picked(Kept, report["memory"]),
        stages=tuple(stages),
        verdict=verdict and _picked(Verdict, verdict),
        sections={name: report[name] for name in SECTIONS if report.get(name)},
    )


def clean(content: Any) -> Any:
    """Plain data, its texts without what no page can hold: control characters, lone surrogates."""
    if isinstance(content, dict):
        return {clean(key): clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [clean(value) for value in content]
    if isinstance(content, str):
        return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in content)
    return content


def _picked(kind: Any, entry: Report) -> Any:
    """A dataclass of those entries that it has fields for."""
    return kind(**{name: entry[name] for name in kind.__dataclass_fields__})


def _stage(number: int, entry: Report, cost: Report) -> StageView:
    """A stage; ``cost`` is empty where there is no Plan."""
    fidelity = entry["calibration"]
    found = _limits(cost) if cost else None
    return StageView(
        number=number,
        name=entry["name"],
        location=entry["location"],
        kind=_kind(entry),
        engine=_engine(entry, found),
        source=f"{shape_text(entry['input']['shape'])} {entry['input']['format']}",
        weight=_weight(entry["weight"]),
        result=_result(entry["output"]),
        reads=tuple(
            Read(Value(item["kind"], item["name"]), item["role"]) for item in entry["reads"]
        ),
        writes=_writes(entry["output"]),
        gated=bool(entry["output"].get("gated")),
        work=_picked(Work, entry["ops"]),
        kept=_picked(Kept, entry["memory"]),
        cycles=entry["cycles"]["predicted"],
        measured=entry["cycles"]["measured"],
        limits=found,
        fidelity=fidelity and _picked(Fidelity, fidelity),
    )


def _limits(cost: Report) -> Limits:
    return _picked(Limits, cost | {"utilisation": cost["utilisation_executed"]})


def shape_text(shape: list[int]) -> str:
    """``64×32×32``."""
    return "×".join(map(str, shape))


def _kind(entry: Report) -> str:
    """``3×3 binary conv /2``: kernel, contraction, stride."""
    word, window = KINDS[entry["kind"]], entry["window"]
    if window is None:
        return word
    stride = window["stride"]
    step = f" /{stride[0]}" if len(set(stride)) == 1 else f" /{shape_text(stride)}"
    return f"{shape_text(window['kernel'])} {word}{step if prod(stride) > 1 else ''}"


def _engine(entry: Report, limits: Limits | None) -> str:
    if limits is not None:
        return limits.engine
    return {"BinaryConv": "binary", "RealConv": "real", "Head": "vector"}.get(
        entry["kind"], NO_ENGINE
    )


def _weight(weight: Report | None) -> str:
    return "" if weight is None else f"{shape_text(weight['shape'])} {weight['format']}"


def _result(output: Report) -> str:
    tensor, signs = output["tensor"], output.get("signs", [])
    formats = [tensor["format"]] if tensor else []
    if signs:
        formats.append("sign" if len(signs) == 1 else f"{len(signs)} signs")
    formats += ["sums"] if output.get("sums") else []
    return f"{shape_text(output['shape'])} {' + '.join(formats)}"


def _writes(output: Report) -> tuple[Value, ...]:
    tensor, sums = output["tensor"], output.get("sums")
    found = [Value("signs", name) for name in output.get("signs", [])]
    if tensor:
        kind = "logits" if tensor["name"] == "logits" and "signs" not in output else "tensor"
        found.append(Value(kind, tensor["name"]))
    return (*found, *([Value("sums", sums)] if sums else []))
