"""What depends on parameters only is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from r2b.ir.graph import Graph, Node
from r2b.ir.interpreter import evaluate
from r2b.ir.ops import Constant, Output
from r2b.ir.rewrite import RewritePass, constant_value


@dataclass(frozen=True)
class FoldConstants(RewritePass):
    """An operation on constants becomes a constant.

    It is computed in float32, because PyTorch does: the sign of a centred weight that is near 0
    must fall as it falls there.
    """

    name: ClassVar[str] = "fold-constants"

    def rewrite(self, graph: Graph, node: Node) -> bool:
        """Compute the node if all operands are constants."""
        operands = [constant_value(operand) for operand in graph.operands(node.name)]
        known = [_single(value) for value in operands if value is not None]
        if not operands or len(known) < len(operands) or isinstance(node.op, Output):
            return False
        graph.replace(node.name, Constant(evaluate(node.op, known)), [])
        return True


def _single(value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return value if value.dtype == np.bool_ else value.astype(np.float32)
