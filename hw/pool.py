"""Maximum over a window of the epilogue's values, as they come in raster order."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import ALONE, Batch
from r2b.hw.descriptor import Table
from r2b.hw.memory import rom

LATENCY = 6
"""Cycles from a value to the maximum it completes."""
DISTANCE = 2
"""Cycles between reading a column's word and writing it: block RAM is too slow for one."""


class MaxPool(wiring.Component):
    """Separable running maximum: along the row in a word per channel group, then down the column.

    Windows of ``stride <= kernel <= stride + 1``: a position belongs to at most two windows, and
    where it does it closes one and reopens the other (tables in
    :func:`r2b.hw.descriptor.pool_rows`). One word per cycle, LATENCY cycles.

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
    near : bool
        A column's word may come again when it is just being written, DISTANCE cycles after itself;
        it never comes sooner (:data:`r2b.hw.buildable.MIN_POOLED_WORDS`).

    Members
    -------
    d, token, values : In
        As they leave the epilogue.
    o_token, o_values : Out
        ``fm`` and ``sm`` are the window's, ``first`` marks the first window of the stage.
    """

    def __init__(self, table: Table, descriptor, token, lanes: int, value_width: int,
                 channels: int, depth: int, batch: Batch = ALONE,
                 near: bool = False) -> None:  # fmt: skip
        self.table, self.channels, self.depth, self.batch = table, channels, depth, batch
        self.near = near
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
        """Tables in the first two cycles, then the row's maximum, the column's in the last."""
        m = Module()
        d = self.d
        entries = rom(m, "entries", self.table.layout, self.table.content)
        ports = [entries.read_port(domain="comb") for _ in range(2)]
        m.d.comb += [
            ports[0].addr.eq(d.pool_base + self.token.row),
            ports[1].addr.eq(d.pool_base + d.rows + self.token.col),
        ]
        row, col = (Signal(self.table.layout, name=n) for n in ("row", "col"))
        token, values = self.token, self.values
        found = [Signal.like(row, name=name) for name in ("row_entry", "col_entry")]
        m.d.sync += [entry.eq(port.data) for entry, port in zip(found, ports, strict=True)]
        m.d.sync += [row.eq(found[0]), col.eq(found[1])]  # block RAM is slow
        for age in (1, 2):
            token, before = Signal.like(token, name=f"token_{age}"), token
            values, given = Signal.like(values, name=f"values_{age}"), values
            m.d.sync += [token.eq(before), values.eq(given)]
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
        first, second, third = (Signal(pipe, name=f"down_{n}") for n in (1, 2, 3))
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
            third.eq(second),
        ]
        word, previous = (
            Signal(self.values_layout, name=name, reset_less=True) for name in ("word", "previous")
        )
        m.d.comb += read.addr.eq(first.fm)
        m.d.sync += word.eq(read.data)
        best = Signal(self.values_layout, name="down_best")
        m.d.comb += [
            best.eq(Mux(third.row.start, third.values, _maximum(m, third.values, previous))),
            write.addr.eq(third.fm),
            write.en.eq(third.token.valid),
            write.data.eq(Mux(third.row.reopen, third.values, best)),
        ]
        m.d.sync += [
            previous.eq(self._passed(m, word, write, first, third) if self.near else word),
            self.o_token.eq(third.token),
            self.o_token.valid.eq(third.token.valid & third.row.emit),
            self.o_values.eq(best),
        ]

    def _passed(self, m: Module, word, write, first, third):
        """The word that was read, or what the same word's last value is to be, if that is not in
        the memory yet.
        """
        again = Signal(name="again")
        written = Signal(self.values_layout, name="written", reset_less=True)
        m.d.sync += [
            written.eq(write.data),
            again.eq(third.token.valid & (third.fm == first.fm)),
        ]
        return Mux(again, written, word)


def _maximum(m: Module, a, b):
    """Lane by lane."""
    result = Signal.like(a, name="maximum")
    for lane in range(len(a)):
        m.d.comb += result[lane].eq(Mux(a[lane] > b[lane], a[lane], b[lane]))
    return result
