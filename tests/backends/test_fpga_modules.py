"""Modules that are alike are written once: text in, text out."""

from __future__ import annotations

import re

from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Module, Signal

from r2b.backends.fpga.modules import shared

BEFORE = r"""/* Generated */

module top(a, \b$1 );
  input a;
  \top.x  x (
    .i(a)
  );
  \top.y  \y$2  (
    .i(\b$1 )
  );
  \top.z  z (
    .i(a)
  );
endmodule

module \top.x (i);
  reg \$auto$verilog_backend.cc:1:dump_module$3  = 0;
  \top.x.low  low (
    .i(i)
  );
endmodule

module \top.x.low (i);
  input i;
endmodule

module \top.y (i);
  reg \$auto$verilog_backend.cc:1:dump_module$9  = 0;
  \top.y.low  low (
    .i(i)
  );
endmodule

module \top.y.low (i);
  input i;
endmodule

module \top.z (i);
  output i;
endmodule
"""
AFTER = r"""/* Generated */

module top(a, \b$1 );
  input a;
  \top.x  x (
    .i(a)
  );
  \top.x  \y$2  (
    .i(\b$1 )
  );
  \top.z  z (
    .i(a)
  );
endmodule

module \top.x (i);
  reg \$auto$verilog_backend.cc:1:dump_module$0  = 0;
  \top.x.low  low (
    .i(i)
  );
endmodule

module \top.x.low (i);
  input i;
endmodule

module \top.z (i);
  output i;
endmodule
"""


def test_equal_modules_from_below():
    """The ones below first, then those that differed in them alone; instances keep their names."""
    assert shared(BEFORE) == AFTER
    assert shared(AFTER) == AFTER


class Counters(Elaboratable):
    """Two counters of a kind and one of another."""

    def __init__(self) -> None:
        self.o = Signal(8)

    def elaborate(self, platform) -> Module:
        """Their sum."""
        m = Module()
        parts = [Counter(width) for width in (4, 4, 5)]
        m.submodules.a, m.submodules.b, m.submodules.c = parts
        m.d.comb += self.o.eq(sum(part.o for part in parts))
        return m


class Counter(Elaboratable):
    """Counts cycles."""

    def __init__(self, width: int) -> None:
        self.o = Signal(width)

    def elaborate(self, platform) -> Module:
        """An incrementer."""
        m = Module()
        m.d.sync += self.o.eq(self.o + 1)
        return m


def test_verilog_as_it_is_written():
    """What Amaranth writes is understood."""
    top = Counters()
    text = shared(verilog.convert(top, name="top", ports=[top.o], emit_src=False))
    assert re.findall(r"^module (\S+) ?\(", text, re.MULTILINE) == ["top", "\\top.a", "\\top.c"]
    instances = re.findall(r"^ +(\\\S+)  (\w) \($", text, re.MULTILINE)
    assert instances == [("\\top.a", "a"), ("\\top.a", "b"), ("\\top.c", "c")]
    assert text.count("(* generator") == 3
