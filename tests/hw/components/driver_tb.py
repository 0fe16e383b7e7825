"""Runs a driver on emitted Verilog; the same drivers run in Amaranth's simulator."""

import json
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from tests.hw.components.benches import Bench, Ports
from tests.hw.components.table import BENCHES, FREEZABLE

NAME = json.loads(os.environ["R2B_BENCH"])
FREEZES = [False, True] if NAME in FREEZABLE else [False]


async def play(dut, bench: Bench):
    """Give a cycle's inputs, send back its outputs."""
    ports = Ports(bench.dut)
    handles = {name: getattr(dut, name) for name in [*ports.inputs, *ports.outputs]}
    inputs = next(bench.driver)
    while True:
        for name, bits in ports.encode(inputs).items():
            handles[name].value = bits
        await ReadOnly()
        sampled = {name: int(handles[name].value) for name in ports.outputs}
        try:
            inputs = bench.driver.send(ports.decode(sampled))
        except StopIteration:
            return
        await RisingEdge(dut.clk)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], frozen=FREEZES)
async def driver_ends(dut, seed, frozen):
    """No assertion of the driver fails."""
    bench = BENCHES[NAME](seed, frozen)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for name in Ports(bench.dut).inputs:
        getattr(dut, name).value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await play(dut, bench)
