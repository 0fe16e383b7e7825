"""One test that passes and one that fails, for the runner's own tests."""

import os

import cocotb
from cocotb.triggers import Timer


@cocotb.test()
async def passes(dut):
    """The design inverts."""
    for value in (0, 1):
        dut.a.value = value
        await Timer(1, unit="ns")
        assert dut.b.value == 1 - value


@cocotb.test(skip=os.environ.get("R2B_TESTBENCH") != '{"fail": true}')
async def fails(dut):
    """Always."""
    await Timer(1, unit="ns")
    raise AssertionError("on purpose")
