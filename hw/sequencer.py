"""The stage sequencer: the Program's stages in order, then the head, for each frame."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

COUNTERS = ("cycles", "active", "wait_input", "wait_weights", "wait_output")
"""Per frame: all cycles, and each of them charged to exactly one of the others."""

STAGE_SETUP = 2
"""Cycles of a stage before it starts: its descriptor is read and registered."""


class Sequencer(wiring.Component):
    """``stages`` stages, then the head; the cycles between a stage's end and the next start are
    STAGE_SETUP. Everything here stands still while the core waits.

    Members
    -------
    frame : In(1)
        A frame has begun to arrive.
    stage_done, head_done : In(1)
    bad : In(1)
        The frame's result is to be suppressed.
    gated : In(1)
        The stage that is looked up has a gate.
    start : Out(1)
    job : Out(1)
        The vector unit starts: with a stage that has a gate, and at the head.
    job_follows, head_follows : Out(1)
        ``job``, ``at_head`` in the next cycle: what stops the core is known before.
    new_frame : Out(1)
        Before the frame's first stage.
    at_head : Out(1)
        The head needs room for its result before it starts.
    stage : Out
    busy, done : Out(1)
    """

    def __init__(self, stages: int) -> None:
        self.stages = stages
        super().__init__(
            {
                "frame": In(1),
                "stage_done": In(1),
                "head_done": In(1),
                "bad": In(1),
                "gated": In(1),
                "start": Out(1),
                "job": Out(1),
                "job_follows": Out(1),
                "head_follows": Out(1),
                "new_frame": Out(1),
                "at_head": Out(1),
                "stage": Out(range(stages + 1)),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """One state per phase of a stage."""
        m = Module()
        m.d.comb += self.busy.eq(1)
        m.d.sync += [
            self.start.eq(0), self.job.eq(self.job_follows), self.at_head.eq(self.head_follows),
        ]  # fmt: skip
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(0), self.new_frame.eq(1)]
                m.d.sync += self.stage.eq(0)
                with m.If(self.frame):
                    m.next = "FETCH"
            with m.State("FETCH"):  # the ROM is looked up
                m.d.sync += self.start.eq(1)
                m.d.comb += self.job_follows.eq(self.gated)
                m.next = "START"
            with m.State("START"):  # the descriptor is there
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(self.stage_done):
                    m.d.sync += self.stage.eq(self.stage + 1)
                    m.next = "FETCH"
                    with m.If(self.stage == self.stages - 1):
                        m.d.comb += [self.head_follows.eq(1), self.job_follows.eq(1)]
                        m.next = "HEAD"
            with m.State("HEAD"):
                m.next = "HEAD_RUN"
            with m.State("HEAD_RUN"):
                with m.If(self.head_done):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m


class FrontSequencer(wiring.Component):
    """The front's only stage, for each frame; it takes STAGE_SETUP cycles before its start, too.

    Members
    -------
    frame : In(1)
        A frame has begun to arrive, and there is room for its results.
    stage_done : In(1)
    start : Out(1)
    busy, begun, done : Out(1)
        A frame is being worked on; its first cycle, and its last one.
    """

    def __init__(self) -> None:
        members = {"frame": In(1), "stage_done": In(1)}
        super().__init__(members | dict.fromkeys(("start", "busy", "begun", "done"), Out(1)))

    def elaborate(self, platform) -> Module:
        """The phases of a stage."""
        m = Module()
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.frame):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.begun.eq(1)
                m.next = "START"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(self.stage_done):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m
