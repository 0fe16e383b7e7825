"""From a canonical float Graph and sample frames to an integer Program."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from r2b.ir import interpreter
from r2b.ir.errors import CalibrationError
from r2b.ir.graph import Graph
from r2b.ir.program import Program
from r2b.ir.quantize.lower import Lowering, Origins
from r2b.ir.quantize.preprocessing import Preprocessing, check_frames
from r2b.ir.quantize.report import CalibrationReport, StageReport, measure

__all__ = [
    "CalibrationReport",
    "Origins",
    "Preprocessing",
    "StageReport",
    "measure",
    "quantize",
]

ACT_BITS = range(8, 17)


def quantize(
    graph: Graph,
    frames: npt.NDArray[np.uint8],
    act_bits: int = 12,
    preprocessing: Preprocessing | None = None,
    *,
    sign_zero: int | None = None,
) -> tuple[Program, CalibrationReport]:
    """Turn a canonical Graph into a Program, calibrated on sample frames.

    Parameters
    ----------
    graph : Graph
        Canonical.
    frames : uint8 array N x C x H x W
        Raw pixels of typical frames.
    act_bits : int
        Width of every fixed tensor, 8 to 16.
    preprocessing : Preprocessing
        What the network receives for a pixel; by default ``x / 255``.
    sign_zero : -1, +1 or None
        What a sign gives for 0 where the source gives 0; None refuses such a source if a 0 can
        occur.

    Raises
    ------
    CalibrationError
        The frames do not fit, or the network gives NaN or infinity for them.
    UnsupportedOpError
        Some operations cannot be lowered; all are listed.
    ProgramError
        A width does not suffice; the layer is named.
    """
    if act_bits not in ACT_BITS:
        raise CalibrationError(
            f"activations have {ACT_BITS[0]} to {ACT_BITS[-1]} bits, not {act_bits}; "
            "choose another --act-bits"
        )
    preprocessing = preprocessing or Preprocessing()
    frames = check_frames(frames, graph.inputs[0].type.shape[1:])
    values = interpreter.run(graph, preprocessing.apply(frames))
    _check_finite(graph, values)
    lowering = Lowering(graph, values, act_bits, preprocessing, sign_zero)
    program = lowering.run()
    return program, measure(graph, program, lowering.origins, frames, preprocessing)


def _check_finite(graph: Graph, values: dict[str, npt.NDArray[np.float64]]) -> None:
    for node in graph.nodes():
        if not np.isfinite(values[node.name]).all():
            raise CalibrationError(
                f"{node.location}: {type(node.op).__name__} gives NaN or infinity for the "
                "calibration frames; check the parameters, --mean and --std"
            )
