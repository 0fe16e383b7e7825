"""Where a sign can meet an exact 0, and the one message about all such signs.

A sign map holds -1 and +1 only. Where the source's sign gives 0 for 0 (``torch.sign``), that does
not matter as long as no exact 0 occurs: real values are 0 with probability 0. They are 0 where a
ReLU or a bound clips, where a border is padded, where signs are summed, where pixels are compared,
and where calibration saw one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.partition import Draft
from r2b.ir.quantize.scales import limit_of_integers, selects

KEEPING = (
    ops.MaxPool2d,
    ops.AvgPool2d,
    ops.GlobalAvgPool,
    ops.Concat,
    ops.Reshape,
    ops.PRelu,
    ops.Scale,
    ops.SpatialScale,
)
"""A 0 of one operand, or of its neighbourhood, is a 0 of the result."""


def clips_at_zero(graph: Graph, node: Node) -> bool:
    """Tell whether an operation makes exact zeros out of many values."""
    match node.op:
        case ops.Relu():
            return True
        case ops.Hardtanh(lo=lo, hi=hi):
            return lo == 0 or hi == 0 or clips_at_zero(graph, graph.operands(node.name)[0])
        case ops.Pad(value=value) if value == 0:
            return True
        case ops.Conv2d(weight=weight, bias=None) if not np.all(weight.any(axis=(1, 2, 3))):
            return True  # a channel of zeros
        case ops.Conv2d() if selects(node.op):
            return clips_at_zero(graph, graph.operands(node.name)[0])
        case ops.BatchNorm(offset=offset) if np.any(offset == 0):
            return clips_at_zero(graph, graph.operands(node.name)[0])
        case ops.Add():
            return all(clips_at_zero(graph, operand) for operand in graph.operands(node.name))
        case ops.Activation(kind="hardsigmoid" | "hardswish"):
            return True
        case ops.Pad() | ops.Activation():
            return clips_at_zero(graph, graph.operands(node.name)[0])
        case op if isinstance(op, KEEPING):
            return any(clips_at_zero(graph, operand) for operand in graph.operands(node.name))
        case _:
            return False


def is_exact(graph: Graph, draft: Draft, views: list[Node], has_steps: bool) -> bool:
    """Tell whether a 0 of the integer that is signed is a 0 of the source.

    So where the integer is the source's own value (a count of signs, a pixel, a sum of signs), and
    where the value is clipped.
    """
    if any(clips_at_zero(graph, node) for node in (graph[draft.value], *views)):
        return True
    is_own = isinstance(draft.first.op, ops.BinaryConv2d) and not has_steps
    is_pixel = isinstance(graph[draft.source].op, ops.Input) and not has_steps
    is_pixel = is_pixel and not isinstance(draft.first.op, ops.Conv2d)
    return is_own or is_pixel or limit_of_integers(graph, graph[draft.value]) is not None


def parity_step(draft: Draft, has_steps: bool) -> int:
    """2 where the accumulator has one parity: a count of signs without taps outside the image."""
    op = draft.first.op
    if has_steps or not isinstance(op, ops.BinaryConv2d):
        return 1
    return 1 if any(op.padding) and op.padding_value == 0 and op.weight.shape[1] % 2 else 2


@dataclass
class ZeroSigns:
    """Signs whose operand can be 0 while the source gives 0 there.

    Parameters
    ----------
    frames : int
        Frames of the calibration.
    """

    frames: int
    found: list[tuple[Node, int]] = field(default_factory=list)

    def add(self, node: Node, count: int) -> None:
        """Note a sign, and how many zeros it met in calibration."""
        self.found.append((node, count))

    def refuse(self) -> None:
        """Raise one error that lists all of them; nothing if there are none."""
        if not self.found:
            return
        lines = [f"  {node.location}: Sign: {self._seen(count)}" for node, count in self.found]
        layers = "1 layer" if len(lines) == 1 else f"{len(lines)} layers"
        raise UnsupportedOpError(
            f"the source's sign gives 0 for 0, and an exact 0 can occur in {layers}; a sign map "
            "holds only -1 and +1:\n" + "\n".join(lines) + "\nsay with --sign-zero +1 or "
            "--sign-zero -1 which it shall be, or write torch.where(x >= 0, 1.0, -1.0)"
        )

    def _seen(self, count: int) -> str:
        number = "no value" if count == 0 else "1 value" if count == 1 else f"{count} values"
        frames = "1 calibration frame" if self.frames == 1 else f"{self.frames} calibration frames"
        return f"{number} of the {frames} {'was' if count < 2 else 'were'} 0"
