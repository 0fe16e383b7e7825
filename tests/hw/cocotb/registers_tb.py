"""The register file on its own, over AXI4-Lite."""

import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from support import StabilityMonitor, cycles, pauses, settings, start_clock, until

PREFIX = "axil_"
ADDRESSES = [*range(0, 0x80, 4), 0x100, 0x800, 0xFFC]


def word(response):
    """Data of a read as an integer."""
    return int.from_bytes(response.data, "little")


class Bench:
    """The device under test with a bus master and a monitor on every channel it drives."""

    def __init__(self, dut, seed=None):
        self.dut = dut
        self.map = {int(offset): register for offset, register in settings()["map"].items()}
        self.offset = {register["name"]: offset for offset, register in self.map.items()}
        bus = AxiLiteBus.from_prefix(dut, PREFIX)
        self.master = AxiLiteMaster(bus, dut.clk, dut.rst)
        if seed is not None:
            write, read = self.master.write_if, self.master.read_if
            channels = (write.aw_channel, write.w_channel, write.b_channel)
            for index, channel in enumerate((*channels, read.ar_channel, read.r_channel)):
                channel.set_pause_generator(pauses(f"{seed} {index}"))
        self.monitors = [
            StabilityMonitor(
                dut.clk, self.pin("bvalid"), self.pin("bready"), [self.pin("bresp")], [(dut.rst, 1)]
            ),
            StabilityMonitor(
                dut.clk,
                self.pin("rvalid"),
                self.pin("rready"),
                [self.pin("rdata"), self.pin("rresp")],
                [(dut.rst, 1)],
            ),
        ]

    def pin(self, name):
        """A signal of the bus."""
        return getattr(self.dut, f"{PREFIX}_{name}")

    async def reset(self):
        """Idle inputs, then a reset."""
        dut = self.dut
        dut.rst.value = 1
        for name in ("busy", "stage", "done", "dropped", "errors", "counters"):
            getattr(dut, name).value = 0
        await cycles(dut.clk, 4)
        dut.rst.value = 0
        await cycles(dut.clk, 3)

    async def read(self, name):
        """Value of a register."""
        response = await self.master.read(self.offset[name], 4)
        assert response.resp == AxiResp.OKAY
        return word(response)

    async def write(self, name, value):
        """Write a register that can be written."""
        response = await self.master.write(self.offset[name], value.to_bytes(4, "little"))
        assert response.resp == AxiResp.OKAY

    async def pulse(self, signal, value=1):
        """One cycle of an input."""
        signal.value = value
        await RisingEdge(self.dut.clk)
        signal.value = 0
        await RisingEdge(self.dut.clk)


async def start(dut, seed=None):
    """A bench behind its reset."""
    start_clock(dut.clk)
    dut.rst.value = 1
    bench = Bench(dut, seed)
    await bench.reset()
    return bench


@cocotb.test()
async def every_register_has_its_reset_value(dut):
    """All constants, and 0 or the table's reset value for the rest."""
    bench = await start(dut)
    for offset, register in bench.map.items():
        found = word(await bench.master.read(offset, 4))
        assert found == register["reset"], f"{register['name']}: 0x{found:08x}"


@cocotb.test()
async def unmapped_addresses_answer_slverr(dut):
    """A read gives 0 with SLVERR, a write SLVERR; all else is OKAY."""
    bench = await start(dut)
    for address in ADDRESSES:
        mapped = address in bench.map
        read = await bench.master.read(address, 4)
        assert read.resp == (AxiResp.OKAY if mapped else AxiResp.SLVERR), hex(address)
        assert mapped or word(read) == 0
        if not mapped:
            write = await bench.master.write(address, b"\xff\xff\xff\xff")
            assert write.resp == AxiResp.SLVERR, hex(address)


@cocotb.test()
async def read_only_registers_refuse_writes(dut):
    """SLVERR, and the value stays."""
    bench = await start(dut)
    for offset, register in bench.map.items():
        if register["writable"]:
            continue
        write = await bench.master.write(offset, b"\xff\xff\xff\xff")
        assert write.resp == AxiResp.SLVERR, register["name"]
        assert word(await bench.master.read(offset, 4)) == register["reset"], register["name"]


