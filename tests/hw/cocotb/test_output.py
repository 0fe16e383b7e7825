"""Output buffer under Verilator: results of 1, 2, 3 and 10 logits."""

from __future__ import annotations

import pytest
from amaranth.back import verilog

from r2b.hw.output import OutputBuffer


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_output_buffer(testbench, classes):
    """Stalls, throughput, reset."""
    text = verilog.convert(OutputBuffer(classes), name="output_buffer")
    names = testbench(text, "output_buffer", "output_tb", classes=classes)
    assert len(names) == 14
