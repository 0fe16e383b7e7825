"""AXI4-Lite: the bus, and a target that turns it into strobes."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 12
"""One 4 KiB page."""
OKAY, SLVERR = 0b00, 0b10
"""AXI responses."""


def axi_lite(address_bits: int = ADDRESS_BITS) -> wiring.Signature:
    """AXI4-Lite with 32-bit data, as the initiator sees it."""
    return wiring.Signature(
        {
            "awaddr": Out(address_bits),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_bits),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


class AxiLiteTarget(wiring.Component):
    """AXI4-Lite to one read and one write strobe.

    Reads and writes are independent; the data of a write may come before its address; one of each
    is outstanding. Every output is a register or a function of registers. A write is done in the
    cycle after its address and data have come and the response before it has gone; a read's data
    come two cycles after its address.

    Members
    -------
    axil : In(axi_lite)
    w_en : Out(1), w_addr, w_data, w_mask : Out
        The write: word address, data, a mask of the bits that are written.
    w_error : In(1)
        Answer it SLVERR; combinational.
    r_en : Out(1), r_addr : Out
        The read: word address.
    r_data : In(32), r_error : In(1)
        Its answer; combinational.
    """

    def __init__(self) -> None:
        words = ADDRESS_BITS - 2
        super().__init__(
            {
                "axil": In(axi_lite()),
                "w_en": Out(1),
                "w_addr": Out(words),
                "w_data": Out(32),
                "w_mask": Out(32),
                "w_error": In(1),
                "r_en": Out(1),
                "r_addr": Out(words),
                "r_data": In(32),
                "r_error": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Address and data of a write are held until both are there."""
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        bus = self.axil
        address_held, data_held = Signal(), Signal()
        awake = Signal()  # not ready in reset and in the cycle after
        strobe = Signal(4)
        m.d.sync += awake.eq(1)
        m.d.comb += [
            bus.awready.eq(awake & ~address_held),
            bus.wready.eq(awake & ~data_held),
            self.w_mask.eq(Cat(bit.replicate(8) for bit in strobe)),
        ]
        m.d.sync += self.w_en.eq(address_held & data_held & ~bus.bvalid & ~self.w_en)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_held.eq(1), self.w_addr.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_held.eq(1), self.w_data.eq(bus.wdata), strobe.eq(bus.wstrb)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(self.w_en):
            m.d.sync += [address_held.eq(0), data_held.eq(0), bus.bvalid.eq(1)]
            m.d.sync += bus.bresp.eq(Mux(self.w_error, SLVERR, OKAY))

    def _read(self, m: Module) -> None:
        bus = self.axil
        awake = Signal(name="read_awake")
        m.d.sync += [awake.eq(1), self.r_en.eq(bus.arvalid & bus.arready)]
        m.d.comb += bus.arready.eq(awake & ~bus.rvalid & ~self.r_en)
        with m.If(bus.arready):
            m.d.sync += self.r_addr.eq(bus.araddr[2:])
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(self.r_en):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(self.r_data)]
            m.d.sync += bus.rresp.eq(Mux(self.r_error, SLVERR, OKAY))