async def raw_write(bench, address, data, strobe, order):
    """A write whose address comes ``order`` cycles after its data (before, if negative)."""
    clock, pin = bench.dut.clk, bench.pin

    async def channel(delay, valid, ready, values):
        await cycles(clock, delay)
        for name, value in values.items():
            pin(name).value = value
        pin(valid).value = 1
        await until(clock, lambda: pin(ready).value == 1)
        pin(valid).value = 0

    late_address = cocotb.start_soon(
        channel(max(0, order), "awvalid", "awready", {"awaddr": address})
    )
    data_beat = {"wdata": data, "wstrb": strobe}
    late_data = cocotb.start_soon(channel(max(0, -order), "wvalid", "wready", data_beat))
    pin("bready").value = 1
    await late_address
    await late_data
    await until(clock, lambda: pin("bvalid").value == 1)
    pin("bready").value = 0


@cocotb.test()
async def strobes_are_honoured_in_any_order_of_address_and_data(dut):
    """Every strobe; data before, with and after the address."""
    bench = await start(dut)
    await cycles(dut.clk, 5)
    draw, model = random.Random(1), 0
    for order in (-5, -2, -1, 0, 1, 2, 5):
        for strobe in range(16):
            data = draw.getrandbits(32)
            mask = sum(0xFF << (8 * i) for i in range(4) if strobe >> i & 1)
            model = (model & ~mask) | (data & mask)
            await raw_write(bench, bench.offset["SCRATCH"], data, strobe, order)
            assert await bench.read("SCRATCH") == model, (order, strobe)


@cocotb.test()
async def reads_pass_a_write_that_lacks_its_data(dut):
    """The channels are independent."""
    bench = await start(dut)
    bench.pin("awaddr").value = bench.offset["SCRATCH"]
    bench.pin("awvalid").value = 1
    await until(dut.clk, lambda: bench.pin("awready").value == 1)
    bench.pin("awvalid").value = 0
    for _ in range(3):
        assert await bench.read("ID") == settings()["constants"]["ID"]
    assert bench.pin("bvalid").value == 0
    await raw_write_data(bench, 0xDEADBEEF)
    assert await bench.read("SCRATCH") == 0xDEADBEEF


async def raw_write_data(bench, data):
    """The data of a write whose address has been taken."""
    bench.pin("wdata").value = data
    bench.pin("wstrb").value = 15
    bench.pin("wvalid").value = 1
    await until(bench.dut.clk, lambda: bench.pin("wready").value == 1)
    bench.pin("wvalid").value = 0
    bench.pin("bready").value = 1
    await until(bench.dut.clk, lambda: bench.pin("bvalid").value == 1)
    bench.pin("bready").value = 0


