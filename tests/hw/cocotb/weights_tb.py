"""Weight feeder and buffers: the stream's words come out segment by segment, in order of use."""

import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSource
from support import cycles, pauses, settings, start_clock, until

SEGMENTS = settings()["segments"]
ENGINES = ("real", "binary")
BYTES = settings()["width"] // 8
WORDS = [word for _, words in SEGMENTS for word in words]
BLOB = b"".join(word.to_bytes(BYTES, "little") for word in WORDS)


class Bench:
    """Streams weights in, and reads segments as the engines do."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.draw = dut, random.Random(seed)
        bus = AxiStreamBus.from_prefix(dut, "s_axis")
        self.source = AxiStreamSource(bus, dut.aclk, dut.aresetn, False)
        self.source.log.disabled = True
        if stalls:
            self.source.set_pause_generator(pauses(seed, 0.5))
        self.misplaced = 0

    async def watch(self):
        """Count the error pulses."""
        while True:
            await ReadOnly()
            self.misplaced += int(self.dut.misplaced.value)
            await RisingEdge(self.dut.aclk)

    async def reset(self):
        """A reset; no segment is there afterwards."""
        dut = self.dut
        dut.aresetn.value = 0
        for name in ENGINES:
            getattr(dut, f"{name}_addr").value = 0
            getattr(dut, f"{name}_close").value = 0
        await cycles(dut.aclk, 3)
        self.source.clear()
        dut.aresetn.value = 1
        await RisingEdge(dut.aclk)
        await ReadOnly()
        assert all(getattr(dut, f"{name}_available").value == 0 for name in ENGINES)
        await RisingEdge(dut.aclk)

    async def use(self, binary, words, slow):
        """One segment: wait for it, read all of it in random order, close it."""
        dut, name = self.dut, ENGINES[binary]
        await until(dut.aclk, lambda: getattr(dut, f"{name}_available").value == 1)
        for index in self.draw.sample(range(len(words)), len(words)):
            getattr(dut, f"{name}_addr").value = index
            await RisingEdge(dut.aclk)
            await RisingEdge(dut.aclk)
            found = int(getattr(dut, f"{name}_data").value)
            assert found == words[index], f"{name} word {index}: {found:x}, not {words[index]:x}"
        await cycles(dut.aclk, self.draw.randrange(40) if slow else 0)
        getattr(dut, f"{name}_close").value = 1
        await RisingEdge(dut.aclk)
        getattr(dut, f"{name}_close").value = 0

    async def frame(self, slow=False):
        """All segments of a frame."""
        for binary, words in SEGMENTS:
            await self.use(binary, words, slow)


async def start(dut, seed=0, stalls=False):
    """A bench behind its reset."""
    dut.aresetn.value = 0
    start_clock(dut.aclk)
    bench = Bench(dut, seed, stalls)
    await bench.reset()
    cocotb.start_soon(bench.watch())
    return bench


@cocotb.test()
@cocotb.parametrize(stalls=[False, True], slow=[False, True])
async def every_word_of_three_frames(dut, stalls, slow):
    """In order of use, whoever is slow."""
    bench = await start(dut, 1, stalls)
    for _ in range(3):
        await bench.source.send(AxiStreamFrame(BLOB))
    for _ in range(3):
        await bench.frame(slow)
    assert bench.misplaced == 0
    assert bench.source.idle()


@cocotb.test()
async def the_stream_runs_ahead_by_what_the_buffers_hold(dut):
    """While nothing is used, two segments of the engine whose turn it is, and no more."""
    bench = await start(dut)
    await bench.source.send(AxiStreamFrame(BLOB))
    held, taken = {0: 0, 1: 0}, 0
    for binary, words in SEGMENTS:
        if held[binary] == 2:
            break
        held[binary] += 1
        taken += len(words)
    transfers = 0
    for _ in range(2 * len(WORDS) + 50):
        await ReadOnly()
        transfers += int(dut.s_axis_tvalid.value) & int(dut.s_axis_tready.value)
        await RisingEdge(dut.aclk)
    assert transfers == taken < len(WORDS)


@cocotb.test()
@cocotb.parametrize(change=[-1, 1])
async def a_misplaced_last_is_reported(dut, change):
    """Early or missing; a reset makes it good again."""
    bench = await start(dut)
    blob = BLOB[:-BYTES] if change < 0 else BLOB + bytes(BYTES)
    await bench.source.send(AxiStreamFrame(blob))
    await bench.source.send(AxiStreamFrame(BLOB))
    for binary, words in SEGMENTS if change > 0 else SEGMENTS[:-1]:
        await bench.use(binary, words, False)
    await cycles(dut.aclk, 2 * len(WORDS))
    assert bench.misplaced == 2  # the frame's last word without it, and a word with it
    await bench.reset()
    bench.misplaced = 0
    await bench.source.send(AxiStreamFrame(BLOB))
    await bench.frame()
    assert bench.misplaced == 0


@cocotb.test()
@cocotb.parametrize(seed=range(2))
async def a_reset_at_any_time(dut, seed):
    """The next frame's words begin anew."""
    bench = await start(dut, seed)
    for _ in range(3):
        await bench.source.send(AxiStreamFrame(BLOB))
        for binary, words in SEGMENTS[: bench.draw.randrange(len(SEGMENTS))]:
            await bench.use(binary, words, False)
        await cycles(dut.aclk, bench.draw.randrange(100))
        await bench.reset()
        await bench.source.send(AxiStreamFrame(BLOB))
        await bench.frame()
        assert bench.misplaced == 0
