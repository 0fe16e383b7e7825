"""What a pass is, and how an ordered table of passes is run.

A pass takes a valid graph and leaves a valid graph of the same meaning. **A name keeps its value**:
a node that is there before and after a pass has the same value, up to rounding; a pass that needs a
value which was not there makes a node with a new name. So a value can be compared with PyTorch's
own at any point of the pipeline (:mod:`r2b.frontend.check`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from r2b.ir.errors import UserError
from r2b.ir.graph import Graph
from r2b.ir.verify import verify


class PassError(Exception):
    """A pass failed or left an invalid graph; a defect of r2b. The text names the pass."""


@dataclass(frozen=True)
class Pass:
    """Base of all passes; fields of a subclass are its options.

    Attributes
    ----------
    name : str
        Name in tables and messages: that of the class, in lower case with hyphens.
    """

    name: ClassVar[str] = ""

    def requires(self, graph: Graph) -> None:
        """Check what must hold before; raise `ValueError` if it does not."""

    def call(self, graph: Graph) -> bool:
        """Change the graph in place; tell whether anything changed."""
        raise NotImplementedError(type(self).__name__)

    def ensures(self, graph: Graph) -> None:
        """Check what must hold afterwards; raise `ValueError` if it does not."""


@dataclass(frozen=True)
class PassResult:
    """What a pipeline made.

    Parameters
    ----------
    graph : Graph
    modified : tuple of str
        Names of the passes that changed something, in the order they ran.
    """

    graph: Graph
    modified: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """Run passes in order on a copy of the graph, each followed by a verification.

    Parameters
    ----------
    passes : sequence of Pass
    after_each : callable
        Is given every pass and the graph it left, for printing and timing.
    """

    passes: Sequence[Pass]
    after_each: Callable[[Pass, Graph], None] = field(default=lambda _pass, _graph: None)

    def run(self, graph: Graph) -> PassResult:
        """Give the changed copy; raise `PassError` or what the user has to know."""
        result = graph.copy()
        modified: list[str] = []
        done: list[str] = []
        for step in self.passes:
            if _run_one(step, result, done):
                modified.append(step.name)
            done.append(step.name)
            self.after_each(step, result)
        return PassResult(result, tuple(modified))


def _run_one(step: Pass, graph: Graph, done: Sequence[str]) -> bool:
    try:
        step.requires(graph)
        modified = step.call(graph)
        graph.infer_types()
        verify(graph)
        step.ensures(graph)
    except UserError:
        raise
    except Exception as error:
        before = ", ".join(done) or "none"
        raise PassError(f"pass {step.name} failed (passes before it: {before}): {error}") from error
    return modified
