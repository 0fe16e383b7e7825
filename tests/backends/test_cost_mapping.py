"""What memories and products become: cases of synthesized accelerators, and the rules' edges."""

from __future__ import annotations

import pytest

from r2b.backends.cost.mapping import Memory, Product, dsp_blocks, map_memory
from r2b.backends.cost.memories import columns


def ram(width: int, depth: int, **more) -> Memory:
    return Memory("c", "m", width, depth, **more)


def rom(width: int, depth: int, **more) -> Memory:
    return ram(width, depth, written=False, **more)


# memory -> per family (block RAMs, LUT RAMs), as yosys 0.70 mapped them
MAPPED = [
    (ram(96, 384), (3, 0), (3, 0)),  # the digits network's maps and tables
    (ram(64, 128, part=8), (2, 0), (2, 0)),
    (rom(256, 576), (15, 0), (15, 0)),
    (rom(64, 416), (2, 0), (2, 0)),
    (rom(128, 208), (4, 0), (0, 0)),
    (rom(32, 2304), (5, 0), (5, 0)),
    (rom(44, 224), (2, 0), (0, 0)),
    (rom(16, 1024), (1, 0), (1, 0)),
    (rom(945, 12), (0, 0), (0, 0)),
    (ram(11, 32, registered=False), (0, 6), (0, 2)),  # accumulators
    (ram(11, 64, registered=False), (0, 12), (0, 4)),
    (ram(10, 64, registered=False, shared=1), (0, 12), (0, 10)),  # read where it is written
    (ram(10, 32, registered=False, shared=1), (0, 6), (0, 2)),
    (ram(152, 8, reads=2, registered=False, shared=1), (0, 76), (0, 38)),
    (ram(48, 8, registered=False, shared=1), (0, 12), (0, 6)),
    (ram(48, 64), (2, 0), (0, 16)),
    (ram(9, 32), (0, 6), (0, 2)),
    (ram(256, 4, part=16), (0, 64), (0, 48)),
    (ram(256, 1, part=16), (0, 0), (0, 0)),  # flip-flops
    (rom(300, 600, registered=False), (0, 0), (0, 0)),  # block RAM cannot be read at once
    (rom(0, 100), (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("memory", "ecp5", "xc7"), MAPPED, ids=lambda v: str(v)[:40])
def test_memories(memory, ecp5, xc7):
    for family, wanted in (("ecp5", ecp5), ("xc7", xc7)):
        found = map_memory(memory, family)
        assert (found.ram18, found.lutram) == wanted, family
        assert (found.kind is None) == (wanted == (0, 0))


# product -> DSP blocks on ECP5, 7-series, UltraScale+
PRODUCTS = [
    (Product("c", "p", 12, 8, 20, 64), (64, 64, 64)),
    (Product("c", "p", 18, 16, 34), (1, 1, 1)),
    (Product("c", "p", 19, 16, 35), (1, 1, 1)),  # a rest of one bit is made of LUTs
    (Product("c", "p", 26, 16, 42, 8), (16, 16, 8)),
    (Product("c", "p", 32, 15, 48), (2, 2, 2)),
    (Product("c", "p", 32, 2, 48), (2, 2, 2)),
    (Product("c", "p", 2, 4, 6, signed=False), (1, 0, 0)),  # Xilinx: results from 9 bits on
    (Product("c", "p", 2, 7, 9, signed=False), (1, 1, 1)),
    (Product("c", "p", 1, 7, 8, signed=False), (0, 0, 0)),
]


@pytest.mark.parametrize(("product", "wanted"), PRODUCTS, ids=lambda v: str(v)[:60])
def test_products(product, wanted):
    assert tuple(dsp_blocks(product, family) for family in ("ecp5", "xc7", "xcup")) == wanted


def test_columns_of_a_table():
    """Bits that are the same in all words are wires; equal columns are one."""
    assert columns([0b0111, 0b0101, 0b0110]) == (2, 2)
    assert columns([0b1100, 0b0001, 0b1101]) == (3, 2)
    assert columns([5, 5]) == (0, 0)
    assert columns([9]) == (0, 0)
