"""Random networks of the whole vocabulary: PyTorch = Graph, and Program = NumPy code.

A sample runs with the tests; ``R2B_EXAMPLES=500 pytest tests/networks/test_random.py`` draws more
(``make random``), other ones with ``R2B_SEED``.
"""

from __future__ import annotations

from hypothesis import given

from tests.networks import description as d
from tests.networks.checks import check_graph, check_program
from tests.networks.profile import sample
from tests.networks.strategy import networks


@sample("R2B_EXAMPLES", 25)
@given(networks())
def test_graph_equals_pytorch_and_numpy_code_equals_the_program(network: d.Network):
    check_program(network, check_graph(network))
