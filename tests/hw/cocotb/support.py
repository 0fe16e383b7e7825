"""What the testbenches share: clock, reset, pauses, protocol monitors."""

import itertools
import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge


def settings():
    """What the pytest runner hands to a testbench."""
    return json.loads(os.environ["R2B_TESTBENCH"])


def pauses(seed, share=0.4):
    """Endless random pauses, in bursts now and then."""
    draw = random.Random(seed)
    while True:
        yield draw.random() < share
        if draw.random() < 0.02:
            yield from itertools.repeat(True, draw.randrange(20))


def start_clock(clock):
    """Run a clock of 10 ns."""
    cocotb.start_soon(Clock(clock, 10, unit="ns").start())


async def cycles(clock, count):
    """Wait for rising edges."""
    for _ in range(count):
        await RisingEdge(clock)


async def until(clock, condition, limit=20_000):
    """Wait for a condition, seen between two edges; give the number of edges."""
    for waited in range(limit):
        await ReadOnly()
        if condition():
            await RisingEdge(clock)
            return waited
        await RisingEdge(clock)
    raise TimeoutError(f"{limit} cycles passed")


class StabilityMonitor:
    """Checks, cycle by cycle, that a channel's payload does not change while it waits.

    ``valid`` must not fall, and no payload signal change, between a cycle with ``valid`` and
    without ``ready`` and the next one; except across a reset.
    """

    def __init__(self, clock, valid, ready, payload, resets=()):
        self.clock, self.valid, self.ready = clock, valid, ready
        self.payload, self.resets = payload, resets
        self.waits = self.transfers = 0
        cocotb.start_soon(self.run())

    async def run(self):
        """Compare each cycle with the one before."""
        waiting = None
        while True:
            await ReadOnly()
            in_reset = any(signal.value == level for signal, level in self.resets)
            now = tuple(str(signal.value) for signal in self.payload)
            if waiting is not None and not in_reset:
                assert self.valid.value == 1, f"{self.valid._name} fell without a transfer"
                assert now == waiting, f"{self.valid._name}: {waiting} became {now}"
            offered = self.valid.value == 1 and not in_reset
            taken = offered and self.ready.value == 1
            waiting = now if offered and not taken else None
            self.waits += waiting is not None
            self.transfers += taken
            await RisingEdge(self.clock)
