"""The vector unit: channel means, then small fully connected layers; gates and the head.

It reads the channel sums of the stage before, so a gate costs no pass over the feature map. Its
constants and weights lie in order of use, so that its pointers only count up through a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from r2b.hw.batch import Batch
from r2b.hw.dot import IntegerDot
from r2b.hw.epilogue import gate_layout
from r2b.hw.memory import registered_read, rom
from r2b.hw.pipeline import choose, in_parts, pipe, registered, saturate
from r2b.hw.vector_tables import VectorTables
from r2b.hw.weights import (
    DENSE,
    MEANS,
    SLOPES,
    TABLES,
    VECTOR,
    VECTOR_SEGMENT,
    WeightBuffer,
)
from r2b.ir.arith import SIGMOID_BITS, SIGMOID_ENTRIES, bounds, gate_table
from r2b.ir.program import MEAN_FRACTION, MULTIPLIER_BITS, VECTOR_BITS

STREAMED = (VECTOR, *TABLES)
"""Targets of the weight stream in the vector unit."""
SEGMENT_BITS = (VECTOR_SEGMENT - 1).bit_length()
ACC_BITS = 32
MEAN_FLUSH = 8
"""Cycles after the last channel is issued until its z is readable."""
OPERANDS = 2
"""Cycles from a word's address to its products' operands: block RAM is too slow to multiply in the
cycle that reads it, so what comes from it passes a register; so do constants and table entries."""


@dataclass(frozen=True)
class VectorParams:
    """Shape of the vector unit.

    Parameters
    ----------
    lanes : int
        Epilogue lanes: values per word of sums and slopes.
    macs : int
        int8 x 16-bit products per cycle.
    value_width, sum_width : int
        R and bits of a channel sum.
    channels, hidden, outputs : int
        Largest sizes.
    tables : VectorTables
    bus : int
        Bits of a word of the weight stream; 0: weights and tables are ROMs.
    frames : int
        Of a batch; a job runs for each of them.
    """

    lanes: int
    macs: int
    value_width: int
    sum_width: int
    channels: int
    hidden: int
    outputs: int
    tables: VectorTables
    bus: int = 0
    frames: int = 1

    @property
    def groups(self) -> int:
        """Words of a frame's slopes."""
        return max(2, -(-max(self.channels, self.outputs) // self.lanes))

    @property
    def dense_flush(self) -> int:
        """Cycles after a layer's last word is issued until all its results are written."""
        return OPERANDS + IntegerDot.latency_of(self.macs) + 1 + 11


class VectorUnit(wiring.Component):
    """Runs one job per ``start``: ``channels`` cycles for z, then each layer's words.

    Cycles from ``start`` to ``ready``: ``1 + C + MEAN_FLUSH + sum over layers of (outputs * words
    + dense_flush)``. The issue side stands still while ``enable`` is low; what is under way goes
    on.

    With several frames to a batch the job runs once for each, with the same constants and weights,
    before it is ready; every run but the last takes a cycle less.

    Parameters
    ----------
    params : VectorParams

    Members
    -------
    start, enable : In(1)
    starts : In(1)
        ``start`` in the next cycle.
    new_frame : In(1)
        The next job is the frame's first.
    ready : Out(1)
        The job is done; low from ``start``.
    head : Out(1)
        The next job is the head.
    sum_addr : Out, sum_data : In
        Channel sums, combinational.
    gate_addr : In, gate_data : Out
        Slopes of a word of channels, two cycles later.
    logit, logit_valid, logit_last : Out
    w_data, w_valid, w_last : In, w_ready : Out
        Words of the weight stream, a bit per target from ``weights.VECTOR`` on (only if streamed):
        weights, and the tables of the next job, which are taken while no job runs.
    unfed : Out(1)
        Weights or tables are needed that are not there; a register.
    stops : Out(1)
        The same in the next cycle.
    reading : Out(1)
        A job has weights still to be read, so what comes behind them in the stream is not there.
    frame : Out, ended : Out(1)
        Only with several frames: whose sums are read, slopes are made and logits are put out;
        pulse: the job is done for this one.
    gate_frame : In
        Whose slopes are read.
    """

    def __init__(self, params: VectorParams) -> None:
        self.params = p = params
        sums = data.ArrayLayout(signed(p.sum_width), p.lanes)
        self.group_range = range(p.groups)
        streamed = {
            "w_data": In(p.bus),
            "w_valid": In(len(STREAMED)),
            "w_last": In(1),
            "w_ready": Out(len(STREAMED)),
            "unfed": Out(1),
            "stops": Out(1),
            "reading": Out(1),
        }
        number = range(p.frames)
        frames = {"frame": Out(number), "ended": Out(1), "gate_frame": In(number)}
        super().__init__(
            (streamed if p.bus else {})
            | (frames if p.frames > 1 else {})
            | {
                "start": In(1),
                "starts": In(1),
                "enable": In(1),
                "new_frame": In(1),
                "ready": Out(1),
                "head": Out(1),
                "sum_addr": Out(self.group_range),
                "sum_data": In(sums),
                "gate_addr": In(self.group_range),
                "gate_data": Out(gate_layout(p.lanes)),
                "logit": Out(signed(ACC_BITS)),
                "logit_valid": Out(1),
                "logit_last": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Sequencer, mean pipeline, dense pipeline, slope pipeline."""
        m = Module()
        p = self.params
        job_index = Signal(range(max(2, len(p.tables.jobs.rows))))
        jobs = rom(m, "jobs", p.tables.jobs.layout, p.tables.jobs.content)
        job = registered_read(m, jobs, job_index, "job")
        m.d.comb += self.head.eq(job.head)
        self.loaded, self.idle = Signal(name="loaded"), Signal(name="idle")
        self.dense = Signal(name="layer_follows")  # the sequencer's state in the next cycle
        self.begin = self.start
        if p.frames > 1:
            self.again, self.begin = Signal(name="again"), Signal(name="begin")
            m.d.comb += self.begin.eq(self.start | self.again)
        if p.bus:
            m.submodules.words = self.words = WeightBuffer(8 * p.macs, VECTOR_SEGMENT, SEGMENT_BITS)
        issue = self._sequencer(m, job, job_index)
        if p.bus:
            self._fill(m)
        if p.frames > 1:
            self._frames(m)
        z = self._means(m, job, issue)
        self._dense(m, job, issue, z)
        return m

    # --- issue side ------------------------------------------------------------------------

    def _sequencer(self, m: Module, job, job_index) -> data.View:
        """Counters of the phases; every token leaves masked by ``enable``."""
        p = self.params
        count = Signal(range(max(p.channels, p.hidden, p.outputs) + 1))
        word = Signal(range(max(2, -(-max(p.channels, p.hidden) // p.macs))))
        lane, group = Signal(range(max(2, p.lanes))), Signal(self.group_range)
        wait, layer = Signal(range(max(MEAN_FLUSH, p.dense_flush) + 1)), Signal()
        weight = Signal(SEGMENT_BITS if p.bus else range(max(2, len(p.tables.weights))))
        issue = Signal(
            data.StructLayout({"mean": 1, "dense": 1, "layer": 1, "first": 1, "last": 1, "final": 1,
                               "word": word.shape(), "lane": lane.shape(),
                               "weight": weight.shape()}),
            name="issue",
        )  # fmt: skip
        words, outputs = (  # there long before the layer begins
            registered(m, Mux(layer, job[f"{n}_second"], job[f"{n}_first"]), f"layer_{n}")
            for n in ("words", "last")
        )
        m.d.comb += [
            issue.layer.eq(layer), issue.word.eq(word), issue.lane.eq(lane),
            issue.weight.eq(weight), issue.first.eq(word == 0), issue.last.eq(word == words),
            issue.final.eq(count == outputs),
            self.sum_addr.eq(group),
        ]  # fmt: skip
        layer_runs = Signal()
        m.d.comb += self.dense.eq(layer_runs)
        m.d.sync += layer_runs.eq(self.dense)
        anew = [register.eq(0) for register in (count, word, lane, group, layer)]
        with m.If(self.new_frame):
            m.d.sync += [job_index.eq(0), weight.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += anew
                if p.bus:
                    m.d.comb += self.idle.eq(1)
                    m.d.sync += weight.eq(0)
                with m.If(self.start & self.enable):
                    m.d.sync += self.ready.eq(0)
                    if p.bus:
                        m.d.sync += self.reading.eq(1)
                    m.next = "MEAN"
            with m.State("MEAN"):
                m.d.comb += issue.mean.eq(self.enable)
                m.d.sync += wait.eq(MEAN_FLUSH)
                with m.If(self.enable):
                    m.d.sync += [count.eq(count + 1), lane.eq(lane + 1)]
                    with m.If(lane == p.lanes - 1):
                        m.d.sync += [lane.eq(0), group.eq(group + 1)]
                    with m.If(count == job.last_channel):
                        m.d.sync += count.eq(0)
                        m.next = "FLUSH"
            with m.State("FLUSH"):
                with m.If(self.enable):
                    m.d.sync += wait.eq(wait - 1)
                    with m.If(wait == 1):
                        m.d.comb += self.dense.eq(1)
                        m.next = "DENSE"
            with m.State("DENSE"):
                m.d.comb += issue.dense.eq(self.enable)
                if p.bus:
                    self._use_words(m, weight, issue.last & issue.final & (layer | job.head))
                with m.If(self.enable):
                    m.d.sync += [weight.eq(weight + 1), word.eq(word + 1)]
                    with m.If(issue.last):
                        m.d.sync += [word.eq(0), count.eq(count + 1)]
                        with m.If(issue.final):
                            m.d.sync += [count.eq(0), layer.eq(1), wait.eq(p.dense_flush)]
                            m.d.comb += self.dense.eq(0)
                            m.next = "FLUSH"
                            with m.If(layer | job.head):
                                m.next = "LAST"
            with m.State("LAST"):
                with m.If(self.enable):
                    m.d.sync += wait.eq(wait - 1)
                    with m.If(wait == 1):
                        m.d.sync += [self.ready.eq(1), job_index.eq(job_index + 1)]
                        m.next = "IDLE"
                        if p.frames > 1:
                            m.d.comb += self.ended.eq(1)
                            with m.If(self.again):
                                m.d.sync += [*anew, self.ready.eq(0), job_index.eq(job_index)]
                                m.next = "MEAN"
        if p.frames > 1:
            self._rewound(m, weight, "weight")
        return issue

    def _frames(self, m: Module) -> None:
        """The frame of the running job; the job runs again after all but the last one."""
        last = self.frame == self.params.frames - 1
        m.d.comb += self.again.eq(self.ended & ~last)
        with m.If(self.ended):
            m.d.sync += self.frame.eq(Mux(last, 0, self.frame + 1))

    def _rewound(self, m: Module, pointer, name: str) -> None:
        """A pointer into what lies in order of use goes back to where the job began."""
        base = Signal.like(pointer, name=f"{name}_base")
        with m.If(self.start):
            m.d.sync += base.eq(pointer)
        with m.If(self.again):
            m.d.sync += pointer.eq(base)

    # --- weight stream ---------------------------------------------------------------------

    def _use_words(self, m: Module, weight, end) -> None:
        """A weight is read: it must be there, and the last one of a segment gives it back."""
        m.d.comb += self.words.close.eq(self.enable & (end | (weight == VECTOR_SEGMENT - 1)))
        if self.params.frames > 1:
            end = end & (self.frame == self.params.frames - 1)
        with m.If(self.enable & end):
            m.d.sync += self.reading.eq(0)

    def _fill(self, m: Module) -> None:
        """Weights go into the buffer; tables are taken once per job, the means last."""
        words, means = self.words, STREAMED.index(MEANS)
        ready = Signal(name="loaded_follows")
        m.d.sync += [self.loaded.eq(ready), self.unfed.eq(self.stops)]
        m.d.comb += [
            self.stops.eq((self.starts & ~ready) | (self.dense & ~words.available)),
            ready.eq(self.loaded),
            words.w_data.eq(self.w_data),
            words.w_valid.eq(self.w_valid[0]),
            words.w_last.eq(self.w_last),
            self.w_ready.eq(Cat(words.w_ready, (self.idle & ~self.loaded).replicate(len(TABLES)))),
        ]
        with m.If(self.w_valid[means] & self.w_ready[means] & self.w_last):
            m.d.comb += ready.eq(1)
        with m.If(self.start & self.enable):
            m.d.comb += ready.eq(0)

    def _table(self, m: Module, name: str, target: int) -> Memory:
        """A table: of the whole frame as a ROM, or of a job, written from the stream."""
        table = getattr(self.params.tables, name)
        if not self.params.bus:
            return rom(m, name, table.layout, table.content)
        rows = max(1, *(getattr(size, name) for size in self.params.tables.sizes))
        memory = Memory(shape=table.layout, depth=rows, init=[])
        m.submodules[name] = memory
        write, index = memory.write_port(), STREAMED.index(target)
        row = Signal(range(max(2, rows)), name=f"{name}_row_in")
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(self.w_data),
            write.en.eq(self.w_valid[index] & self.w_ready[index]),
        ]
        with m.If(write.en):
            m.d.sync += row.eq(Mux(self.w_last, 0, row + 1))
        return memory

    # --- means -----------------------------------------------------------------------------

    def _means(self, m: Module, job, issue) -> Memory:
        """sum -> * reciprocal -> rounding, shift -> * a + b -> shift, saturation -> z."""
        p = self.params
        valid = pipe(m, issue.mean, 7, "mean_valid")
        sums = registered(m, choose(m, self.sum_data, issue.lane), "sums")
        scaled = in_parts(m, sums, job.reciprocal)
        rounded = Signal(signed(p.sum_width + 18))
        mean = Signal(signed(p.value_width + MEAN_FRACTION + 1), reset_less=True)
        m.d.sync += [rounded.eq(scaled + job.mean_half), mean.eq(rounded >> job.mean_shift)]
        rows = self._table(m, "means", MEANS)
        constants = registered(m, self._counted(m, rows, valid[2], "mean_row"), "mean_constants")
        product = Signal(signed(len(mean) + MULTIPLIER_BITS), reset_less=True)
        total = Signal(signed(max(len(product), len(constants.b)) + 1))
        offset, shifted = Signal.like(constants.b), Signal.like(total)
        m.d.sync += [
            product.eq(mean * constants.a),
            offset.eq(constants.b),
            total.eq(product + offset),
            shifted.eq(total >> job.z_shift),
        ]
        low, high = bounds(VECTOR_BITS)
        return self._vector(m, "z", p.channels, valid[7], saturate(m, shifted, low, high))

    def _counted(self, m: Module, memory: Memory, advance, name: str):
        """Row of a table that lies in order of use; the next one after ``advance``.

        A streamed table begins anew with every job, a ROM with every frame.
        """
        pointer = Signal(range(max(2, memory.depth + 1)), name=f"{name}_pointer")
        with m.If(advance):
            m.d.sync += pointer.eq(pointer + 1)
        if self.params.frames > 1 and not self.params.bus:
            self._rewound(m, pointer, name)
        with m.If(self.begin if self.params.bus else self.new_frame):
            m.d.sync += pointer.eq(0)
        return registered_read(m, memory, pointer, name)

    def _vector(self, m: Module, name: str, size: int, valid, value) -> Memory:
        """A vector memory of ``macs`` values per word, filled in order from ``start`` on."""
        p = self.params
        layout = data.ArrayLayout(signed(VECTOR_BITS), p.macs)
        memory = Memory(shape=layout, depth=max(1, -(-size // p.macs)), init=[])
        m.submodules[name] = memory
        write = memory.write_port(granularity=1)
        lane, word = Signal(range(max(2, p.macs)), name=f"{name}_lane"), Signal(
            range(max(2, memory.depth)), name=f"{name}_word")  # fmt: skip
        m.d.comb += [write.addr.eq(word), write.en.eq(Mux(valid, 1 << lane, 0))]
        m.d.comb += [write.data[i].eq(value) for i in range(p.macs)]
        with m.If(valid):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == p.macs - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1)]
        with m.If(self.begin):
            m.d.sync += [lane.eq(0), word.eq(0)]
        return memory

    # --- layers ----------------------------------------------------------------------------

    def _dense(self, m: Module, job, issue, z: Memory) -> None:
        """Dot product per word, sum per neuron, then one multiplication and one rounding."""
        p = self.params
        layout = data.StructLayout({"valid": 1, "layer": 1, "first": 1, "last": 1, "final": 1})
        latency = OPERANDS + IntegerDot.latency_of(p.macs)
        now = Signal(layout, name="dense_0")
        m.d.comb += [now[n].eq(issue[n]) for n in ("layer", "first", "last", "final")]
        m.d.comb += now.valid.eq(issue.dense)
        control = pipe(m, now, latency + 5, "dense")
        acc = Signal(signed(ACC_BITS))
        hidden_in = Signal(signed(VECTOR_BITS))
        hidden = control[latency + 5]
        valid = hidden.valid & hidden.last & ~hidden.layer & ~job.head
        h = self._vector(m, "h", p.hidden, valid, hidden_in)
        dot = self._operands(m, issue, z, h)
        with m.If(control[latency].valid):
            m.d.sync += acc.eq(Mux(control[latency].first, 0, acc) + dot)
        rows = self._table(m, "dense", DENSE)
        # the row of a neuron is read while its last word is summed
        constants = registered(m, self._counted(
            m, rows, control[latency].valid & control[latency].last, "dense_row"
        ), "dense_constants")  # fmt: skip
        operand = registered(m, acc, "dense_operand")
        product, offset = in_parts(m, operand, constants.m), Signal.like(constants.b)
        total = Signal(signed(max(ACC_BITS + MULTIPLIER_BITS, len(constants.b)) + 1))
        shifted = Signal.like(total)
        after = control[latency + 2 :]  # of the operand, its products, the total, shifted
        shift = Mux(after[2].layer, job.second_shift, job.first_shift)
        m.d.sync += [
            offset.eq(constants.b),
            total.eq(product + offset),
            shifted.eq(total >> shift),
            self.logit.eq(operand + constants.b),
            self.logit_valid.eq(after[0].valid & after[0].last & job.head),
            self.logit_last.eq(after[0].final),
        ]
        _, high = bounds(VECTOR_BITS)
        m.d.comb += hidden_in.eq(saturate(m, shifted, 0, high))
        out = after[3].valid & after[3].last & after[3].layer
        self._slopes(m, job, shifted, out)

    def _operands(self, m: Module, issue, z: Memory, h: Memory):
        p = self.params
        m.submodules.dot = dot = IntegerDot(p.macs, VECTOR_BITS, 8)
        layer = Signal()
        m.d.sync += layer.eq(issue.layer)
        words = [
            registered_read(m, memory, issue.word, name)
            for memory, name in ((z, "z_q"), (h, "h_q"))
        ]
        m.d.comb += [
            dot.a.eq(registered(m, Mux(layer, words[1], words[0]), "dot_a")),
            dot.w.eq(registered(m, self._weight(m, issue), "dot_w")),
        ]
        return dot.o

    def _weight(self, m: Module, issue):
        """The weights of a cycle, one cycle later."""
        if self.params.bus:
            m.d.comb += self.words.addr.eq(issue.weight)
            return self.words.data
        width, content = 8 * self.params.macs, list(self.params.tables.weights)
        weights = rom(m, "weights", unsigned(width), content)
        return registered_read(m, weights, issue.weight, "weights_q")

    # --- slopes ----------------------------------------------------------------------------

    def _slopes(self, m: Module, job, argument, valid) -> None:
        """The gate's function, then two products per output, written to the slope memory."""
        p = self.params
        half = SIGMOID_ENTRIES // 2
        functions = p.tables.functions
        entries = [entry for name in functions for entry in gate_table(name).tolist()]
        table = rom(m, "gate_table", unsigned(SIGMOID_BITS), entries)
        index = Signal(range(SIGMOID_ENTRIES))
        m.d.comb += index.eq(saturate(m, argument, -half, half - 1) + half)
        place = index if len(functions) == 1 else Cat(index, job.function)
        value = registered(m, registered_read(m, table, place, "gate_table_q"), "gate_value")
        rows = self._table(m, "slopes", SLOPES)
        *_, written = pipe(m, valid, 5, "slope_valid")
        constants = registered(m, self._counted(m, rows, valid, "slope_row"), "slope_constants")
        memory = Memory(shape=gate_layout(p.lanes), depth=p.frames * p.groups, init=[])
        m.submodules.gate = memory
        write = memory.write_port(granularity=1)
        lane, group = Signal(range(max(2, p.lanes))), Signal(self.group_range)
        low, high = bounds(MULTIPLIER_BITS)
        for name in ("gn", "gp"):
            shape = signed(SIGMOID_BITS + 1 + MULTIPLIER_BITS)
            product = Signal(shape, name=f"{name}_product", reset_less=True)
            rounded = Signal(signed(len(product) + 1), name=f"{name}_rounded")
            shifted = Signal.like(rounded, name=f"{name}_shifted")
            m.d.sync += [
                product.eq(value * constants[name]),
                rounded.eq(product + job.slope_half),
                shifted.eq(rounded >> job.slope_shift),
            ]
            slope = saturate(m, shifted, low, high)
            m.d.comb += [write.data[i][name].eq(slope) for i in range(p.lanes)]
        place, wanted = group, self.gate_addr
        if p.frames > 1:
            place = group + Batch(p.frames).offset(self.frame, p.groups)
            wanted = self.gate_addr + Batch(p.frames).offset(self.gate_frame, p.groups)
        m.d.comb += [write.addr.eq(place), write.en.eq(Mux(written, 1 << lane, 0))]
        with m.If(written):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == p.lanes - 1):
                m.d.sync += [lane.eq(0), group.eq(group + 1)]
        with m.If(self.begin):
            m.d.sync += [lane.eq(0), group.eq(0)]
        m.d.comb += self.gate_data.eq(
            registered(m, registered_read(m, memory, wanted, "gate_q"), "gate_word")
        )
