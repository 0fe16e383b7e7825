"""The targets of ``r2b-compile``, in one table.

An emitter loads its backend when it runs, so that the table costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r2b.hw.plan import Plan
from r2b.ir.program import Program

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """What the emitters work from.

    Parameters
    ----------
    program : Program
    plan : Plan or None
        None for a target that needs none.
    frames : ndarray
        Some of the calibration frames, for a testbench.
    """

    program: Program
    plan: Plan | None
    frames: Frames


Emitter = Callable[[Source, Path], None]


@dataclass(frozen=True)
class Target:
    """What a target writes, and what it prints.

    Parameters
    ----------
    summary : str
        One line for ``--help``.
    emitters : tuple of callable
        Each takes a Source and the folder to write to; the report is written beside what they
        write. Without any, the target writes a folder only where one is named.
    has_plan : bool
        Whether the target needs a Plan.
    has_verilog : bool
        Whether it can be simulated.
    prints_cost : bool
        Whether the operations and cycles of every stage are printed.
    """

    summary: str
    emitters: tuple[Emitter, ...] = ()
    has_plan: bool = True
    has_verilog: bool = False
    prints_cost: bool = False


def emit_reference(source: Source, folder: Path) -> None:
    """Write ``program.json``, ``weights.npz`` and ``reference.py``."""
    from r2b.backends.numpy import emit

    emit(source.program, folder)


def emit_accelerator(source: Source, folder: Path) -> None:
    """Write ``plan.json``, ``rtl/`` and ``tb/``."""
    from r2b.backends.fpga.emit import emit_testbench, emit_verilog

    plan = source.plan
    if plan is None:
        raise ValueError("the accelerator needs a Plan")
    (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    emit_verilog(source.program, plan, folder)
    emit_testbench(source.program, plan, folder, source.frames)


TARGETS = {
    "numpy": Target("reference.py, needs NumPy only", (emit_reference,), has_plan=False),
    "fpga": Target(
        "Verilog, with the reference beside it",
        (emit_reference, emit_accelerator),
        has_verilog=True,
    ),
    "cost": Target("operations and cycles, printed; with -o the report", prints_cost=True),
    "all": Target(
        "all of them", (emit_reference, emit_accelerator), has_verilog=True, prints_cost=True
    ),
}
"""Every target by name."""
