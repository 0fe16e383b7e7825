"""The whole accelerator: frames in, logits out, registers, errors, resets."""

import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)
from support import StabilityMonitor, cycles, pauses, settings, start_clock

SETTINGS = settings()
FOLDER = Path(SETTINGS["folder"])
FRAMES = np.load(FOLDER / "frames.npy")
EXPECTED = np.load(FOLDER / "expected.npy")
STREAMED = SETTINGS["streamed"]
BLOB = np.load(FOLDER / "weights_stream.npy").tobytes() if STREAMED else b""
OFFSETS = SETTINGS["offsets"]
EARLY, LATE, WEIGHTS = 1, 2, 4
PIXELS = FRAMES.shape[2] * FRAMES.shape[3]
CHANNELS = FRAMES.shape[1]
LONGEST = 40 * SETTINGS["active"]


def test_if(condition):
    """A test of some variants only; the others do not know it."""
    return cocotb.test() if condition else lambda function: function


def pixels(index):
    """A frame's bytes in the order of the stream."""
    return FRAMES[index].transpose(1, 2, 0).tobytes()


class Bench:
    """The device under test with a bus model on every port."""

    def __init__(self, dut, stalls=None):
        self.dut = dut
        reset = (dut.aclk, dut.aresetn, False)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), *reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), *reset)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), *reset)
        self.ports = [self.source, self.sink]
        if STREAMED:
            bus = AxiStreamBus.from_prefix(dut, "s_axis_weights")
            self.weights = AxiStreamSource(bus, *reset)
            self.ports.append(self.weights)
        for model in self.ports:
            model.log.disabled = True
            if stalls is not None:
                share = random.Random(f"{stalls} {model}").choice([0.1, 0.5, 0.9])
                model.set_pause_generator(pauses(f"{stalls} {type(model)} {share}", share))
        self.monitor = StabilityMonitor(
            dut.aclk,
            dut.m_axis_tvalid,
            dut.m_axis_tready,
            [dut.m_axis_tdata, dut.m_axis_tlast],
            [(dut.aresetn, 0)],
        )

    async def reset(self, length=4):
        """A reset; the streams are silent in it."""
        dut = self.dut
        dut.aresetn.value = 0
        await cycles(dut.aclk, length)
        for name in ("s_axis_tready", "m_axis_tvalid", "s_axil_bvalid", "s_axil_rvalid"):
            assert getattr(dut, name).value == 0, name
        for model in self.ports:
            model.clear()
        dut.aresetn.value = 1
        await cycles(dut.aclk, 2)

    async def send(self, index, count=PIXELS):
        """A frame, or its first ``count`` pixels; beyond its end it begins anew."""
        data = (pixels(index) * 3)[: count * CHANNELS]
        await self.source.send(AxiStreamFrame(data))
        if STREAMED:
            await self.weights.send(AxiStreamFrame(BLOB))

    async def expect(self, *indices):
        """The next results are these frames'."""
        for index in indices:
            result = await self.receive()
            assert np.array_equal(result, EXPECTED[index]), (
                f"frame {index}: expected {EXPECTED[index]}, got {result}"
            )

    async def receive(self):
        """The next result; an error if none comes."""
        for _ in range(LONGEST):
            if not self.sink.empty():
                return np.frombuffer(bytes(self.sink.recv_nowait().tdata), "<i4")
            await RisingEdge(self.dut.aclk)
        raise TimeoutError(f"no result in {LONGEST} cycles")

    async def idle(self, frames):
        """Wait until so many frames have ended, with or without a result."""
        for _ in range(LONGEST // 20):
            if await self.read("FRAMES") + await self.read("DROPPED") == frames:
                return
            await cycles(self.dut.aclk, 20)
        raise TimeoutError(f"{frames} frames did not end in {LONGEST} cycles")

    async def read(self, name):
        """Value of a register."""
        response = await self.master.read(OFFSETS[name], 4)
        return int.from_bytes(response.data, "little")

    async def write(self, name, value):
        """Write a register."""
        await self.master.write(OFFSETS[name], value.to_bytes(4, "little"))

    async def counters(self):
        """Cycles by cause; their sum is checked."""
        names = ("CYCLES_LO", "ACTIVE", "STALL_IN", "STALL_W", "STALL_OUT")
        found = {name: await self.read(name) for name in names}
        assert found["CYCLES_LO"] == sum(found.values()) - found["CYCLES_LO"], found
        assert found["ACTIVE"] == SETTINGS["active"], found
        return found


async def start(dut, stalls=None):
    """A bench behind its reset."""
    dut.aresetn.value = 0
    start_clock(dut.aclk)
    bench = Bench(dut, stalls)
    await bench.reset()
    return bench


@cocotb.test()
async def it_says_what_it_is(dut):
    """Identification registers, and that nothing has happened."""
    bench = await start(dut)
    for name, value in SETTINGS["identity"].items():
        assert await bench.read(name) == value, name
    assert await bench.read("CTRL") == 0x8C
    for name in ("STATUS", "ERR", "ISR", "FRAMES", "DROPPED"):
        assert await bench.read(name) == 0, name


@cocotb.test()
@cocotb.parametrize(stalls=[None, 0, 1, 2, 3])
async def frames_back_to_back(dut, stalls):
    """Every logit equal, under any stalls; each cycle charged to one cause."""
    bench = await start(dut, stalls)
    for index in range(len(FRAMES)):
        await bench.send(index)
    for index in range(len(FRAMES)):
        await bench.expect(index)
    await bench.idle(len(FRAMES))
    counters = await bench.counters()
    if stalls is None:
        assert counters["STALL_IN"] == counters["STALL_OUT"] == 0, counters
    assert await bench.read("FRAMES") == len(FRAMES)
    assert await bench.read("ERR") == 0
    assert bench.sink.empty()


@cocotb.test()
async def active_cycles_do_not_depend_on_stalls(dut):
    """A slow source: more cycles, all charged to the input; the same work."""
    bench = await start(dut)
    bench.source.set_pause_generator(pauses(5, 0.95))
    await bench.send(0)
    await bench.expect(0)
    await bench.idle(1)
    counters = await bench.counters()
    assert counters["STALL_IN"] > PIXELS
    assert counters["STALL_OUT"] == 0


@cocotb.test()
async def a_result_waits_for_its_receiver(dut):
    """Nothing is lost; the next frame's result waits before the head."""
    bench = await start(dut)
    bench.sink.pause = True
    for index in (0, 1, 2):
        await bench.send(index)
    await bench.idle(1)
    await cycles(dut.aclk, 3 * SETTINGS["active"])
    assert await bench.read("FRAMES") == 1
    bench.sink.pause = False
    await bench.expect(0, 1)
    await bench.idle(2)
    assert (await bench.counters())["STALL_OUT"] > 0
    await bench.expect(2)
    assert bench.monitor.waits > 0


@cocotb.test()
async def without_auto_restart_each_start_runs_one_frame(dut):
    """A frame that has come waits for its start; done interrupts."""
    bench = await start(dut)
    await bench.write("CTRL", 0)
    await bench.write("IER", 1)
    await bench.write("GIE", 1)
    for index in (1, 0):
        await bench.send(index)
    await cycles(dut.aclk, 2 * SETTINGS["active"])
    assert await bench.read("FRAMES") == 0 and bench.sink.empty()
    assert dut.interrupt.value == 0
    for count, index in enumerate((1, 0), 1):
        await bench.write("CTRL", 1)
        await bench.expect(index)
        await cycles(dut.aclk, 2 * SETTINGS["active"])
        assert await bench.read("FRAMES") == count and bench.sink.empty()
        assert dut.interrupt.value == 1
        assert await bench.read("CTRL") & 2
        await bench.write("ISR", 1)
        await cycles(dut.aclk, 2)
        assert dut.interrupt.value == 0


@cocotb.test()
@cocotb.parametrize(
    count=[1, PIXELS // 2, PIXELS - 1, PIXELS + 1, 2 * PIXELS, 2 * PIXELS + 3], stalls=[None, 4]
)
async def a_frame_of_the_wrong_length_gives_no_result(dut, count, stalls):
    """Its error bit is set; the frames before and behind it are right."""
    bench = await start(dut, stalls)
    await bench.send(0)
    await bench.send(1, count)
    await bench.send(2)
    await bench.send(0)
    await bench.expect(0, 2, 0)
    await bench.idle(4)
    assert await bench.read("ERR") == (EARLY if count < PIXELS else LATE)
    assert await bench.read("DROPPED") == 1
    assert await bench.read("ISR") == 3
    await bench.write("ERR", 7)
    assert await bench.read("ERR") == 0
    assert bench.sink.empty()


@cocotb.test()
async def one_bad_frame_after_the_other(dut):
    """Short, long, short; then a good one."""
    bench = await start(dut)
    for count in (3, PIXELS + 5, PIXELS - 1):
        await bench.send(1, count)
    await bench.send(0)
    await bench.expect(0)
    await bench.idle(4)
    assert await bench.read("ERR") == EARLY | LATE
    assert await bench.read("DROPPED") == 3


@cocotb.test()
@cocotb.parametrize(seed=range(6))
async def a_reset_in_mid_frame(dut, seed):
    """At a random cycle; the next frame is right and nothing else comes."""
    bench = await start(dut)
    draw = random.Random(seed)
    for _ in range(3):
        first, second = draw.sample(range(len(FRAMES)), 2)
        await bench.send(first)
        await cycles(dut.aclk, draw.randrange(1, SETTINGS["active"]))
        await bench.reset(draw.choice([1, 2, 5]) + 1)
        await bench.send(second)
        await bench.expect(second)
        await bench.idle(1)
        await bench.counters()
        assert bench.sink.empty()


@cocotb.test()
@cocotb.parametrize(seed=range(4))
async def a_soft_reset_in_mid_frame(dut, seed):
    """While a frame is worked on; scratch stays, the next frame is right."""
    bench = await start(dut)
    draw = random.Random(seed)
    await bench.write("SCRATCH", 0x55AA)
    await bench.send(1)
    while not all(model.idle() for model in bench.ports if model is not bench.sink):
        await RisingEdge(dut.aclk)
    await cycles(dut.aclk, draw.randrange(1, SETTINGS["active"] // 8))
    assert await bench.read("FRAMES") == 0
    await bench.write("CTRL", 0x90)
    await cycles(dut.aclk, 5)
    assert await bench.read("STATUS") == 0
    await bench.send(2)
    await bench.expect(2)
    await bench.idle(1)
    await bench.counters()
    assert await bench.read("SCRATCH") == 0x55AA
    assert await bench.read("ERR") == 0
    assert bench.sink.empty()


@test_if(not STREAMED)  # a weight stream has to begin anew with the core, too
async def a_soft_reset_while_a_frame_comes(dut):
    """The rest of it counts as a short frame; then all is well."""
    bench = await start(dut)
    bench.source.set_pause_generator(pauses(9, 0.8))
    await bench.send(1)
    await cycles(dut.aclk, PIXELS // 2)
    await bench.write("CTRL", 0x90)
    bench.source.clear_pause_generator()
    bench.source.pause = False
    await bench.send(0)
    await bench.expect(0)
    assert await bench.read("ERR") == EARLY


@cocotb.test()
async def the_receiver_has_no_combinational_way_to_the_sender(dut):
    """Neither ready moves when the other one is moved within a cycle."""
    bench = await start(dut)
    await bench.send(0)
    for index in range(4):
        await bench.send(index % len(FRAMES))
    seen = set()
    for _ in range(SETTINGS["active"]):
        await RisingEdge(dut.aclk)
        await Timer(4, unit="ns")
        before = dut.s_axis_tready.value
        dut.m_axis_tready.value = 1 - int(dut.m_axis_tready.value)
        await Timer(1, unit="ns")
        assert dut.s_axis_tready.value == before
        seen.add(int(before))
    assert seen == {0, 1}


@test_if(STREAMED)
async def a_short_weight_stream_is_reported(dut):
    """TLAST one word early."""
    await wrong_weights(dut, -1)


@test_if(STREAMED)
async def a_long_weight_stream_is_reported(dut):
    """TLAST one word late."""
    await wrong_weights(dut, 1)


async def wrong_weights(dut, change):
    """An error bit; after a reset all is well."""
    bench = await start(dut)
    width = SETTINGS["weight_bytes"]
    blob = BLOB[:-width] if change < 0 else BLOB + bytes(width)
    await bench.source.send(AxiStreamFrame(pixels(0)))
    await bench.weights.send(AxiStreamFrame(blob))
    await bench.weights.send(AxiStreamFrame(BLOB))
    await cycles(dut.aclk, 2 * SETTINGS["active"] + 2 * len(BLOB) // width)
    assert await bench.read("ERR") & WEIGHTS
    assert await bench.read("ISR") & 2
    await bench.reset()
    await bench.send(1)
    await bench.expect(1)
    assert await bench.read("ERR") == 0


@test_if(STREAMED)
async def a_core_without_weights_waits(dut):
    """Every cycle without weights is charged to STALL_W."""
    bench = await start(dut)
    bench.weights.pause = True
    await bench.send(0)
    await cycles(dut.aclk, SETTINGS["active"])
    assert await bench.read("FRAMES") == 0
    assert await bench.read("STATUS") & 1
    bench.weights.pause = False
    await bench.expect(0)
    await bench.idle(1)
    assert (await bench.counters())["STALL_W"] > SETTINGS["active"] // 2
