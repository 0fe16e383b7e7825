"""Small netlists of yosys for the ECP5, changed, and proved to do the same as before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from r2b.explore.dsp import BLOCK
from r2b.explore.yosys import require_yosys

PINS = [f"{letter}{index}" for letter in "AB" for index in range(18)]
CS, PS = (
    ", ".join(f"{letter}{k}" for k in range(count)) for letter, count in (("C", 18), ("P", 36))
)
CONTROL = "SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, RST0, CE0, CE1, CE2, CE3"
MODEL = f"""
module {BLOCK}({", ".join(PINS)}, {CONTROL}, {CS}, {PS});
  input {", ".join(PINS)}, {CONTROL}, {CS};
  output {PS};
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  wire signed [17:0] a = {{{", ".join(f"A{k}" for k in reversed(range(18)))}}};
  wire signed [17:0] b = {{{", ".join(f"B{k}" for k in reversed(range(18)))}}};
  reg signed [17:0] a_q = 0, b_q = 0;
  reg signed [35:0] p_q = 0;
  wire shifted = SOURCEA | SOURCEB;  // operands would come from a neighbour
  wire signed [17:0] l = REG_INPUTA_CLK == "NONE" ? a : a_q;
  wire signed [17:0] r = REG_INPUTB_CLK == "NONE" ? b : b_q;
  wire signed [18:0] l_wide = {{SIGNEDA & l[17], l}}, r_wide = {{SIGNEDB & r[17], r}};
  wire signed [35:0] p = l_wide * r_wide ^ $signed({{36{{shifted}}}});
  always @(posedge CLK0) begin
    if (REG_INPUTA_CE == "CE0" ? CE0 : REG_INPUTA_CE == "CE1" ? CE1 : CE2) a_q <= a;
    if (REG_INPUTB_CE == "CE0" ? CE0 : REG_INPUTB_CE == "CE1" ? CE1 : CE2) b_q <= b;
    if (REG_OUTPUT_CE == "CE0" ? CE0 : REG_OUTPUT_CE == "CE1" ? CE1 : CE2) p_q <= p;
    if (RST0) begin a_q <= 0; b_q <= 0; p_q <= 0; end
  end
  assign {{{", ".join(f"P{k}" for k in reversed(range(36)))}}} = REG_OUTPUT_CLK == "NONE" ? p : p_q;
endmodule
"""
CYCLES = 6
"""From the first one on, for all inputs; longer than values are under way."""
PROOF = """
read_verilog -ignore_redef +/lattice/cells_sim_ecp5.v
read_verilog model.v
read_json {name}.json
hierarchy -top top
proc
flatten
opt_clean
rename top {name}
write_rtlil {name}.il
design -reset
"""
MITER = f"""
read_rtlil before.il
read_rtlil after.il
miter -equiv -flatten -make_outputs before after miter
hierarchy -top miter
sat -verify -tempinduct-baseonly -maxsteps {CYCLES} -prove trigger 0 -set-init-zero miter
"""


def yosys(folder: Path, text: str) -> None:
    """Run a script."""
    (folder / "run.ys").write_text(text)
    done = subprocess.run(
        [require_yosys(), "-q", "-s", "run.ys"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def changed(folder: Path, verilog: str, change: Callable[[dict[str, Any]], Any]) -> tuple[Any, Any]:
    """The module ``top``, synthesized and changed, and what the change says."""
    (folder / "top.v").write_text(verilog)
    yosys(folder, "read_verilog top.v\nsynth_ecp5 -no-rw-check -top top\nwrite_json before.json\n")
    top = json.loads((folder / "before.json").read_text())["modules"]["top"]
    (folder / "before.json").write_text(json.dumps({"modules": {"top": top}}))
    said = change(top)
    (folder / "after.json").write_text(json.dumps({"modules": {"top": top}}))
    return top, said


def prove_equal(folder: Path) -> None:
    """Before and after put out the same, whatever comes in."""
    (folder / "model.v").write_text(MODEL)
    for name in ("before", "after"):
        yosys(folder, PROOF.format(name=name))
    yosys(folder, MITER)
