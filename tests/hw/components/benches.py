"""Runs a driver on a component in Amaranth's simulator.

A *driver* is a generator: it yields a cycle's inputs, port name -> bits, and is sent the outputs of
that same cycle; inputs keep their value until they are given again. Its assertions are the test. It
knows nothing of the simulator, so that the emitted Verilog is tested with the same drivers
(``driver_tb.py``).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from amaranth.hdl import EnableInserter, Module, Mux, Shape, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from r2b.hw.engine import RowsMissing
from tests.hw.components.cases import pack, unpack

Driver = Generator[dict, dict, None]


@dataclass(frozen=True)
class Bench:
    """A component and the driver that tests it."""

    dut: wiring.Component
    driver: Driver


def shapes(dut: wiring.Component, flow) -> dict[str, object]:
    """Name -> shape of the ports of one direction."""
    return {n: m.shape for n, m in dut.signature.members.items() if m.flow == flow}


class Ports:
    """Bits and values of a component's ports."""

    def __init__(self, dut: wiring.Component) -> None:
        self.inputs, self.outputs = shapes(dut, In), shapes(dut, Out)

    def encode(self, values: dict) -> dict[str, int]:
        """Bits of a cycle's inputs."""
        return {name: pack(self.inputs[name], value) for name, value in values.items()}

    def decode(self, bits: dict[str, int]) -> Outputs:
        """Values of a cycle's outputs, unpacked when they are looked at."""
        return Outputs(self.outputs, bits)


class Outputs:
    """A cycle's outputs by name."""

    def __init__(self, layouts: dict, bits: dict[str, int]) -> None:
        self.layouts, self.bits = layouts, bits

    def __getitem__(self, name: str):
        """The value of a port."""
        return unpack(self.layouts[name], self.bits[name])


def simulate(bench: Bench) -> None:
    """Run a driver to its end."""
    dut, ports = bench.dut, Ports(bench.dut)
    simulator = Simulator(dut)
    if hasattr(dut, "elaborate"):
        simulator.add_clock(1e-6)

    async def testbench(ctx) -> None:
        outputs = {n: Value.cast(getattr(dut, n)).as_unsigned() for n in ports.outputs}
        signals = {n: Value.cast(getattr(dut, n)).as_unsigned() for n in ports.inputs}
        inputs = next(bench.driver)
        while True:
            for name, bits in ports.encode(inputs).items():
                ctx.set(signals[name], bits)
            sampled = {name: ctx.get(value) for name, value in outputs.items()}
            try:
                inputs = bench.driver.send(ports.decode(sampled))
            except StopIteration:
                return
            await ctx.tick()

    simulator.add_testbench(testbench)
    simulator.run()


class Frozen(wiring.Component):
    """A component's control side as the core runs it: ``enable`` low, or a wait, freezes it.

    ``go`` says whether this cycle counts. An engine's control gets its RowsMissing.
    """

    def __init__(self, inner: wiring.Component) -> None:
        self.inner = inner
        members = dict(inner.signature.members)
        if "checks" in members:
            members["rows_ready"] = In(members.pop("need").shape)
            del members["checks"]
        super().__init__(members | {"enable": In(1), "go": Out(1)})

    def elaborate(self, platform) -> Module:
        """Wiring; a component with an ``enable`` of its own gets it."""
        m = Module()
        inner = self.inner
        go = self.enable
        for cause in ("starved", "unfed"):
            if cause in inner.signature.members:
                go = go & ~getattr(inner, cause)
        if "checks" in inner.signature.members:
            m.submodules.rows = rows = RowsMissing(len(inner.need))
            m.d.comb += [
                rows.enable.eq(self.go),
                rows.frame.eq(self.d.frame),
                rows.need.eq(inner.need),
                rows.checks.eq(inner.checks),
                rows.rows_ready.eq(self.rows_ready),
            ]
            go = go & ~rows.missing
        m.d.comb += self.go.eq(go)
        own = "enable" in inner.signature.members
        m.submodules.inner = inner if own else EnableInserter(self.go)(inner)
        for name, member in inner.signature.members.items():
            if name == "enable":
                m.d.comb += inner.enable.eq(self.go)
            elif name in ("need", "checks"):
                continue
            elif name == "starts":  # as the core makes it of what follows if this cycle counts
                m.d.comb += inner.starts.eq(Mux(self.go, self.starts, self.start))
            elif member.flow == In:
                m.d.comb += getattr(inner, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(inner, name))
        return m


class WithSums(wiring.Component):
    """A vector unit with the memory of channel sums that it reads; ``w_en`` writes a word."""

    def __init__(self, unit: wiring.Component) -> None:
        self.unit = unit
        members = dict(unit.signature.members)
        self.sums = members.pop("sum_data").shape
        self.address = members.pop("sum_addr").shape
        super().__init__(
            members | {"w_en": In(1), "w_addr": In(self.address), "w_data": In(self.sums)}
        )

    def elaborate(self, platform) -> Module:
        """The memory, read without a register."""
        m = Module()
        m.submodules.unit = unit = self.unit
        depth = 1 << Shape.cast(self.address).width
        m.submodules.memory = memory = Memory(shape=self.sums, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.w_en), write.addr.eq(self.w_addr), write.data.eq(self.w_data),
            read.addr.eq(unit.sum_addr), unit.sum_data.eq(read.data),
        ]  # fmt: skip
        for name, member in unit.signature.members.items():
            if name in ("sum_addr", "sum_data"):
                continue
            inner, outer = getattr(unit, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


class StreamPorts(wiring.Component):
    """A component whose input stream ``stream`` becomes the ports ``i``, ``valid``, ``ready``."""

    def __init__(self, inner: wiring.Component, stream: str = "i") -> None:
        self.inner, self.stream = inner, stream
        members = dict(inner.signature.members)
        payload = members.pop(stream).signature.members["payload"].shape
        super().__init__(members | {"i": In(payload), "valid": In(1), "ready": Out(1)})

    def elaborate(self, platform) -> Module:
        """Wiring."""
        m = Module()
        m.submodules.inner = inner = self.inner
        stream = getattr(inner, self.stream)
        m.d.comb += [stream.payload.eq(self.i), stream.valid.eq(self.valid)]
        m.d.comb += self.ready.eq(stream.ready)
        for name, member in inner.signature.members.items():
            if name != self.stream:
                inside, outside = getattr(inner, name), getattr(self, name)
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


class Together(wiring.Component):
    """Several components side by side; the ports of ``name`` begin with ``name`` and an underscore.

    One build of the simulator serves them all.
    """

    def __init__(self, parts: dict[str, wiring.Component]) -> None:
        self.parts = parts
        super().__init__(
            {f"{name}_{port}": member
             for name, part in parts.items() for port, member in part.signature.members.items()}
        )  # fmt: skip

    def elaborate(self, platform) -> Module:
        """Wiring."""
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                inside, outside = getattr(part, port), getattr(self, f"{name}_{port}")
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


__all__ = [
    "Bench", "Driver", "Frozen", "Outputs", "Ports", "StreamPorts", "Together", "WithSums",
    "simulate",
]  # fmt: skip
