"""Memories as the devices have them: one registered read, one write."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal, unsigned
from amaranth.lib.memory import Memory

BANK_BITS = 14
BANK = 1 << BANK_BITS
"""Words of which one is chosen in a cycle, out of as many block RAMs as they take."""


def bank_depths(depth: int) -> list[int]:
    """Words of each bank of a :class:`Banked` memory."""
    return [min(BANK, depth - first) for first in range(0, depth, BANK)]


class Banked:
    """A memory of any depth with one write port: a read takes LATENCY cycles, for its block RAM,
    the choice within BANK words, and the choice among these.
    """

    LATENCY = 3

    def __init__(self, m: Module, name: str, shape, depth: int) -> None:
        self.shape, self.banks = shape, []
        for number, words in enumerate(bank_depths(depth)):
            bank = Memory(shape=shape, depth=words, init=[])
            m.submodules[f"{name}_{number}" if number else name] = bank
            self.banks.append(bank)

    def write(self, m: Module, en, addr, value) -> None:
        """Write ``value`` where ``en``."""
        for number, bank in enumerate(self.banks):
            port = bank.write_port()
            here = en & (addr >> BANK_BITS == number) if len(self.banks) > 1 else en
            m.d.comb += [port.en.eq(here), port.addr.eq(addr), port.data.eq(value)]

    def read(self, m: Module, addr, name: str) -> Signal:
        """Data of ``addr`` LATENCY cycles later."""
        place = Signal(max(1, (len(self.banks) - 1).bit_length()), name=f"{name}_bank_1")
        later = Signal.like(place, name=f"{name}_bank_2")
        m.d.sync += [place.eq(addr >> BANK_BITS), later.eq(place)]
        words = []
        for number, bank in enumerate(self.banks):
            first = registered_read(m, bank, addr, f"{name}_{number}")
            second = Signal(self.shape, name=f"{name}_{number}_q", reset_less=True)
            m.d.sync += second.eq(first)
            words.append(second)
        # reset, lest three registers behind a small memory become a shift register of LUTs
        result = Signal(self.shape, name=f"{name}_word")
        m.d.sync += result.eq(Array(words)[later] if len(words) > 1 else words[0])
        return result


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


def sign_copy(m: Module, name: str, params, sink) -> Memory:
    """A copy of the sign memory of these CoreParams: words of ``lanes * sign_banks`` bits, of which
    the sinks write ``lanes`` at a time.
    """
    lanes, banks = params.sinks.lanes, params.sinks.sign_banks
    memory = Memory(shape=unsigned(lanes * banks), depth=params.sm_words, init=[])
    m.submodules[name] = memory
    write = memory.write_port(granularity=lanes)
    m.d.comb += [
        write.en.eq(sink.sm_en),
        write.addr.eq(sink.sm_addr),
        write.data.eq(sink.sm_data.replicate(banks)),
    ]
    return memory


def sum_read(m: Module, memory: Memory, address, name: str) -> Signal:
    """A word two cycles after its address, a sum, which is registered before it is looked up."""
    place = Signal(range(max(2, memory.depth)), name=f"{name}_place", reset_less=True)
    m.d.sync += place.eq(address)
    return registered_read(m, memory, place, f"{name}_q")


def rom(m: Module, name: str, shape, content: list[int], logic: bool = False) -> Memory:
    """A read-only memory with at least one row; of LUTs if ``logic``, else as synthesis likes."""
    attributes = {"rom_style": "logic"} if logic else {}
    memory = Memory(shape=shape, depth=max(1, len(content)), init=content, attrs=attributes)
    m.submodules[name] = memory
    return memory
