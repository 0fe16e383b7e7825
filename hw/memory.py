"""Memories as the devices have them: one registered read, one write."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory


def registered_read(m: Module, memory: Memory, addr, name: str = "read") -> Signal:
    """Data of ``addr`` one cycle later.

    A combinational port and a reset-less register, which synthesis merges into the block RAM's own
    port without old-value logic; so an address must not be read in the cycle that writes it.
    """
    port = memory.read_port(domain="comb")
    register = Signal(memory.shape, name=name, reset_less=True)
    m.d.comb += port.addr.eq(addr)
    m.d.sync += register.eq(port.data)
    return register


def rom(m: Module, name: str, shape, content: list[int], logic: bool = False) -> Memory:
    """A read-only memory with at least one row; of LUTs if ``logic``, else as synthesis likes."""
    attributes = {"rom_style": "logic"} if logic else {}
    memory = Memory(shape=shape, depth=max(1, len(content)), init=content, attrs=attributes)
    m.submodules[name] = memory
    return memory
