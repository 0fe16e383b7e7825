"""Sign maps of a stage: names, thresholds, and the zeros that they meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from r2b.ir import ops
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.encode import FloatArray, Interval
from r2b.ir.quantize.epilogue import EpilogueBuilder
from r2b.ir.quantize.partition import Draft, Partition
from r2b.ir.quantize.signs import (
    NoThresholdError,
    SignFunction,
    Threshold,
    find_threshold,
    reaches_zero,
)
from r2b.ir.quantize.zeros import ZeroSigns, is_exact, parity_step


class SolidError(Exception):
    """Views of a sign that no threshold takes in must exist as values; caught by the quantizer.

    Parameters
    ----------
    names : set of str
    """

    def __init__(self, names: frozenset[str]) -> None:
        """Keep what has to change."""
        super().__init__(*names)
        self.names = names


@dataclass(frozen=True)
class Thresholds:
    """Finds the thresholds of signs.

    Parameters
    ----------
    graph : Graph
    partition : Partition
    zeros : mapping of str to int
        How many values of a sign's operand calibration saw at 0.
    act_bits : int
    """

    graph: Graph
    partition: Partition
    zeros: Mapping[str, int]
    act_bits: int

    def of_value(self, value: str) -> list[Node]:
        """Signs that read a value, in the Graph's order."""
        signs = [node for node in self.graph.nodes() if isinstance(node.op, ops.Sign)]
        return [node for node in signs if self.partition.base(node.operands[0])[0] == value]

    def find(
        self,
        draft: Draft,
        builder: EpilogueBuilder,
        stored: bool,
        scale: FloatArray,
        report: ZeroSigns,
    ) -> dict[str, Threshold]:
        """Thresholds of a draft's signs by name, on an integer where each has one.

        ``scale`` is that of the draft's value, ``report`` takes the signs that can meet a 0.

        Raises
        ------
        SolidError
            A view rises and falls.
        """
        signs = self.of_value(draft.value)
        try:
            found = {node.name: self._threshold(builder, stored, node) for node in signs}
        except NoThresholdError:
            paths = (self.partition.base(node.operands[0])[1] for node in signs)
            if views := frozenset(view.name for path in paths for view in path):
                raise SolidError(views) from None
            # Without views the bend is the pending one, and a step takes it in.
            builder.flush_fine(scale)
            found = {node.name: self._threshold(builder, stored, node) for node in signs}
        for node in signs:
            assert isinstance(node.op, ops.Sign)
            if node.op.zero == 0:
                self._check_zero(draft, builder, stored, node, report)
        return found

    def _interval(self, builder: EpilogueBuilder, stored: bool) -> Interval:
        """Values to prove a threshold for: if stored, all of the format, can they occur or not."""
        interval = builder.interval
        return Interval.signed(self.act_bits, len(interval.low)) if stored else interval

    def _threshold(self, builder: EpilogueBuilder, stored: bool, node: Node) -> Threshold:
        views = self.partition.base(node.operands[0])[1]

        function = SignFunction(builder.pending, views, node)
        return find_threshold(function, self._interval(builder, stored))

    def _check_zero(
        self,
        draft: Draft,
        builder: EpilogueBuilder,
        stored: bool,
        node: Node,
        report: ZeroSigns,
    ) -> None:
        """Note a sign that can meet an exact 0."""
        views = self.partition.base(node.operands[0])[1]
        function = SignFunction(builder.pending, views, node)
        count, has_steps = self.zeros[node.operands[0]], bool(builder.steps)
        interval, step = self._interval(builder, stored), parity_step(draft, has_steps)
        exact = is_exact(self.graph, draft, views, has_steps)
        if count or (exact and reaches_zero(function, interval, step)):
            report.add(node, count)
