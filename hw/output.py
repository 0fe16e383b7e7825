"""The way out: a whole result is buffered, then sent."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

LOGIT_BITS = 32


def result_stream() -> stream.Signature:
    """One logit per transfer; ``last`` marks the last class."""
    return stream.Signature(data.StructLayout({"data": signed(LOGIT_BITS), "last": 1}))


class OutputBuffer(wiring.Component):
    """Holds results of ``classes`` logits until they are taken; a batch's are one here.

    ``space`` says that the buffer is empty, so that a whole result fits and the writer never waits
    within one. The first logit leaves two cycles after it was written. Throughput one logit per
    cycle. Outputs are functions of registers only.

    Parameters
    ----------
    classes : int
        Logits of a result, at least 1.

    Members
    -------
    logit, valid, last : In
        A logit; only while ``space`` held before the result's first one.
    space : Out(1)
    o : Out(result_stream)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        super().__init__(
            {
                "logit": In(signed(LOGIT_BITS)),
                "valid": In(1),
                "last": In(1),
                "space": Out(1),
                "o": Out(result_stream()),
            }
        )

    @property
    def depth(self) -> int:
        """Logits of the FIFO: one result, and the one that is just passing to its output."""
        return self.classes + 1

    def elaborate(self, platform) -> Module:
        """A FIFO; a result surely fits where it is empty."""
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=LOGIT_BITS + 1, depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(Cat(self.logit, self.last)),
            fifo.w_en.eq(self.valid),
            self.space.eq(fifo.level == 0),
            self.o.payload.eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]
        return m
