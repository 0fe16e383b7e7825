"""From a canonical float Graph and sample frames to an integer Program."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from r2b.ir.errors import CalibrationError
from r2b.ir.graph import Graph
from r2b.ir.program import Program
from r2b.ir.quantize.legalize import legalize
from r2b.ir.quantize.lower import Lowering, Origins, wanted
from r2b.ir.quantize.partition import Partition
from r2b.ir.quantize.preprocessing import Preprocessing, check_frames
from r2b.ir.quantize.report import CalibrationReport, StageReport, measure, measure_legal
from r2b.ir.quantize.sinks import SolidError
from r2b.ir.quantize.statistics import batches, gather

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
        Raw pixels of typical frames; N x F for a network of vectors.
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
    legal = legalize(graph, sign_zero)
    partition = Partition(legal.graph, legal.head)
    real = (preprocessing.apply(part) for part in batches(legal.graph, frames))
    statistics = gather(legal.graph, wanted(legal, partition), real, len(frames))
    solid: frozenset[str] = frozenset()
    while True:
        lowering = Lowering(legal, partition, statistics, act_bits, preprocessing)
        try:
            program = lowering.run()
            break
        except SolidError as error:
            solid |= error.names
            partition = Partition(legal.graph, legal.head, solid)
    return program, measure_legal(legal, program, lowering.origins, frames, preprocessing)
