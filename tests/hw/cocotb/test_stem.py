"""The frame's way in under Verilator: FrameInput and LineBuffer together."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal, signed

from r2b.hw.stem import PIXEL_BITS, FrameInput, FrameParams, LineBuffer

ADDRESS_BITS = 14

SHAPES = {
    # more lanes than channels; the ring holds 5 of 7 rows, and its end lies within a row
    "grey": FrameParams(1, 7, 9, 4, 16, (0,)),
    "rgb": FrameParams(3, 6, 8, 4, 32, (120, 0, 255)),
    # a pixel takes two cycles; rows of one lane; the whole frame fits
    "narrow": FrameParams(3, 5, 6, 2, 64, (1, 128, 200)),
    "one_lane": FrameParams(2, 4, 5, 1, 32, (7, 9)),
    "odd": FrameParams(3, 5, 7, 5, 32, (100, 110, 120)),
}


class StemBench(Elaboratable):
    """Both components with flat ports, the frame's as AXI names them."""

    def __init__(self, params: FrameParams) -> None:
        self.params = p = params
        shapes = {
            "aclk": 1,
            "aresetn": 1,
            "s_axis_tdata": 8 * p.channels,
            "s_axis_tvalid": 1,
            "s_axis_tready": 1,
            "s_axis_tlast": 1,
            "freed": signed(ADDRESS_BITS),
            "release_frame": 1,
            "started": 1,
            "rows_ready": ADDRESS_BITS,
            "bad": 1,
            "early": 1,
            "late": 1,
            "word": signed(ADDRESS_BITS),
            "phase": range(max(2, p.lanes)),
            "byte_index": signed(ADDRESS_BITS),
            "row_bytes": ADDRESS_BITS,
            "values": p.lanes * PIXEL_BITS,
        }
        self.signals = {name: Signal(shape, name=name) for name, shape in shapes.items()}

    def elaborate(self, platform) -> Module:
        """The line buffer is written by the frame input and read by the bench."""
        m, s = Module(), self.signals
        m.domains += ClockDomain("sync")
        m.d.comb += [ClockSignal().eq(s["aclk"]), ResetSignal().eq(~s["aresetn"])]
        m.submodules.frame = frame = FrameInput(self.params, ADDRESS_BITS)
        m.submodules.line = line = LineBuffer(self.params, ADDRESS_BITS)
        m.d.comb += [getattr(line, n).eq(getattr(frame, n)) for n in ("w_en", "w_addr", "w_data")]
        m.d.comb += [
            frame.i.payload.data.eq(s["s_axis_tdata"]),
            frame.i.payload.last.eq(s["s_axis_tlast"]),
            frame.i.valid.eq(s["s_axis_tvalid"]),
            s["s_axis_tready"].eq(frame.i.ready),
            frame.freed.eq(s["freed"]),
            frame.release.eq(s["release_frame"]),
            line.src.eq(s["word"]),
            line.phase.eq(s["phase"]),
            line.byte.eq(s["byte_index"]),
            line.row_bytes.eq(s["row_bytes"]),
            s["values"].eq(line.o),
        ]
        m.d.comb += [
            s[n].eq(getattr(frame, n)) for n in ("started", "rows_ready", "bad", "early", "late")
        ]
        return m


@pytest.mark.parametrize("name", SHAPES)
def test_stem(testbench, name):
    """Framing, the ring of rows, reads at every position, inside and outside a row."""
    params = SHAPES[name]
    bench = StemBench(params)
    ports = list(bench.signals.values())
    text = verilog.convert(bench, name="stem_bench", ports=ports)
    shape = asdict(params) | {"row_words": params.row_words, "capacity": params.capacity}
    names = testbench(text, "stem_bench", "stem_tb", shape=shape, pixel_bits=PIXEL_BITS)
    assert len(names) == 18
