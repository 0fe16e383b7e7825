"""Memory contents are written as Amaranth writes them, only faster."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory

from r2b.backends.fpga.memories import CLEARED, whole_contents


class Memories(Elaboratable):
    """Memories of some shapes, each with a read port, and a write port if ``written``."""

    def __init__(self, *memories, written=False):
        self.memories, self.written = memories, written
        self.address = Signal(4)

    def elaborate(self, platform):
        m = Module()
        for index, (shape, depth, content) in enumerate(self.memories):
            memory = Memory(shape=shape, depth=depth, init=content)
            m.submodules[f"memory{index}"] = memory
            port = memory.read_port(domain="comb")
            m.d.comb += port.addr.eq(self.address[: len(port.addr)])
            if self.written:
                write = memory.write_port()
                m.d.comb += [write.en.eq(self.address[0]), write.data.eq(self.address)]
        return m


def text(*memories, written=False):
    """RTLIL of some memories."""
    design = Memories(*memories, written=written)
    return rtlil.convert(design, ports=[design.address], emit_src=False)


LAYOUT = data.StructLayout({"a": signed(3), "b": unsigned(6)})


@pytest.mark.parametrize(
    "memory",
    [
        (unsigned(1), 1, [1]),
        (unsigned(7), 5, [1, 64, 127]),
        (signed(5), 4, [-1, -16, 15, 0]),
        (unsigned(130), 2, [1 << 129, 5]),
        (LAYOUT, 3, [{"a": -4, "b": 33}, {"a": 1, "b": 0}]),
        (unsigned(3), 0, []),
        (unsigned(0), 2, []),
    ],
)
def test_the_text_is_amaranths_own(memory):
    expected = text(memory)
    with whole_contents():
        found = text(memory)
    assert found == expected
    assert "$meminit_v2" in found
    assert rtlil.ModuleEmitter.emit_memory.__module__ == "amaranth.back.rtlil"


@pytest.mark.parametrize(
    ("depth", "content", "written", "cleared"),
    [
        (CLEARED, [], True, True),
        (CLEARED + 1, [], True, False),
        (CLEARED + 1, [0, 0, 3], True, True),
        (CLEARED + 1, [], False, True),
    ],
    ids=["small", "large", "with content", "ROM of zeros"],
)
def test_only_large_memories_that_are_written_are_not_cleared(depth, content, written, cleared):
    """What is read before it is written keeps its content, zeros too."""
    with whole_contents():
        found = text((unsigned(4), depth, content), written=written)
    assert ("$meminit_v2" in found) is cleared
