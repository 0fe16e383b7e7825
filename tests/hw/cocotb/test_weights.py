"""Streamed weights under Verilator: the feeder and both engines' buffers."""

from __future__ import annotations

import pytest
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from programs import Shape, random_program

from r2b.backends.fpga.planner import make_plan
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.weights import WeightBuffer, WeightFeeder, segment_rows, stream_words

SMALL = Shape(frame=(3, 8, 8), widths=(8, 12), blocks=1, classes=4)
ADDRESS_BITS = 16
ENGINES = ("real", "binary")
"""By the value of a segment's ``binary``."""


class WeightBench(Elaboratable):
    """A feeder and two buffers, connected as in the core, with flat ports."""

    def __init__(self, geometry: ProgramGeometry) -> None:
        self.geometry = geometry
        width = geometry.plan.weight_word
        shapes = {"aclk": 1, "aresetn": 1, "s_axis_tdata": width, "s_axis_tvalid": 1}
        shapes |= {"s_axis_tready": 1, "s_axis_tlast": 1, "misplaced": 1}
        for name in ENGINES:
            shapes |= {f"{name}_addr": ADDRESS_BITS, f"{name}_data": width}
            shapes |= {f"{name}_available": 1, f"{name}_close": 1}
        self.signals = {name: Signal(shape, name=name) for name, shape in shapes.items()}

    def elaborate(self, platform) -> Module:
        """The core's wiring."""
        m, s = Module(), self.signals
        m.domains += ClockDomain("sync")
        m.d.comb += [ClockSignal().eq(s["aclk"]), ResetSignal().eq(~s["aresetn"])]
        m.submodules.feeder = feeder = WeightFeeder(self.geometry)
        m.d.comb += [
            feeder.i.payload.data.eq(s["s_axis_tdata"]),
            feeder.i.payload.last.eq(s["s_axis_tlast"]),
            feeder.i.valid.eq(s["s_axis_tvalid"]),
            s["s_axis_tready"].eq(feeder.i.ready),
            s["misplaced"].eq(feeder.misplaced),
        ]
        for binary, name in enumerate(ENGINES):
            words = max(conv.segment_words for conv in self.geometry.engine(bool(binary)))
            buffer = WeightBuffer(feeder.width, words, ADDRESS_BITS)
            m.submodules[name] = buffer
            m.d.comb += [
                buffer.w_data.eq(feeder.word),
                buffer.w_valid.eq(feeder.valid[binary]),
                buffer.w_last.eq(feeder.last),
                feeder.ready[binary].eq(buffer.w_ready),
                buffer.addr.eq(s[f"{name}_addr"]),
                buffer.close.eq(s[f"{name}_close"]),
                s[f"{name}_data"].eq(buffer.data),
                s[f"{name}_available"].eq(buffer.available),
            ]
        return m


def segments(geometry: ProgramGeometry) -> list[tuple[int, list[int]]]:
    """Engine and words of every segment of a frame, in order of use."""
    found, words = [], iter(stream_words(geometry))
    for row in segment_rows(geometry):
        for _ in range(row["last_segment"] + 1):
            found.append((int(row["binary"]), [next(words) for _ in range(row["last_word"] + 1)]))
    assert next(words, None) is None
    return found


@pytest.mark.parametrize("word", [8, 32])
def test_weights(testbench, word):
    """Every word of every segment, under stalls; errors; reset."""
    program = random_program(2, SMALL)
    changes = {"weight_word": word, "mac_weight_word": word, "weights": "stream"}
    plan = make_plan(program, parallelism=(8, 4), tile_pixels=16, **changes)
    geometry = ProgramGeometry(program, plan)
    bench = WeightBench(geometry)
    ports = list(bench.signals.values())
    text = verilog.convert(bench, name="weight_bench", ports=ports)
    names = testbench(text, "weight_bench", "weights_tb", segments=segments(geometry), width=word)
    assert len(names) == 9
