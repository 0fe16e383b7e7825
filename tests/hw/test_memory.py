"""A memory of several banks is one memory."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from r2b.hw import memory
from r2b.hw.memory import Banked, bank_depths
from tests.hw.components.benches import Bench, simulate


class Store(wiring.Component):
    """A banked memory with its ports."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        super().__init__(
            {"en": In(1), "addr": In(8), "data": In(8), "read": In(8), "found": Out(8)}
        )

    def elaborate(self, platform) -> Module:
        """A write and a read port."""
        m = Module()
        store = Banked(m, "store", unsigned(8), self.depth)
        store.write(m, self.en, self.addr, self.data)
        m.d.comb += self.found.eq(store.read(m, self.read, "word"))
        return m


@pytest.mark.parametrize("depth", [1, 3, 8, 9, 16, 29])
def test_a_word_comes_from_its_bank(depth, monkeypatch):
    """Every word, in random order, LATENCY cycles after its address; writes go to one bank."""
    monkeypatch.setattr(memory, "BANK_BITS", 3)
    monkeypatch.setattr(memory, "BANK", 8)
    rng = np.random.default_rng(depth)
    values = rng.integers(0, 256, depth).tolist()

    def drive():
        for addr, value in enumerate(values):
            yield {"en": 1, "addr": addr, "data": value}
        order = rng.permutation(np.repeat(np.arange(depth), 3)).tolist()
        for cycle in range(len(order) + Banked.LATENCY):
            # what stands at the write port without an enable does not matter
            outputs = yield {"en": 0, "addr": 0, "data": 1, "read": order[cycle % len(order)]}
            if cycle >= Banked.LATENCY:
                assert outputs["found"] == values[order[cycle - Banked.LATENCY]]

    assert sum(bank_depths(depth)) == depth and max(bank_depths(depth)) <= 8
    simulate(Bench(Store(depth), drive()))
