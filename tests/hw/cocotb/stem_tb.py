"""FrameInput and LineBuffer: frames of any length in, rows out, against NumPy."""

import random

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSource
from support import cycles, pauses, settings, start_clock, until

SHAPE = settings()["shape"]
ROWS, COLS, CHANNELS = SHAPE["rows"], SHAPE["cols"], SHAPE["channels"]
LANES, PIXELS, ROW_BYTES = SHAPE["lanes"], ROWS * COLS, COLS * CHANNELS
BITS = settings()["pixel_bits"]
LATENCY = 2


class Bench:
    """Sends frames, reads rows as the stem's convolution does, gives rows back."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.draw = dut, random.Random(seed)
        bus = AxiStreamBus.from_prefix(dut, "s_axis")
        self.source = AxiStreamSource(bus, dut.aclk, dut.aresetn, False)
        self.source.log.disabled = True
        if stalls:
            self.source.set_pause_generator(pauses(seed, 0.5))
        self.early = self.late = 0

    async def watch(self):
        """Count the error pulses."""
        while True:
            await ReadOnly()
            self.early += int(self.dut.early.value)
            self.late += int(self.dut.late.value)
            await RisingEdge(self.dut.aclk)

    async def reset(self):
        """A reset; nothing is ready to be read afterwards."""
        dut = self.dut
        dut.aresetn.value = 0
        for name in ("freed", "release_frame", "word", "phase", "byte_index"):
            getattr(dut, name).value = 0
        dut.row_bytes.value = ROW_BYTES
        await cycles(dut.aclk, 3)
        self.source.clear()
        dut.aresetn.value = 1
        await RisingEdge(dut.aclk)

    async def send(self, count=PIXELS):
        """A random frame of ``count`` pixels; give its rows less the zero points."""
        data = bytes(self.draw.choices(range(256), k=count * CHANNELS))
        await self.source.send(AxiStreamFrame(data))
        whole = (data + bytes(PIXELS * CHANNELS))[: PIXELS * CHANNELS]
        pixels = np.frombuffer(whole, np.uint8).reshape(ROWS, COLS, CHANNELS).astype(int)
        return (pixels - np.array(SHAPE["zero_point"])).reshape(ROWS, ROW_BYTES)

    async def read(self, row, first):
        """``lanes`` values of a row from byte ``first`` on."""
        dut = self.dut
        word, phase = divmod(first, LANES)
        dut.word.value = row * SHAPE["row_words"] + word
        dut.phase.value = phase
        dut.byte_index.value = first
        await cycles(dut.aclk, LATENCY)
        await ReadOnly()
        bits = int(dut.values.value)
        await RisingEdge(dut.aclk)
        fields = [bits >> (BITS * lane) & ((1 << BITS) - 1) for lane in range(LANES)]
        return [field - (field >> (BITS - 1) << BITS) for field in fields]

    async def check_row(self, rows, row):
        """A row at every position, also before its first and behind its last byte."""
        padded = np.concatenate([np.zeros(2 * LANES, int), rows[row], np.zeros(3 * LANES, int)])
        for first in range(-2 * LANES, ROW_BYTES + LANES):
            expected = padded[first + 2 * LANES : first + 3 * LANES].tolist()
            found = await self.read(row, first)
            assert found == expected, f"row {row}, byte {first}: {found}, expected {expected}"

    async def rows(self, count):
        """Wait for so many complete rows."""
        await until(self.dut.aclk, lambda: int(self.dut.rows_ready.value) >= count)

    async def consume(self, rows, valid=ROWS):
        """Check the first ``valid`` rows as they come, and give each back."""
        for row in range(ROWS):
            await self.rows(row + 1)
            if row < valid:
                await self.check_row(rows, row)
            self.dut.freed.value = row + 1

    async def release(self):
        """The frame is used up."""
        self.dut.release_frame.value = 1
        await RisingEdge(self.dut.aclk)
        self.dut.release_frame.value = 0
        self.dut.freed.value = 0


async def start(dut, seed=0, stalls=False):
    """A bench behind its reset."""
    dut.aresetn.value = 0
    start_clock(dut.aclk)
    bench = Bench(dut, seed, stalls)
    await bench.reset()
    cocotb.start_soon(bench.watch())
    return bench


@cocotb.test()
@cocotb.parametrize(stalls=[False, True], seed=[0, 1])
async def exact_frames(dut, stalls, seed):
    """Frames back to back: every byte of every row, zeros outside, no error."""
    bench = await start(dut, seed, stalls)
    frames = [await bench.send() for _ in range(3)]
    for rows in frames:
        await bench.consume(rows)
        assert dut.bad.value == 0
        await bench.release()
    await cycles(dut.aclk, 5)
    assert dut.started.value == 0
    assert (bench.early, bench.late) == (0, 0)


@cocotb.test()
@cocotb.parametrize(
    count=[1, COLS, PIXELS - 1, PIXELS + 1, 2 * PIXELS, 2 * PIXELS + 1], stalls=[False, True]
)
async def a_frame_of_the_wrong_length(dut, count, stalls):
    """It is marked bad with one pulse of its cause; the next frame is right."""
    bench = await start(dut, count, stalls)
    wrong = await bench.send(count)
    right = await bench.send()
    await bench.consume(wrong, min(count // COLS, ROWS))
    assert dut.bad.value == 1
    await bench.release()
    await bench.consume(right)
    assert dut.bad.value == 0
    await bench.release()
    assert (bench.early, bench.late) == (int(count < PIXELS), int(count > PIXELS))


@cocotb.test()
async def rows_wait_for_room(dut):
    """No more rows than the ring holds until one is given back."""
    bench = await start(dut)
    rows = await bench.send()
    held = min(ROWS, SHAPE["capacity"])
    await bench.rows(held)
    await cycles(dut.aclk, 4 * PIXELS)
    assert dut.rows_ready.value == held
    for row in range(held):
        await bench.check_row(rows, row)
    for row in range(held, ROWS):
        dut.freed.value = row - held + 1
        await bench.rows(row + 1)
        await cycles(dut.aclk, 2 * PIXELS)
        assert dut.rows_ready.value == row + 1
        await bench.check_row(rows, row)


@cocotb.test()
async def a_reset_in_mid_frame(dut):
    """The next frame begins anew, wherever the last one stood."""
    bench = await start(dut, 5)
    for _ in range(4):
        await bench.send()
        await cycles(dut.aclk, bench.draw.randrange(1, PIXELS))
        await bench.reset()
        rows = await bench.send()
        await bench.consume(rows)
        assert dut.bad.value == 0
        await bench.release()
