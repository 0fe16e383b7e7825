"""The output buffer on its own."""

import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from support import StabilityMonitor, cycles, pauses, settings, start_clock, until

CLASSES = settings()["classes"]


def split(payload):
    """Signed logit and last."""
    value = int(payload)
    logit = value & 0xFFFFFFFF
    return logit - (logit >> 31 << 32), value >> 32


class Bench:
    """Writes results whenever there is space, and takes them with or without pauses."""

    def __init__(self, dut, seed, share):
        self.dut, self.taken, self.times, self.written = dut, [], [], []
        self.draw = random.Random(seed)
        self.pauses = pauses(seed, share)
        self.now = 0
        self.monitor = StabilityMonitor(
            dut.clk, dut.o__valid, dut.o__ready, [dut.o__payload], [(dut.rst, 1)]
        )

    async def reset(self):
        """Reset; the output must be empty in the cycle after it begins."""
        dut = self.dut
        dut.rst.value = 1
        dut.valid.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        await ReadOnly()
        assert dut.o__valid.value == 0
        assert dut.space.value == 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0

    async def take(self):
        """The receiver."""
        dut = self.dut
        while True:
            dut.o__ready.value = not next(self.pauses)
            await ReadOnly()
            if dut.valid.value == 1:
                self.written.append(self.now)
            if dut.o__valid.value == 1 and dut.o__ready.value == 1 and dut.rst.value == 0:
                self.taken.append(split(dut.o__payload.value))
                self.times.append(self.now)
            await RisingEdge(dut.clk)
            self.now += 1

    async def space(self):
        """Wait for room."""
        await until(self.dut.clk, lambda: self.dut.space.value == 1)

    async def write(self, result, gaps):
        """A result without asking again, with gaps between its logits."""
        dut = self.dut
        await self.space()
        for index, logit in enumerate(result):
            while gaps and self.draw.random() < 0.5:
                await RisingEdge(dut.clk)
            dut.logit.value = logit
            dut.last.value = index == len(result) - 1
            dut.valid.value = 1
            await RisingEdge(dut.clk)
            dut.valid.value = 0

    def results(self, count):
        """Random results."""
        return [
            [self.draw.randrange(-(1 << 31), 1 << 31) for _ in range(CLASSES)] for _ in range(count)
        ]


def expected(results):
    """Logits with last, in order."""
    return [(v, int(i == CLASSES - 1)) for result in results for i, v in enumerate(result)]


async def start(dut, seed, share):
    """A bench behind its reset, taking."""
    start_clock(dut.clk)
    dut.o__ready.value = 0
    bench = Bench(dut, seed, share)
    await bench.reset()
    cocotb.start_soon(bench.take())
    return bench


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.3, 0.9], gaps=[False, True], seed=[0, 1])
async def results_leave_whole_and_in_order(dut, share, gaps, seed):
    """Nothing lost, repeated or altered under any pauses."""
    bench = await start(dut, seed, share)
    results = bench.results(30)
    for result in results:
        await bench.write(result, gaps)
    await until(dut.clk, lambda: len(bench.taken) >= 30 * CLASSES)
    await cycles(dut.clk, 40)
    assert bench.taken == expected(results)
    assert share < 0.5 or bench.monitor.waits > 20


@cocotb.test()
async def a_result_leaves_at_one_logit_per_cycle(dut):
    """With a willing receiver: two cycles of latency, no gap within a result."""
    bench = await start(dut, 3, 0.0)
    bench.pauses = iter(lambda: False, None)
    await cycles(dut.clk, 5)
    (result,) = bench.results(1)
    await bench.write(result, False)
    await cycles(dut.clk, CLASSES + 10)
    first = bench.times[0]
    assert bench.times == list(range(first, first + CLASSES))
    assert first - bench.written[0] == 2


@cocotb.test()
async def a_reset_empties_the_buffer(dut):
    """In the middle of a result; the next one is whole."""
    bench = await start(dut, 4, 1.0)
    bench.pauses = iter(lambda: True, None)
    before, after = bench.results(2)
    await bench.write(before, False)
    await cycles(dut.clk, 3)
    await bench.reset()
    bench.pauses = iter(lambda: False, None)
    await bench.write(after, False)
    await cycles(dut.clk, CLASSES + 10)
    assert bench.taken == expected([after])
