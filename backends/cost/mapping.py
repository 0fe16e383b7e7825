"""What a memory and a product become: block RAM, LUT RAM or logic; how many DSP blocks.

The rules are those of yosys 0.70, evaluated instead of fitted: the geometry and the costs of its
``memory_libmap`` pass with ``lattice/brams_16kd.txt``, ``lattice/lutrams_trellis.txt``,
``xilinx/brams_xc4v.txt`` and ``xilinx/lutrams_xc5v.txt``; and the splitting of ``mul2dsp.v`` with
the widths that ``synth_ecp5`` and ``synth_xilinx`` give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``."""
    return -(-a // b)


@dataclass(frozen=True)
class Memory:
    """A memory of the accelerator.

    Parameters
    ----------
    component, name : str
    width : int
        Bits of a word that are not the same in all words.
    depth : int
        Words.
    reads : int
        Read ports.
    registered : bool
        The data of the reads are registered, so that block RAM will do.
    written : bool
        False for a ROM.
    part : int
        Bits per write enable; 0 for one enable of the whole word.
    shared : int
        Read ports whose address is the write's.
    columns : int
        Of a ROM: bits of a word that differ from each other somewhere.
    logic : bool
        To be made of LUTs, whatever it costs.
    """

    component: str
    name: str
    width: int
    depth: int
    reads: int = 1
    registered: bool = True
    written: bool = True
    part: int = 0
    shared: int = 0
    columns: int = 0
    logic: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of RAM of a device family, as in yosys's tables.

    Parameters
    ----------
    name : str
    address_bits : int
        At the narrowest width.
    widths : tuple of int
        Each halves the depth.
    cost, scaled : float
        Of one; ``scaled`` is the part of it in proportion to the bits used.
    readers : int
        Read ports besides the write port.
    rom_readers : int
        Read ports where there is no write; 0 if not for ROMs.
    shares : bool
        The write port reads, too, at its own address.
    byte : int
        Bits per write enable; 0 for one enable.
    units : int
        RAM18 or LUT RAM primitives that one is.
    bitwise : bool
        A primitive per bit in use, instead of ``units``.
    luts : int
        LUTs that a LUT RAM primitive takes: on ECP5 two slices hold its bits, and a third its
        write port.
    """

    name: str
    address_bits: int
    widths: tuple[int, ...]
    cost: float
    scaled: float = 0
    readers: int = 1
    rom_readers: int = 0
    shares: bool = False
    byte: int = 0
    units: int = 1
    bitwise: bool = False
    luts: int = 4

    @property
    def block(self) -> bool:
        """Block RAM; LUT RAM otherwise."""
        return self.byte > 0


NARROW = (1, 2, 4, 9, 18)
_ECP5 = (
    Kind("DPR16X4", 4, (4,), 4, luts=6),
    Kind("DP16KD", 14, NARROW, 128, rom_readers=2, byte=9),
    Kind("PDPW16KD", 14, (*NARROW, 36), 128, rom_readers=1, byte=9),
)
_XC7 = (
    *(Kind("SP", n, (w,), 8, 8, readers=0, shares=True, bitwise=n > 5, luts=luts)
      for n, w, luts in ((5, 8, 4), (6, 4, 1), (7, 2, 2), (8, 1, 4))),
    *(Kind("DP", n, (w,), 8, 8, shares=True, bitwise=n > 5, luts=luts)
      for n, w, luts in ((5, 4, 4), (6, 2, 2), (7, 1, 4))),
    *(Kind("QP", n, (w,), 7, 7, readers=3, shares=True) for n, w in ((5, 2), (6, 1))),
    *(Kind("SDP", n, (w,), 8, 7) for n, w in ((5, 6), (6, 3))),
    Kind("RAMB18E1", 14, NARROW, 129, rom_readers=2, byte=9),
    Kind("RAMB36E1", 15, (*NARROW, 36), 257, rom_readers=2, byte=9, units=2),
    Kind("RAMB18E1 SDP", 14, (*NARROW, 36), 129, rom_readers=1, byte=9),
    Kind("RAMB36E1 SDP", 15, (*NARROW, 36, 72), 257, rom_readers=1, byte=9, units=2),
)  # fmt: skip
KINDS: dict[str, tuple[Kind, ...]] = {"ecp5": _ECP5, "xc7": _XC7, "xcup": _XC7}
"""In yosys's order: the first of the cheapest is taken."""
LOGIC_ROM = {"ecp5": 1 / 16, "xc7": 1 / 64, "xcup": 1 / 64}
LOGIC_RAM = 1.0
"""Cost of a bit that is made of LUTs, and of flip-flops."""
MUX, DEMUX, EMULATION = 0.5, 0.5, 2


@dataclass(frozen=True)
class Mapped:
    """What a memory becomes.

    Parameters
    ----------
    kind : Kind or None
        None: logic.
    ram18, lutram : int
        Block RAMs of 18 kb; LUT RAM primitives.
    logic_bits : int
        Bits made of logic.
    banks : int
        Times the depth of the kind that the memory is deep; reads choose between them.
    ram_luts : int
        LUTs of the LUT RAM.
    """

    kind: Kind | None
    ram18: int = 0
    lutram: int = 0
    logic_bits: int = 0
    banks: int = 1
    ram_luts: int = 0


@lru_cache(maxsize=4096)
def map_memory(memory: Memory, family: str) -> Mapped:
    """The cheapest kind, or logic where that is cheaper."""
    bits = memory.width * memory.depth
    best = int(bits * (LOGIC_RAM if memory.written else LOGIC_ROM[family]))
    found = Mapped(None, logic_bits=bits)
    if memory.logic:
        return found
    for block in (False, True):  # the cheapest of each sort first, then of both
        kinds = [k for k in KINDS[family] if k.block == block and _takes(k, memory)]
        if bits and kinds:
            cost, mapped = min((_fit(kind, memory) for kind in kinds), key=lambda pair: pair[0])
            if cost < best:
                best, found = int(cost), mapped
    return found


def _takes(kind: Kind, memory: Memory) -> bool:
    if kind.block and not memory.registered:
        return False
    if not memory.written:
        return kind.rom_readers > 0
    return kind.readers > 0 or (kind.shares and memory.shared == memory.reads)


def _fit(kind: Kind, memory: Memory) -> tuple[float, Mapped]:
    """Cost and count at the cheapest width (yosys: ``handle_geom``)."""
    others = memory.reads - (memory.shared if kind.shares else 0)
    ports = kind.readers if memory.written else kind.rom_readers
    copies = max(1, ceil_div(others, ports) if others else 1)
    best: int | None = None
    found: tuple[float, Mapped] | None = None
    for index, width in enumerate(kind.widths):
        byte = min(kind.byte, width) or width
        step = byte if memory.written else 1
        part = memory.part or memory.width
        padded = ceil_div(memory.width, part) * ceil_div(part, step) * step
        banks = ceil_div(memory.depth, 1 << (kind.address_bits - index))
        count = ceil_div(banks * padded, width)
        cost = (kind.cost - kind.scaled) * count * copies
        cost += kind.scaled * banks * memory.width / width * copies
        cost += MUX * (banks - 1) * memory.width * memory.reads
        if banks > 1 and memory.written:
            cost += DEMUX * banks * (memory.width // part)
        cost += EMULATION * others
        if best is None or cost < best:
            best, found = int(cost), (cost, _mapped(kind, memory, count * copies, banks, copies))
    assert found is not None
    return found


def _mapped(kind: Kind, memory: Memory, count: int, banks: int, copies: int) -> Mapped:
    if kind.block:
        return Mapped(kind, ram18=count * kind.units, banks=banks)
    primitives = banks * memory.width * copies if kind.bitwise else count * kind.units
    return Mapped(kind, lutram=primitives, banks=banks, ram_luts=primitives * kind.luts)


# ---------------------------------------------------------------------------------------- products


@dataclass(frozen=True)
class Product:
    """Multipliers of one shape.

    Parameters
    ----------
    component, name : str
    a_width, b_width, y_width : int
        Of the signed operands and of the result.
    count : int
    signed : bool
    """

    component: str
    name: str
    a_width: int
    b_width: int
    y_width: int
    count: int = 1
    signed: bool = True


@dataclass(frozen=True)
class DspRule:
    """Widths that ``mul2dsp.v`` is given.

    Parameters
    ----------
    a, b : int
        Widest operands of one block; the wider operand goes to a.
    part : int
        Width of the parts that a wider operand is split into.
    least, least_result : int
        Narrower operands and results are made of LUTs.
    signed_only : bool
        Unsigned parts have one bit less.
    """

    a: int
    b: int
    part: int
    least: int
    least_result: int
    signed_only: bool


DSP_RULES = {
    "ecp5": DspRule(18, 18, 18, 2, 0, False),
    "xc7": DspRule(25, 18, 18, 2, 9, True),
    "xcup": DspRule(27, 18, 18, 2, 9, True),
}


def dsp_blocks(product: Product, family: str) -> int:
    """DSP blocks of all multipliers of a Product."""
    rule = DSP_RULES[family]
    a, b = product.a_width, product.b_width
    if min(a, b) < rule.least:
        return 0  # judged before a sign is put in front
    if rule.signed_only and not product.signed:
        a, b = a + 1, b + 1
    return product.count * _blocks(max(a, b), min(a, b), product.y_width, rule)


def _blocks(a: int, b: int, y: int, rule: DspRule) -> int:
    """Blocks of one product: the wider operand is split first."""
    if a < b:
        a, b = b, a
    if a < rule.least or b < rule.least or y < rule.least_result:
        return 0
    head = 1 if rule.signed_only else 0
    for width, limit, other in ((a, rule.a, b), (b, rule.b, a)):
        if width > limit:
            step = rule.part - head
            parts = (width - limit + rule.part - head - 1) // step
            last = width - parts * step
            whole = _blocks(rule.part, other, min(y, other + rule.part), rule)
            return parts * whole + _blocks(last, other, other + last, rule)
    return 1


__all__ = ["Kind", "Mapped", "Memory", "Product", "ceil_div", "dsp_blocks", "map_memory"]
