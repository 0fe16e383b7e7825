"""Registers in DSP blocks: the changed netlist does the same, by yosys's SAT solver."""

from __future__ import annotations

import pytest

from r2b.explore.dsp import BLOCK, FLIP_FLOP, STEADY, pack_registers
from tests.explore.netlists import changed, prove_equal

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
    "an operand with a reset": ("a <= x; if (reset) b <= 0; else b <= y;", "", (1, 1, 1)),
    "one bit with a reset": ("a <= x; b <= y; if (reset) b[1] <= 0;", "seen <= b;", (1, 1, 1)),
    "a reset operand of two products": (
        "a <= x; if (reset) b <= 0; else b <= y; seen <= x;", "kept <= b * $signed(seen);",
        (2, 2, 2),
    ),
    "behind many LUTs": ("a <= x; b <= {x, y} % 8'd13;", "", (0, 0, 1)),
    "a reset and an enable": ("a <= x; if (reset) b <= 0; else if (load) b <= y;", "", (0, 0, 1)),
    "others read the product": (PLAIN, "kept <= product + 1;", (1, 1, 0)),
    "a product with a reset": (PLAIN, "if (reset) p <= 0;", (1, 1, 0)),
    "a product that waits": (PLAIN, "if (!load) p <= p;", (1, 1, 1)),
    "two enables in one operand": ("a[3:2] <= x[3:2]; if (load) a[1:0] <= x[1:0]; b <= y;", "",
                                   (0, 0, 1)),
    "operands without a sign": (PLAIN, "kept <= x * y;", (1, 1, 2)),
    "a product that is an operand": (PLAIN, "kept <= $signed(p[3:0]) * b;", (2, 2, 1)),
}  # fmt: skip
"""What operands and further registers are; registers of each kind that are moved."""


OTHER = "end always @(posedge clk or posedge reset) begin if (reset) a <= 0; else a <= x;"
REFUSED = {
    "not with the clock": ("b <= y;", OTHER),
    "to a value of ones": ("b <= y; if (reset) a <= -1; else a <= x;", ""),
    "begins with ones": (PLAIN, "end initial a = -1; always @(posedge clk) begin"),
}
"""Operands whose resets or first values a block's registers do not have."""


@pytest.fixture
def packed(request, tmp_path):
    """A design before and after, and what was moved."""
    operands, more, expected = DESIGNS[request.param]
    verilog = BOTH.replace("{operands}", operands).replace("{more}", more)
    top, moved = changed(tmp_path, verilog, pack_registers)
    return tmp_path, top, tuple(moved.values()), expected


@pytest.mark.parametrize("packed", DESIGNS, indirect=True)
def test_the_same_in_every_cycle(packed):
    folder, _, moved, expected = packed
    assert moved == expected
    prove_equal(folder)


@pytest.mark.parametrize("name", REFUSED)
def test_operands_that_stay(name, tmp_path):
    operands, more = REFUSED[name]
    verilog = BOTH.replace("{operands}", operands).replace("{more}", more)
    _, moved = changed(tmp_path, verilog, pack_registers)
    assert tuple(moved.values()) == (0, 0, 1)


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


@pytest.mark.parametrize("packed", ["operands without a sign"], indirect=True)
def test_constants_of_control_pins_are_of_each_blocks_own_luts(packed):
    """None of these pins is on a constant of the netlist, and no LUT is shared among blocks."""
    _, module, *_ = packed
    blocks = [cell["connections"] for cell in module["cells"].values() if cell["type"] == BLOCK]
    assert len(blocks) == 2
    nets = [{block[pin][0] for pin in STEADY} for block in blocks]
    assert all(isinstance(net, int) for several in nets for net in several)
    assert not nets[0] & nets[1]
