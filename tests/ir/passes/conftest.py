"""Text in, text out: run one pass on a graph that is written down."""

from collections.abc import Callable

import numpy as np
import pytest

from r2b.ir.graph import Graph
from r2b.ir.interpreter import run
from r2b.ir.passes.infrastructure import Pass, Pipeline
from r2b.ir.text import parse_graph, print_graph

Apply = Callable[[Pass, str], str]


def _outputs(graph: Graph) -> list[np.ndarray]:
    shape = graph.inputs[0].type.shape[1:]
    frames = np.random.default_rng(1).standard_normal((3, *shape))
    frames[0, 0] = 0  # signs at zero
    values = run(graph, frames)
    return [values[node.name] for node in graph.outputs]


def _apply(step: Pass, text: str) -> str:
    graph = parse_graph(text)
    result = Pipeline([step]).run(graph).graph
    for before, after in zip(_outputs(graph), _outputs(result), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
    lines = [line.partition("  #")[0] for line in print_graph(result).splitlines()]
    return "\n".join(lines)


@pytest.fixture
def apply() -> Apply:
    """Run one pass, prove that the outputs are the same, give the text without types."""
    return _apply
