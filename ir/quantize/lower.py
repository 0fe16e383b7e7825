"""Turns a canonical Graph and calibration values into a Program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from r2b.ir import ops
from r2b.ir.graph import Graph, Node
from r2b.ir.program import (
    BinaryConv,
    Contraction,
    FixedTensor,
    Gate,
    Head,
    Identity,
    Pool,
    Program,
    RealConv,
    SignSink,
    Stage,
    Window,
)
from r2b.ir.quantize.encode import (
    SUM_BITS,
    WEIGHT_BITS,
    FloatArray,
    Interval,
    quantize_rows,
    require_width,
)
from r2b.ir.quantize.epilogue import EpilogueBuilder, Pending
from r2b.ir.quantize.partition import MEANS, Draft, Partition
from r2b.ir.quantize.preprocessing import Preprocessing
from r2b.ir.quantize.scales import Scales, ScaleTooFineError
from r2b.ir.quantize.signs import SignFunction, find_threshold, zero_convention
from r2b.ir.quantize.support import HeadNodes, check_support
from r2b.ir.quantize.vectors import Means, build_gate, build_head

FRAME = "frame"


@dataclass
class Origins:
    """Which node of the Graph each value of the Program stands for, by name."""

    tensors: dict[str, str] = field(default_factory=dict)
    signs: dict[str, str] = field(default_factory=dict)
    logits: str = ""


@dataclass(frozen=True)
class Contracted:
    """A contraction, the values its accumulator can take, and their real meaning."""

    contraction: Contraction
    interval: Interval
    pending: Pending


class Lowering:
    """One run over the drafts of a Graph.

    Parameters
    ----------
    graph : Graph
        Canonical.
    values : mapping of name to array
        Float value of each node on the calibration frames.
    act_bits : int
    preprocessing : Preprocessing
    sign_zero : -1, +1 or None
    """

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, FloatArray],
        act_bits: int,
        preprocessing: Preprocessing,
        sign_zero: int | None,
    ) -> None:
        """Partition the Graph; refuse what cannot be lowered."""
        self.graph, self.values, self.act_bits = graph, values, act_bits
        self.preprocessing, self.sign_zero = preprocessing, sign_zero
        self.partition = Partition(graph)
        self.head: HeadNodes = check_support(graph, self.partition)
        presums = {draft.presum.name for draft in self.partition.drafts if draft.presum}
        self.scales = Scales(graph, values, presums, act_bits)
        self.stored = self._stored()
        self._reset()

    def _reset(self) -> None:
        self.origins = Origins()
        self.intervals: dict[str, Interval] = {}
        self.names: dict[str, str] = {}
        self.sign_names: dict[str, str] = {}
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
        head, logit_scale = self._head()
        self.origins.logits = self.head.linear.name
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
            found |= set(draft.skips())
            if not isinstance(self.graph[draft.source].op, ops.Sign | ops.Input):
                found.add(draft.source)
        return found

    def _summed(self) -> list[str]:
        """Values whose means a gate or the head reads."""
        readers = [node for node in self.graph.nodes() if isinstance(node.op, MEANS)]
        names = [self.partition.base(node.operands[0])[0] for node in readers]
        return [*names, self.partition.base(self.head.operand)[0]]

    def _signs_of(self, value: str) -> list[Node]:
        """Signs that read a value, in the Graph's order."""
        signs = [node for node in self.graph.nodes() if isinstance(node.op, ops.Sign)]
        return [node for node in signs if self.partition.base(node.operands[0])[0] == value]

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
        part = self._contract(draft)
        require_width(part.interval, SUM_BITS, "the accumulator", str(location))
        builder = EpilogueBuilder(str(location), part.interval, part.pending, self.act_bits)
        pool = self._follow_chain(draft, builder, is_stored)
        if is_stored:
            self._store(draft, name, builder, pool)
        elif builder.gated:
            builder.flush(self.scales[draft.value])
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
        skips = iter(draft.skips())
        for node in draft.chain:
            scale = self.scales.of(previous)
            match node.op:
                case ops.Scale():
                    builder.gate(scale())
                case ops.Add():
                    self._check_scale(builder, node.name)
                    source = next(skips)
                    other = self.intervals[source]
                    builder.skip(self.names[source], self.scales[node.name], other)
                case ops.MaxPool2d():
                    if is_stored:
                        self._check_scale(builder, node.name)
                        builder.finish(self.scales[node.name])
                    elif builder.gated or not builder.pending.is_rising:
                        builder.flush(self.scales[node.name])
                    return Window(node.op.kernel, node.op.stride, node.op.padding)
                case ops.Hardtanh():
                    builder.follow(node.op, self.scales.of(node.name))
                case _:
                    builder.follow(node.op, scale)
            previous = node.name
        return None

    def _gate(self, draft: Draft, builder: EpilogueBuilder) -> Gate | None:
        scale = draft.gate()
        if scale is None:
            return None
        assert builder.slopes is not None
        node = self.graph[scale.operands[1]]
        operand = self.values[node.operands[0]].mean(axis=(2, 3))
        return build_gate(node, self._means(node.operands[0]), operand, builder.slopes)

    def _means(self, name: str) -> Means:
        base, views = self.partition.base(name)
        _, height, width = self._shape(base)
        area = height * width
        return Means(self.names[base], area, self.scales[base], views, self.intervals[base])

    def _head(self) -> tuple[Head, float]:
        node = self.head.linear
        operand = self.values[self.head.operand].mean(axis=(2, 3))
        name = self._fresh(node, set(self.names.values()))
        return build_head(node, node.location, name, self._means(self.head.operand), operand)

    # ---------------------------------------------------------------------------------- sign maps

    def _sinks(
        self, draft: Draft, builder: EpilogueBuilder, is_stored: bool
    ) -> tuple[SignSink, ...]:
        """One sink for each sign that differs from the others."""
        sinks: list[SignSink] = []
        interval = builder.interval
        if is_stored:  # proved for every value of the format, whether it can occur or not
            interval = Interval.signed(self.act_bits, len(interval.low))
        for node in self._signs_of(draft.value):
            views = self.partition.base(node.operands[0])[1]

            def function(at_zero: bool, views: list[Node] = views, node: Node = node):
                return SignFunction(builder.pending, views, node, at_zero)

            is_count = not builder.steps and isinstance(draft.first.op, ops.BinaryConv2d)
            is_exact = is_count or self._clips_at_zero(draft, views)
            chosen = zero_convention(function, interval, is_exact, self.sign_zero)
            found = find_threshold(chosen, interval)
            same = [
                sink.name
                for sink in sinks
                if np.array_equal(sink.theta, found.theta) and np.array_equal(sink.flip, found.flip)
            ]
            if same:
                self.sign_names[node.name] = same[0]
                continue
            name = self._fresh((views or [node])[0], set(self.sign_names.values()))
            self.sign_names[node.name] = name
            self.origins.signs[name] = node.name
            sinks.append(SignSink(name, found.theta, found.flip))
        return tuple(sinks)

    def _clips_at_zero(self, draft: Draft, views: list[Node]) -> bool:
        """Tell whether a ReLU or the like makes exact zeros out of many values."""
        nodes = [*draft.chain, *views]
        return any(isinstance(node.op, ops.Relu | ops.Hardtanh) for node in nodes)

    # ------------------------------------------------------------------------------- contractions

    def _contract(self, draft: Draft) -> Contracted:
        match draft.root:
            case None:
                return self._identity(draft)
            case Node(op=ops.BinaryConv2d() as op):
                return self._binary_conv(draft, op)
            case Node(op=ops.Conv2d() as op):
                return self._real_conv(draft, op)
            case Node(op=ops.MaxPool2d() as op):
                window = Window(op.kernel, op.stride, op.padding)
                return self._pool(draft, window, "max", 1)
            case Node(op=ops.AvgPool2d() as op):
                window = Window(op.kernel, op.stride, op.padding)
                return self._pool(draft, window, "sum", op.kernel[0] * op.kernel[1])
            case _:
                raise TypeError(f"{draft.root} is no contraction")

    def _identity(self, draft: Draft) -> Contracted:
        pending = Pending.linear(self.scales[draft.source])
        contraction = Identity(self.names[draft.source])
        return Contracted(contraction, self.intervals[draft.source], pending)

    def _pool(self, draft: Draft, window: Window, kind: str, divisor: int) -> Contracted:
        pending = Pending.linear(self.scales[draft.source] / divisor)
        found = self.intervals[draft.source]
        if kind == "sum":
            # A window at the border holds fewer positions, and 0 is within the bounds then.
            low, high = np.minimum(found.low, 0), np.maximum(found.high, 0)
            found = Interval(low * divisor, high * divisor)
        return Contracted(Pool(self.names[draft.source], window, kind), found, pending)

    def _binary_conv(self, draft: Draft, op: ops.BinaryConv2d) -> Contracted:
        kernel = (op.weight.shape[2], op.weight.shape[3])
        window = Window(kernel, op.stride, op.padding, op.dilation)
        bits = (op.weight > 0).astype(np.uint8)
        contraction = BinaryConv(self.sign_names[draft.source], bits, window, op.groups)
        reach = op.weight[0].size
        interval = Interval.of(-reach, reach, len(op.weight))
        return Contracted(contraction, interval, Pending.linear(op.scale))

    def _real_conv(self, draft: Draft, op: ops.Conv2d) -> Contracted:
        factor, summand, domain, source = self._real_input(draft)
        zero_point = np.rint(-summand / factor).astype(np.int64)
        rest = summand + factor * zero_point
        domain = Interval(domain.low - zero_point, domain.high - zero_point)
        rows = _input_channels(op)
        weight = op.weight * factor[rows][:, :, None, None]
        limit = np.maximum(np.abs(domain.low), np.abs(domain.high)).astype(np.float64)
        rounded, scale = _quantize_conv(weight, limit[rows])
        bias = (op.weight * rest[rows][:, :, None, None]).sum(axis=(1, 2, 3))
        bias = bias if op.bias is None else bias + op.bias
        contraction = RealConv(
            source=source,
            weight=rounded.astype(np.int8),
            window=Window(
                (op.weight.shape[2], op.weight.shape[3]), op.stride, op.padding, op.dilation
            ),
            zero_point=zero_point,
            presum=_presum(draft),
            groups=op.groups,
            weight_bits=WEIGHT_BITS,
        )
        interval = _conv_interval(rounded, domain, rows)
        return Contracted(contraction, interval, Pending.linear(scale, bias))

    def _real_input(self, draft: Draft) -> tuple[FloatArray, FloatArray, Interval, str]:
        """Real value ``factor * x + summand`` of a convolution's input, its bounds, its name."""
        if draft.source in {self.graph.inputs[0].name, *map(_name, self.partition.input_view)}:
            return self._frame_input()
        divisor = 1
        if draft.presum is not None:
            assert isinstance(draft.presum.op, ops.AvgPool2d)
            divisor = draft.presum.op.kernel[0] * draft.presum.op.kernel[1]
        scale, found = self.scales[draft.source], self.intervals[draft.source]
        domain = Interval(found.low * divisor, found.high * divisor)
        return scale / divisor, np.zeros_like(scale), domain, self.names[draft.source]

    def _frame_input(self) -> tuple[FloatArray, FloatArray, Interval, str]:
        channels = self._shape(self.graph.inputs[0].name)[0]
        factor, summand = self.preprocessing.affine(channels)
        for node in self.partition.input_view:
            assert isinstance(node.op, ops.BatchNorm)
            factor = factor * node.op.multiplier
            summand = summand * node.op.multiplier + node.op.offset
        return factor, summand, Interval.of(0, 255, channels), FRAME


