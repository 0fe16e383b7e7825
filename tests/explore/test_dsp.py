"""Registers in DSP blocks: the changed netlist does the same, by yosys's SAT solver."""

from __future__ import annotations

import json
import subprocess

import pytest

from r2b.explore.dsp import BLOCK, FLIP_FLOP, pack_registers
from r2b.explore.yosys import require_yosys

BOTH = """
module top(input clk, input load, input reset, input [3:0] x, input [3:0] y, output [7:0] o,
           output reg [7:0] kept, output reg [3:0] seen);
  reg signed [3:0] a, b;
  reg signed [7:0] p;
  wire signed [7:0] product = a * b;
  assign o = p;
  always @(posedge clk) begin
    {operands}
    p <= product;
    {more}
  end
endmodule
"""
PLAIN = "a <= x; if (load) b <= y;"
DESIGNS = {
    "plain": (PLAIN, "", (1, 1, 1)),
    "others read an operand": (PLAIN, "seen <= a;", (1, 1, 1)),
    "an operand with a reset": ("a <= x; if (reset) b <= 0; else b <= y;", "", (1, 0, 1)),
    "others read the product": (PLAIN, "kept <= product + 1;", (1, 1, 0)),
    "a product with a reset": (PLAIN, "if (reset) p <= 0;", (1, 1, 0)),
    "a product that waits": (PLAIN, "if (!load) p <= p;", (1, 1, 1)),
    "two enables in one operand": ("a[3:2] <= x[3:2]; if (load) a[1:0] <= x[1:0]; b <= y;", "",
                                   (0, 1, 1)),
    "operands without a sign": (PLAIN, "kept <= x * y;", (1, 1, 2)),
    "a product that is an operand": (PLAIN, "kept <= $signed(p[3:0]) * b;", (2, 2, 1)),
}  # fmt: skip
"""What operands and further registers are; registers of each kind that are moved."""
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
  wire signed [17:0] l = REG_INPUTA_CLK == "NONE" ? a : a_q;
  wire signed [17:0] r = REG_INPUTB_CLK == "NONE" ? b : b_q;
  wire signed [35:0] p = l * r;
  always @(posedge CLK0) begin
    if (REG_INPUTA_CE == "CE0" ? CE0 : REG_INPUTA_CE == "CE1" ? CE1 : CE2) a_q <= a;
    if (REG_INPUTB_CE == "CE0" ? CE0 : REG_INPUTB_CE == "CE1" ? CE1 : CE2) b_q <= b;
    if (REG_OUTPUT_CE == "CE0" ? CE0 : REG_OUTPUT_CE == "CE1" ? CE1 : CE2) p_q <= p;
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


def yosys(folder, text: str) -> None:
    (folder / "run.ys").write_text(text)
    done = subprocess.run(
        [require_yosys(), "-q", "-s", "run.ys"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture
def packed(request, tmp_path):
    """A design before and after, and what was moved."""
    operands, more, expected = DESIGNS[request.param]
    (tmp_path / "top.v").write_text(BOTH.replace("{operands}", operands).replace("{more}", more))
    yosys(
        tmp_path, "read_verilog top.v\nsynth_ecp5 -no-rw-check -top top\nwrite_json before.json\n"
    )
    top = json.loads((tmp_path / "before.json").read_text())["modules"]["top"]
    (tmp_path / "before.json").write_text(json.dumps({"modules": {"top": top}}))
    moved = pack_registers(top)
    (tmp_path / "after.json").write_text(json.dumps({"modules": {"top": top}}))
    return tmp_path, top, tuple(moved.values()), expected


@pytest.mark.parametrize("packed", DESIGNS, indirect=True)
def test_the_same_in_every_cycle(packed):
    folder, _, moved, expected = packed
    assert moved == expected
    (folder / "model.v").write_text(MODEL)
    for name in ("before", "after"):
        yosys(folder, PROOF.format(name=name))
    yosys(folder, MITER)


@pytest.mark.parametrize("packed", ["plain"], indirect=True)
def test_no_copies_of_the_sign_are_left(packed):
    """Four bits of each operand are wired, and zeros below them."""
    _, module, *_ = packed
    (block,) = (cell for cell in module["cells"].values() if cell["type"] == BLOCK)
    for letter in "AB":
        wired = [block["connections"][f"{letter}{k}"][0] for k in range(18)]
        assert wired[:14] == ["0"] * 14
        assert len(set(wired[14:])) == 4


@pytest.mark.parametrize("packed", ["plain"], indirect=True)
def test_flip_flops_that_nobody_reads_are_gone(packed):
    _, module, *_ = packed
    assert not [cell for cell in module["cells"].values() if cell["type"] == FLIP_FLOP]
