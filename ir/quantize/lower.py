"""Turns a legal Graph and what calibration gathered into a Program."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from r2b.ir import ops
from r2b.ir.graph import Node
from r2b.ir.program import (
    FixedTensor,
    Gate,
    Head,
    Program,
    SignSink,
    Stage,
    Window,
)
from r2b.ir.quantize.contractions import contract
from r2b.ir.quantize.encode import SUM_BITS, Interval, require_width
from r2b.ir.quantize.epilogue import EpilogueBuilder
from r2b.ir.quantize.legalize import Legal
from r2b.ir.quantize.operands import FRAME, Operand
from r2b.ir.quantize.partition import MEANS, TABLES, Draft, Partition
from r2b.ir.quantize.preprocessing import Preprocessing
from r2b.ir.quantize.scales import Groups, Scales, ScaleTooFineError
from r2b.ir.quantize.sinks import Thresholds
from r2b.ir.quantize.statistics import Statistics, Wanted
from r2b.ir.quantize.tables import make_table
from r2b.ir.quantize.vectors import Means, build_gate, build_head
from r2b.ir.quantize.zeros import ZeroSigns


@dataclass
class Origins:
    """Which node of the legal Graph each value of the Program stands for, by name.

    ``sign_zero`` is the decision with which that Graph was made. Its nodes have the names of the
    Graph it was made of, besides some of its own.
    """

    tensors: dict[str, str] = field(default_factory=dict)
    signs: dict[str, str] = field(default_factory=dict)
    logits: str = ""
    sign_zero: int | None = None


def groups_of(legal: Legal, partition: Partition) -> Groups:
    """Values that share scales."""
    return Groups(legal.graph, {draft.presum.name for draft in partition.drafts if draft.presum})


def wanted(legal: Legal, partition: Partition) -> Wanted:
    """What a lowering has to know of the float values."""
    nodes = legal.graph.nodes()
    gates = {node.operands[0] for node in nodes if isinstance(node.op, ops.Gate)}
    arguments = {node.operands[0] for node in nodes if isinstance(node.op, TABLES)}
    signs = (node for node in nodes if isinstance(node.op, ops.Sign) and node.op.zero == 0)
    return Wanted(
        pools=groups_of(legal, partition).pools(),
        means=frozenset({*gates, legal.head.operand}),
        ranges=frozenset(arguments),
        zeros=frozenset(node.operands[0] for node in signs),
    )


class Lowering:
    """One run over the drafts of a Graph.

    Parameters
    ----------
    legal : Legal
    partition : Partition
    statistics : Statistics
        Of the float values on the calibration frames.
    act_bits : int
    preprocessing : Preprocessing
    """

    def __init__(
        self,
        legal: Legal,
        partition: Partition,
        statistics: Statistics,
        act_bits: int,
        preprocessing: Preprocessing,
    ) -> None:
        """Find out which values are stored."""
        self.legal, self.partition = legal, partition
        self.graph, self.head = legal.graph, legal.head
        self.statistics, self.act_bits = statistics, act_bits
        self.preprocessing = preprocessing
        self.thresholds = Thresholds(legal.graph, partition, statistics.zeros, act_bits)
        self.scales = Scales(groups_of(legal, partition), statistics.peaks, act_bits)
        self.stored = self._stored()
        # Sign maps that are read as numbers need names that no tensor has.
        self.numbers = {name for d in partition.drafts for name in self._numbers(d)}
        self._reset()

    def _reset(self) -> None:
        self.origins = Origins(sign_zero=self.legal.sign_zero)
        self.intervals: dict[str, Interval] = {}
        self.names: dict[str, str] = {}
        self.sign_names: dict[str, str] = {}
        self.zero_signs = ZeroSigns(len(self.statistics.means[self.head.operand]))
        # Scales that may not be made coarser, because that was tried.
        self.fixed: set[str] = set()

    def run(self) -> Program:
        """Lower all; begin again with a coarser scale where multipliers would not suffice."""
        while True:
            try:
                return self._run()
            except ScaleTooFineError as error:
                stuck = self.fixed
                self._reset()
                self.fixed = stuck
                if not self.scales.raise_to(error.name, error.least):
                    self.fixed.add(error.name)

    def _run(self) -> Program:
        """Lower all drafts in order, then the head."""
        for draft in self.partition.drafts:
            self.names[draft.value] = self._fresh(draft.first, set(self.names.values()))
        stages = tuple(self._stage(draft) for draft in self.partition.drafts)
        self.zero_signs.refuse()
        head, logit_scale = self._head()
        self.origins.logits = self.head.logits
        return Program(
            name=self.graph.name,
            input_shape=self._shape(self.graph.inputs[0].name),
            act_bits=self.act_bits,
            tensors={
                name: FixedTensor(self._shape(node), self.scales[node])
                for name, node in self.origins.tensors.items()
            },
            sign_shapes={name: self._shape(node) for name, node in self.origins.signs.items()},
            stages=stages,
            head=head,
            logit_scale=logit_scale,
            preprocessing=self.preprocessing.to_dict(),
        )

    # -------------------------------------------------------------------------- who needs a value

    def _stored(self) -> set[str]:
        """Values that somebody reads as a tensor or as channel sums, not only as signs."""
        found = set(self._summed())
        for draft in self.partition.drafts:
            for name in [*draft.sources(), *draft.others().values()]:
                is_kept = isinstance(self.graph[name].op, ops.Sign | ops.Gate)
                if not is_kept and not self.partition.is_frame(name):
                    found.add(name)
        return found

    def _numbers(self, draft: Draft) -> list[str]:
        """Signs that a draft reads as -1 and +1 outside a binary convolution."""
        is_binary = isinstance(draft.first.op, ops.BinaryConv2d)
        return [] if is_binary else draft.sources()

    def _summed(self) -> list[str]:
        """Values whose means a gate or the head reads."""
        readers = [node for node in self.graph.nodes() if isinstance(node.op, MEANS)]
        names = [self.partition.base(node.operands[0])[0] for node in readers]
        return [*names, self.partition.base(self.head.operand)[0]]

    # -------------------------------------------------------------------------------------- names

    def _fresh(self, node: Node, taken: set[str]) -> str:
        wanted = node.location.module_path or node.name
        name, number = wanted, 1
        while name in taken or name == FRAME:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _shape(self, name: str) -> tuple[int, int, int]:
        _, channels, height, width = self.graph[name].type.shape
        return channels, height, width

    # ------------------------------------------------------------------------------------- stages

    def _stage(self, draft: Draft) -> Stage:
        name, location = self.names[draft.value], draft.first.location
        is_stored = draft.value in self.stored
        part = contract(draft, [self._operand(source) for source in draft.sources()])
        require_width(part.interval, SUM_BITS, "the accumulator", str(location))
        builder = EpilogueBuilder(str(location), part.interval, part.pending, self.act_bits)
        pool = self._follow_chain(draft, builder, is_stored)
        if is_stored:
            self._store(draft, name, builder, pool)
        elif builder.gated:
            builder.flush_inside(self.scales[draft.value])
        gate = self._gate(draft, builder)
        sinks = self._sinks(draft, builder, is_stored)
        return Stage(
            name=name,
            location=location,
            contraction=part.contraction,
            shape=self._shape(draft.value),
            gate=gate,
            epilogue=tuple(builder.steps),
            pool=pool,
            tensor=name if is_stored else None,
            signs=sinks,
            sums=name if draft.value in self._summed() else None,
        )

    def _operand(self, name: str) -> Operand:
        """What a contraction reads."""
        node = self.graph[name]
        channels, *size = self._shape(name)
        ones = np.ones(channels)
        rows = (size[0], size[1])
        if self.partition.is_frame(name):
            return Operand(FRAME, *self._frame(name), Interval.of(0, 255, channels), rows)
        if isinstance(node.op, ops.Sign):
            found = self.sign_names[name]
            return Operand(found, ones, 0 * ones, Interval.of(-1, 1, channels), rows)
        scale = self.scales[name]
        return Operand(self.names[name], scale, 0 * scale, self.intervals[name], rows)

    def _frame(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Factor and summand of a pixel, behind the batch norms up to a node."""
        factor, summand = self.preprocessing.affine(self.graph[name].type.channels)
        if name == self.partition.frame:
            return factor, summand
        for node in self.partition.input_view:
            assert isinstance(node.op, ops.BatchNorm)
            factor = factor * node.op.multiplier
            summand = summand * node.op.multiplier + node.op.offset
        return factor, summand

    def _store(
        self, draft: Draft, name: str, builder: EpilogueBuilder, pool: Window | None
    ) -> None:
        if pool is None:
            self._check_scale(builder, draft.value)
            builder.finish(self.scales[draft.value])
        self.origins.tensors[name] = draft.value
        self.intervals[draft.value] = builder.interval

    def _check_scale(self, builder: EpilogueBuilder, name: str) -> None:
        least = builder.too_fine(self.scales[name])
        if least is not None and name not in self.fixed:
            raise ScaleTooFineError(name, least)

    def _follow_chain(
        self, draft: Draft, builder: EpilogueBuilder, is_stored: bool
    ) -> Window | None:
        """Put the absorbed nodes into the epilogue; return the window of a closing maximum."""
        previous = draft.first.name if draft.root else draft.source
        others = draft.others()
        for node in draft.chain:
            scale = self.scales.of(previous)
            match node.op:
                case ops.Scale():
                    self._scale(builder, self.graph[others[node.name]], scale())
                case ops.Add():
                    self._check_scale(builder, node.name)
                    source = others[node.name]
                    other = self.intervals[source]
                    builder.skip(self.names[source], self.scales[node.name], other)
                case ops.MaxPool2d():
                    if is_stored:
                        self._check_scale(builder, node.name)
                        builder.finish(self.scales[node.name])
                    elif builder.gated or not builder.pending.is_rising:
                        builder.flush_inside(self.scales[node.name])
                    return Window(node.op.kernel, node.op.stride, node.op.padding)
                case ops.Hardtanh():
                    self._check_scale(builder, node.name)
                    builder.follow(node.op, self.scales.of(node.name))
                case ops.Sigmoid() | ops.Activation():
                    self._table(builder, node, node.op)
                case _:
                    builder.follow(node.op, scale)
            previous = node.name
        return None

    def _scale(self, builder: EpilogueBuilder, factor: Node, scale: np.ndarray) -> None:
        """Multiply by a gate's slopes or by a stored tensor."""
        if isinstance(factor.op, ops.Gate):
            builder.gate(scale)
        else:
            unit, other = self.scales[factor.name], self.intervals[factor.name]
            builder.multiply(self.names[factor.name], unit, other, scale)

    def _table(
        self, builder: EpilogueBuilder, node: Node, op: ops.Sigmoid | ops.Activation
    ) -> None:
        scale = self.scales[node.name]
        seen = self.statistics.ranges[node.operands[0]]
        table, unit = make_table(op, seen, float(scale[0]), self.act_bits)
        builder.table(table, unit, scale)

    def _gate(self, draft: Draft, builder: EpilogueBuilder) -> Gate | None:
        factors = [self.graph[node.operands[1]] for node in draft.scales()]
        node = next((factor for factor in factors if isinstance(factor.op, ops.Gate)), None)
        if node is None:
            return None
        assert builder.slopes is not None
        operand = self.statistics.means[node.operands[0]]
        return build_gate(node, self._means(node.operands[0]), operand, builder.slopes)

    def _means(self, name: str) -> Means:
        base, views = self.partition.base(name)
        _, height, width = self._shape(base)
        area = height * width
        return Means(self.names[base], area, self.scales[base], views, self.intervals[base])

    def _head(self) -> tuple[Head, float]:
        name = self._fresh(self.head.node, set(self.names.values()))
        operand = self.statistics.means[self.head.operand]
        return build_head(self.head, name, self._means(self.head.operand), operand)

    # ---------------------------------------------------------------------------------- sign maps

    def _sinks(
        self, draft: Draft, builder: EpilogueBuilder, is_stored: bool
    ) -> tuple[SignSink, ...]:
        """One sink for each sign that differs from the others."""
        scale = self.scales[draft.value]
        found = self.thresholds.find(draft, builder, is_stored, scale, self.zero_signs)
        sinks: list[SignSink] = []
        for name, limit in found.items():
            same = [
                sink.name
                for sink in sinks
                if np.array_equal(sink.theta, limit.theta) and np.array_equal(sink.flip, limit.flip)
            ]
            if same and name not in self.numbers:
                self.sign_names[name] = same[0]
                continue
            self.sign_names[name] = self._sign_name(self.graph[name])
            self.origins.signs[self.sign_names[name]] = name
            sinks.append(SignSink(self.sign_names[name], limit.theta, limit.flip))
        return tuple(sinks)

    def _sign_name(self, node: Node) -> str:
        views = self.partition.base(node.operands[0])[1]
        taken = set(self.sign_names.values())
        if node.name in self.numbers:
            taken |= set(self.names.values())
        return self._fresh((views or [node])[0], taken)
