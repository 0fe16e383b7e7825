"""Maximum over a window of the epilogue's values, as they come in raster order."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch
from r2b.hw.descriptor import Table
from r2b.hw.memory import rom

LATENCY = 4
"""Cycles from a value to the maximum it completes."""


class MaxPool(wiring.Component):
    """Separable running maximum: along the row in a word per channel group, then down the column.

    Windows of ``stride <= kernel <= stride + 1``: a position belongs to at most two windows, and
    where it does it closes one and reopens the other (tables in
    :func:`r2b.hw.descriptor.pool_rows`). One word per cycle, LATENCY cycles. A column's word must
    not come again in the next cycle (geometry).

    Parameters
    ----------
    table : Table
        Row and column entries.
    descriptor, token : StructLayout
    lanes, value_width : int
    channels : int
        Words per pixel.
    depth : int
        Words of a pooled row.
    batch : Batch

    Members
    -------
    d, token, values : In
        As they leave the epilogue.
    o_token, o_values : Out
        ``fm`` and ``sm`` are the window's, ``first`` marks the first window of the stage.
    """

    def __init__(self, table: Table, descriptor, token, lanes: int, value_width: int,
                 channels: int, depth: int, batch: Batch = ALONE) -> None:  # fmt: skip
        self.table, self.channels, self.depth, self.batch = table, channels, depth, batch
        self.values_layout = data.ArrayLayout(signed(value_width), lanes)
        super().__init__(
            {
                "d": In(descriptor),
                "token": In(token),
                "values": In(self.values_layout),
                "o_token": Out(token),
                "o_values": Out(self.values_layout),
            }
        )

    def elaborate(self, platform) -> Module:
        """Tables in the first cycle, the row's maximum in the second, the column's in the last."""
        m = Module()
        d = self.d
        entries = rom(m, "entries", self.table.layout, self.table.content)
        ports = [entries.read_port(domain="comb") for _ in range(2)]
        m.d.comb += [
            ports[0].addr.eq(d.pool_base + self.token.row),
            ports[1].addr.eq(d.pool_base + d.rows + self.token.col),
        ]
        row, col = (Signal(self.table.layout, name=n) for n in ("row", "col"))
        token, values = Signal.like(self.token), Signal.like(self.values)
        m.d.sync += [row.eq(ports[0].data), col.eq(ports[1].data)]
        m.d.sync += [token.eq(self.token), values.eq(self.values)]
        across = self._across(m, token, values, col)
        self._down(m, token, row, col, across)
        return m

    def _across(self, m: Module, token, values, col):
        """Running maximum of the open window of this channel group; read and written in a cycle."""
        m.submodules.across = memory = Memory(
            shape=self.values_layout, depth=self.channels, init=[]
        )
        read, write = memory.read_port(domain="comb"), memory.write_port()
        best = Signal(self.values_layout, name="across_best")
        m.d.comb += [
            read.addr.eq(token.channel),
            write.addr.eq(token.channel),
            write.en.eq(token.valid),
            best.eq(Mux(col.start, values, _maximum(m, values, read.data))),
            write.data.eq(Mux(col.reopen, values, best)),
        ]
        return best

    def _down(self, m: Module, token, row, col, across) -> None:
        """The same down the columns, on the row's completed maxima only."""
        m.submodules.down = memory = Memory(shape=self.values_layout, depth=self.depth, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        pipe = data.StructLayout(
            {
                "token": self.token.shape(),
                "row": row.shape(),
                "fm": len(token.fm),
                "values": self.values_layout,
            }
        )
        first, second = Signal(pipe, name="down_1"), Signal(pipe, name="down_2")
        address = col.fm + token.channel  # of the word in a pooled row
        place = row.fm + address
        if self.batch.several:
            place = place + self.batch.offset(token.frame, self.batch.fm)
        m.d.sync += [
            first.token.eq(token),
            first.token.valid.eq(token.valid & col.emit),
            first.token.fm.eq(place),
            first.token.sm.eq(row.sm + col.sm + token.sm),
            first.token.first.eq((row.fm == 0) & (col.fm == 0)),
            first.row.eq(row),
            first.fm.eq(address),
            first.values.eq(across),
            second.eq(first),
        ]
        previous = Signal(self.values_layout, reset_less=True)
        m.d.comb += read.addr.eq(first.fm)
        m.d.sync += previous.eq(read.data)
        best = Signal(self.values_layout, name="down_best")
        m.d.comb += [
            best.eq(Mux(second.row.start, second.values, _maximum(m, second.values, previous))),
            write.addr.eq(second.fm),
            write.en.eq(second.token.valid),
            write.data.eq(Mux(second.row.reopen, second.values, best)),
        ]
        m.d.sync += [
            self.o_token.eq(second.token),
            self.o_token.valid.eq(second.token.valid & second.row.emit),
            self.o_values.eq(best),
        ]


def _maximum(m: Module, a, b):
    """Lane by lane."""
    result = Signal.like(a, name="maximum")
    for lane in range(len(a)):
        m.d.comb += result[lane].eq(Mux(a[lane] > b[lane], a[lane], b[lane]))
    return result