def _name(node: Node) -> str:
    return node.name


def _presum(draft: Draft) -> Window | None:
    if draft.presum is None:
        return None
    assert isinstance(draft.presum.op, ops.AvgPool2d)
    return Window(draft.presum.op.kernel, draft.presum.op.stride)


def _input_channels(op: ops.Conv2d) -> np.ndarray:
    """Input channel that each output channel's weights meet, [C_out, C_in / groups]."""
    outputs, inputs = op.weight.shape[:2]
    group = np.arange(outputs) // (outputs // op.groups)
    return group[:, None] * inputs + np.arange(inputs)


def _quantize_conv(weight: FloatArray, limit: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Quantize row by row; `limit` holds the largest input for each row's channels."""
    taps = weight.shape[2] * weight.shape[3]
    parts = [
        quantize_rows(row[None], np.repeat(bound, taps))
        for row, bound in zip(weight, limit, strict=True)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])


def _conv_interval(weight: np.ndarray, domain: Interval, rows: np.ndarray) -> Interval:
    """Bounds of the accumulator; any tap may be missing at the border."""
    low, high = (end[rows][:, :, None, None] for end in (domain.low, domain.high))
    ends = (weight * low, weight * high)
    smallest = np.minimum(np.minimum(*ends), 0).sum(axis=(1, 2, 3))
    largest = np.maximum(np.maximum(*ends), 0).sum(axis=(1, 2, 3))
    return Interval(smallest, largest)
