"""Runs a driver on emitted Verilog; the same drivers run in Amaranth's simulator."""

import json
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from tests.hw.components.benches import Bench, Ports
from tests.hw.components.table import BENCHES, FREEZABLE

NAMES = json.loads(os.environ["R2B_BENCHES"])
RUNS = [(name, seed, name in FREEZABLE and seed == 2) for name in NAMES for seed in (1, 2)]


async def play(dut, handles, bench: Bench):
    """Give a cycle's inputs, send back its outputs."""
    ports = Ports(bench.dut)
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
@cocotb.parametrize((("name", "seed", "frozen"), RUNS))
async def driver_ends(dut, name, seed, frozen):
    """No assertion of the driver fails; the second run of what can be frozen freezes it."""
    bench = BENCHES[name](seed, frozen)
    ports = Ports(bench.dut)
    handles = {port: getattr(dut, f"{name}_{port}") for port in [*ports.inputs, *ports.outputs]}
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for port in ports.inputs:
        handles[port].value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await play(dut, handles, bench)