async def traffic(dut, seed, count):
    """Random reads and writes, several queued at once, against a model."""
    bench = await start(dut, seed)
    draw, model = random.Random(7), {"SCRATCH": 0, "IER": 0}
    masks = {"SCRATCH": 0xFFFFFFFF, "IER": 3}
    pending = []
    for _ in range(count):
        name = draw.choice(list(model))
        byte, size = draw.choice([(0, 4), (0, 2), (2, 2), (1, 1), (3, 1), (1, 3)])
        data = draw.randbytes(size)
        pending.append(bench.master.init_write(bench.offset[name] + byte, data))
        old = model[name].to_bytes(4, "little")
        new = int.from_bytes(old[:byte] + data + old[byte + size :], "little")
        model[name] = new & masks[name]
        if draw.random() < 0.4:
            for event in pending:
                await event.wait()
                assert event.data.resp == AxiResp.OKAY
            pending = []
            reads = [(n, bench.master.init_read(bench.offset[n], 4)) for n in model]
            for read_name, event in reads:
                await event.wait()
                assert word(event.data) == model[read_name], read_name
    assert all(monitor.transfers > count // 4 for monitor in bench.monitors)
    return bench


@cocotb.test()
async def back_to_back_traffic(dut):
    """No pauses."""
    await traffic(dut, None, 200)


@cocotb.test()
@cocotb.parametrize(seed=range(3))
async def traffic_with_pauses_on_every_channel(dut, seed):
    """Random pauses; responses wait and stay stable."""
    bench = await traffic(dut, seed, 80)
    assert all(monitor.waits > 10 for monitor in bench.monitors)


@cocotb.test()
async def control_starts_one_frame_per_start(dut):
    """run follows auto-restart and start; start reads 1 until a frame has begun."""
    bench = await start(dut)
    assert await bench.read("CTRL") == 0x8C  # auto-restart, ready, idle
    assert dut.run.value == 1
    await bench.write("CTRL", 0)
    assert dut.run.value == 0
    await bench.write("CTRL", 1)
    assert dut.run.value == 1 and await bench.read("CTRL") == 0x05
    dut.busy.value = 1
    await cycles(dut.clk, 2)
    assert dut.run.value == 0 and await bench.read("CTRL") == 0x08
    await bench.write("CTRL", 1)  # while a frame runs: for the next one
    await cycles(dut.clk, 5)
    assert dut.run.value == 1
    dut.busy.value = 0
    await cycles(dut.clk, 3)
    assert dut.run.value == 1
    dut.busy.value = 1
    await cycles(dut.clk, 2)
    assert dut.run.value == 0


@cocotb.test()
async def done_is_cleared_by_a_read(dut):
    """CTRL.done; FRAMES counts results, DROPPED the rest."""
    bench = await start(dut)
    await bench.pulse(dut.done)
    assert await bench.read("CTRL") & 2
    assert not await bench.read("CTRL") & 2
    dut.dropped.value = dut.done.value = 1
    await RisingEdge(dut.clk)
    dut.dropped.value = dut.done.value = 0
    assert await bench.read("FRAMES") == 1
    assert await bench.read("DROPPED") == 1
    assert await bench.read("CTRL") & 2


@cocotb.test()
async def soft_reset_is_a_pulse(dut):
    """One cycle; scratch and enables stay, a pending start does not."""
    bench = await start(dut)
    await bench.write("SCRATCH", 0x1234)
    await bench.write("IER", 3)
    await bench.write("CTRL", 1)
    seen = []

    async def watch():
        while True:
            await ReadOnly()
            seen.append(int(dut.soft_reset.value))
            await RisingEdge(dut.clk)

    cocotb.start_soon(watch())
    await bench.write("CTRL", 0x10)
    await cycles(dut.clk, 4)
    assert sum(seen) == 1
    assert await bench.read("CTRL") == 0x0C
    assert (await bench.read("SCRATCH"), await bench.read("IER")) == (0x1234, 3)


@cocotb.test()
async def errors_and_interrupts(dut):
    """Sticky bits, write 1 to clear, enables; an event beats its clearing."""
    bench = await start(dut)
    for index in range(3):
        await bench.pulse(dut.errors, 1 << index)
        assert await bench.read("ERR") == 1 << index
        assert await bench.read("STATUS") & 2
        await bench.write("ERR", 7 & ~(1 << index))
        assert await bench.read("ERR") == 1 << index
        await bench.write("ERR", 1 << index)
        assert await bench.read("ERR") == 0
    assert await bench.read("ISR") == 2
    assert dut.interrupt.value == 0
    await bench.write("IER", 1)
    await bench.write("GIE", 1)
    assert dut.interrupt.value == 0
    await bench.pulse(dut.done)
    await RisingEdge(dut.clk)
    assert dut.interrupt.value == 1
    await bench.write("ISR", 1)
    await cycles(dut.clk, 2)
    assert dut.interrupt.value == 0 and await bench.read("ISR") == 2
    await bench.write("IER", 2)
    await cycles(dut.clk, 2)
    assert dut.interrupt.value == 1
    dut.errors.value = 1
    await bench.write("ISR", 2)  # the event is still there
    assert await bench.read("ISR") == 2
    dut.errors.value = 0
    await bench.write("GIE", 0)
    await cycles(dut.clk, 2)
    assert dut.interrupt.value == 0


@cocotb.test()
async def counters_and_status_are_shown(dut):
    """Each at its place."""
    bench = await start(dut)
    names = ("CYCLES_LO", "ACTIVE", "STALL_IN", "STALL_W", "STALL_OUT")
    values = [0x01020304 * (i + 1) for i in range(len(names))]
    dut.counters.value = sum(value << (32 * i) for i, value in enumerate(values))
    dut.stage.value = 9
    dut.busy.value = 1
    await cycles(dut.clk, 2)
    for name, value in zip(names, values, strict=True):
        assert await bench.read(name) == value, name
    assert await bench.read("STATUS") == 0x901
    assert await bench.read("CYCLES_HI") == 0


@cocotb.test()
async def reset_in_the_middle_of_a_write(dut):
    """Nothing is left of it."""
    bench = await start(dut)
    await bench.write("SCRATCH", 77)
    bench.pin("awaddr").value = bench.offset["SCRATCH"]
    bench.pin("awvalid").value = 1
    await until(dut.clk, lambda: bench.pin("awready").value == 1)
    bench.pin("awvalid").value = 0
    await bench.reset()
    for name in ("bvalid", "rvalid"):
        assert bench.pin(name).value == 0
    assert await bench.read("SCRATCH") == 0
    await bench.write("SCRATCH", 99)
    assert await bench.read("SCRATCH") == 99
