"""Copies of drivers: the same in every cycle, and no driver has too many loads."""

from __future__ import annotations

from collections import Counter

from r2b.explore.fanout import spread_loads
from tests.explore.netlists import changed, prove_equal

WIDE = """
module top(input clk, input reset, input go, input [11:0] x, output reg [11:0] y, output [1:0] z);
  reg enable, other;
  assign z = {enable, other};
  always @(posedge clk) begin
    enable <= go ^ x[0];
    other <= go & enable;
    if (reset & other) y <= 0; else if (enable) y <= x ^ {y[10:0], other};
  end
endmodule
"""
MOST = 4


def loads(module: dict) -> Counter:
    """Of every net that a flip-flop or a LUT drives, but for those inside of wide multiplexers."""
    driven = {
        bit
        for cell in module["cells"].values()
        if cell["type"] in ("TRELLIS_FF", "LUT4")
        for pin, (bit, *_) in cell["connections"].items()
        if cell["port_directions"][pin] == "output"
    }
    found = Counter(
        bit
        for cell in module["cells"].values()
        for pin, bits in cell["connections"].items()
        if cell["port_directions"][pin] == "input"
        for bit in bits
    )
    return Counter({bit: count for bit, count in found.items() if bit in driven})


def test_the_same_in_every_cycle(tmp_path):
    """Registers with enables and resets, and what a port shows, too."""
    before = {}

    def change(module):
        before.update(loads(module))
        return spread_loads(module, MOST)

    module, added = changed(tmp_path, WIDE, change)
    assert max(before.values()) > 2 * MOST
    assert added >= 2
    assert sum(loads(module).values()) >= sum(before.values())
    again = spread_loads(module, MOST)  # what a copy reads has more loads now
    assert max(loads(module).values()) <= MOST + (added if again else 0)
    prove_equal(tmp_path)


def cell(kind: str, out: int, **pins: int) -> dict:
    """A cell of a netlist: what it drives, and what it reads."""
    directions = dict.fromkeys(pins, "input") | {"Z": "output"}
    wires = {pin: [bit] for pin, bit in pins.items()} | {"Z": [out]}
    return {"type": kind, "port_directions": directions, "connections": wires}


def test_a_lut_inside_of_a_multiplexer_stays():
    """Its output has no other way; one that selects is copied."""
    cells = {"inside": cell("LUT4", 1, A=9), "select": cell("LUT4", 2, A=9)}
    cells |= {f"mux{k}": cell("PFUMX", 10 + k, ALUT=1, BLUT=3, C0=2) for k in range(6)}
    assert spread_loads({"cells": cells}, 3) == 1
    assert {cells[f"mux{k}"]["connections"]["ALUT"][0] for k in range(6)} == {1}
    selects = [cells[f"mux{k}"]["connections"]["C0"][0] for k in range(6)]
    assert selects == [2, 2, 2, 16, 16, 16]
    assert cells["select$copy1"]["connections"] == {"A": [9], "Z": [16]}
