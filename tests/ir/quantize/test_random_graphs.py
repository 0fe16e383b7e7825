"""Any canonical Graph becomes a Program, and reference.py has its bits."""

import tempfile
from pathlib import Path

import networks
import numpy as np
import pytest
import random_graphs
from checks import check_exact
from hypothesis import given, settings
from hypothesis import strategies as st

from r2b.ir import ops
from r2b.ir.quantize import quantize

SHAPES = [(2, 6, 7), (1, 5, 5), (3, 8, 8), (12,)]
RECIPES = st.lists(
    st.tuples(st.sampled_from(random_graphs.KINDS), st.integers(0, 10**6)), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SHAPES),
    RECIPES,
    st.sampled_from(random_graphs.ENDS),
    st.sampled_from([8, 12, 16]),
)
def test_every_graph_is_taken_and_reference_has_the_programs_bits(shape, recipe, end, bits):
    graph = random_graphs.grow(shape, recipe, end)
    frames = networks.frames(shape, 3)
    net, report = quantize(graph, frames, bits, sign_zero=1)
    assert 0 <= report.top1_agreement <= 1
    with tempfile.TemporaryDirectory() as folder:
        check_exact(net, frames.reshape(3, *net.input_shape), Path(folder))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_follow_the_float_network(seed):
    rng = np.random.default_rng(seed + 10_000)
    kinds = [kind for kind in random_graphs.KINDS if kind not in ("scale", "gate", "excite")]
    recipe = [(str(rng.choice(kinds)), int(rng.integers(10**6))) for _ in range(8)]
    graph = random_graphs.grow(SHAPES[seed % 4], recipe, random_graphs.ENDS[seed % 7])
    _, report = quantize(graph, networks.frames(SHAPES[seed % 4], 4), 16, sign_zero=-1)
    for stage in report.stages:
        assert stage.sqnr_db is None or stage.sqnr_db > 20, stage
        assert stage.equal_signs is None or stage.equal_signs > 0.9, stage


def test_the_recipes_come_to_every_canonical_operation():
    met = set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        recipe = [
            (str(rng.choice(random_graphs.KINDS)), int(rng.integers(10**6))) for _ in range(8)
        ]
        graph = random_graphs.grow(SHAPES[seed % 4], recipe, random_graphs.ENDS[seed % 7])
        met |= {type(node.op) for node in graph.nodes()}
    assert met == set(ops.CANONICAL_OPS)
