"""Measures a Program against the Graph it came from, stage by stage and end to end."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from r2b.ir import interpreter
from r2b.ir.arith import bounds, sat
from r2b.ir.execute import STAGES, execute
from r2b.ir.graph import Graph
from r2b.ir.kernels import Trace
from r2b.ir.program import Program, Stage
from r2b.ir.quantize.legalize import Legal, legalize
from r2b.ir.quantize.lower import Origins
from r2b.ir.quantize.preprocessing import Preprocessing, check_frames
from r2b.ir.quantize.statistics import BATCH_FRAMES, batch_size

FloatArray = npt.NDArray[np.float64]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StageReport:
    """How well one stage follows the float network.

    Parameters
    ----------
    name : str
    location : str
    bits : int or None
        Width of the stored tensor; None where none is stored. So too the next four.
    scale_min, scale_max : float or None
        Real value of a unit, over the channels.
    sqnr_db : float or None
        Signal to quantisation noise, the stage fed with the float network's own (rounded) input;
        None too where there is no noise or no signal.
    saturated : float or None
        Share of the float network's values beyond the largest integer.
    equal_signs : float or None
        Share of equal sign bits, the stage fed with the float network's own input; None where the
        stage writes no sign map.
    equal_signs_end_to_end : float or None
        The same with the Program's own input.
    """

    name: str
    location: str
    bits: int | None
    scale_min: float | None
    scale_max: float | None
    sqnr_db: float | None
    saturated: float | None
    equal_signs: float | None
    equal_signs_end_to_end: float | None


@dataclass(frozen=True)
class CalibrationReport:
    """Every stage, and the whole network.

    Parameters
    ----------
    num_frames : int
    act_bits : int
    stages : tuple of StageReport
    top1_agreement : float
        Share of frames for which Program and float network choose the same class.
    origins : Origins
        Node of the Graph for each value of the Program.
    """

    num_frames: int
    act_bits: int
    stages: tuple[StageReport, ...]
    top1_agreement: float
    origins: Origins

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return asdict(self)


@dataclass
class _Count:
    """Sums over batches for one stage."""

    signal: float = 0.0
    noise: float = 0.0
    saturated: int = 0
    values: int = 0
    signs: int = 0
    equal: int = 0
    equal_end_to_end: int = 0


def measure(
    graph: Graph,
    program: Program,
    origins: Origins,
    frames: Frames,
    preprocessing: Preprocessing,
    batch: int = BATCH_FRAMES,
) -> CalibrationReport:
    """Run both on frames, at most ``batch`` at a time, and compare every stage."""
    legal = legalize(graph, origins.sign_zero)
    return measure_legal(legal, program, origins, frames, preprocessing, batch)


def measure_legal(
    legal: Legal,
    program: Program,
    origins: Origins,
    frames: Frames,
    preprocessing: Preprocessing,
    batch: int = BATCH_FRAMES,
) -> CalibrationReport:
    """Do the same for a Graph that is legal already."""
    counts = {stage.name: _Count() for stage in program.stages}
    agreeing = 0
    frames = check_frames(frames, program.input_shape)
    step = min(batch, batch_size(legal.graph))
    for start in range(0, len(frames), step):
        part = frames[start : start + step]
        values = interpreter.run(legal.graph, preprocessing.apply(part))
        trace = execute(program, part)
        fed = float_trace(program, origins, part, values)
        for stage in program.stages:
            _compare(stage, program, origins, fed, values, trace, counts[stage.name])
        wanted = values[origins.logits].reshape(len(part), -1).argmax(axis=1)
        agreeing += int((trace.logits.argmax(axis=1) == wanted).sum())
    reports = tuple(_report(stage, program, counts[stage.name]) for stage in program.stages)
    share = agreeing / len(frames)
    return CalibrationReport(len(frames), program.act_bits, reports, share, origins)


def float_trace(
    program: Program, origins: Origins, frames: Frames, values: Mapping[str, FloatArray]
) -> Trace:
    """Every value between stages as the float network has it, tensors rounded to their integers."""
    trace = Trace(frames)
    limits = bounds(program.act_bits)
    for name, tensor in program.tensors.items():
        real = values[origins.tensors[name]]
        integer = sat(np.rint(real / tensor.scale[:, None, None]), *limits).astype(np.int64)
        trace.tensors[name] = integer
        trace.sums[name] = integer.sum(axis=(2, 3))
    for name, node in origins.signs.items():
        trace.signs[name] = (values[node] > 0).astype(np.uint8)
    return trace


def _compare(
    stage: Stage,
    program: Program,
    origins: Origins,
    given: Trace,
    values: Mapping[str, FloatArray],
    end_to_end: Trace,
    count: _Count,
) -> None:
    expected = {sink.name: given.signs[sink.name] for sink in stage.signs}
    fed = copy(given)
    fed.tensors, fed.signs, fed.sums = dict(given.tensors), dict(given.signs), dict(given.sums)
    STAGES[type(stage.contraction)](fed, stage)
    for name, bits in expected.items():
        count.signs += bits.size
        count.equal += int((fed.signs[name] == bits).sum())
        count.equal_end_to_end += int((end_to_end.signs[name] == bits).sum())
    if stage.tensor is not None:
        real = values[origins.tensors[stage.tensor]]
        scale = program.tensors[stage.tensor].scale[:, None, None]
        count.values += real.size
        count.signal += float((real**2).sum())
        count.noise += float(((fed.tensors[stage.tensor] * scale - real) ** 2).sum())
        largest = bounds(program.act_bits)[1]
        count.saturated += int((np.abs(real / scale) > largest + 0.5).sum())


def _report(stage: Stage, program: Program, count: _Count) -> StageReport:
    tensor = None if stage.tensor is None else program.tensors[stage.tensor]
    has_ratio = count.signal > 0 and count.noise > 0
    return StageReport(
        name=stage.name,
        location=str(stage.location),
        bits=None if tensor is None else program.act_bits,
        scale_min=None if tensor is None else float(tensor.scale.min()),
        scale_max=None if tensor is None else float(tensor.scale.max()),
        sqnr_db=10 * float(np.log10(count.signal / count.noise)) if has_ratio else None,
        saturated=count.saturated / count.values if count.values else None,
        equal_signs=count.equal / count.signs if count.signs else None,
        equal_signs_end_to_end=count.equal_end_to_end / count.signs if count.signs else None,
    )
