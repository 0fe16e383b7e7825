"""Networks that once failed: what random ones showed, shrunk, each with what was wrong."""

from __future__ import annotations

import pytest
import torch

from r2b.frontend.capture import capture
from r2b.frontend.end_to_end import end_to_end
from r2b.frontend.importer import import_module
from r2b.ir.passes.canonicalize import canonicalize
from tests.networks.checks import check_graph, check_program
from tests.networks.description import Block, Dense, Head, Network, Sign, Stem, Window
from tests.networks.modules import frames_of, make

PADDED = Window(padding="zero")
FOUND = {
    # +1 for every value, hence no sign of what stands before the ReLU
    "a sign that is constant": Network(
        stem=Stem(window=PADDED, activation="relu"), blocks=(Block(window=Window(kernel=2)),)
    ),
    "a steep slope behind a ReLU": Network(
        stem=Stem(window=PADDED, activation="relu"), blocks=(Block(sign=Sign("steep")),)
    ),
    "a sign in front of a view, of a sum that is 0 but for rounding": Network(
        stem=Stem(window=PADDED),
        blocks=(Block(window=Window(kernel=5, padding="zero"), weight="mean"),),
        head=Head(flatten=True, dense=(Dense(),)),
        seed=1,
    ),
}


@pytest.mark.parametrize("network", FOUND.values(), ids=FOUND)
def test_compiles_and_is_the_same(network):
    check_program(network, check_graph(network))


def test_a_sign_that_rounding_turns_is_named_where_a_pass_has_moved_it():
    network = FOUND["a sign in front of a view, of a sum that is 0 but for rounding"]
    module, frames = make(network), torch.from_numpy(frames_of(network)).float() / 255
    graph = canonicalize(import_module(module, frames))
    captured = capture(module, frames)
    found = end_to_end(graph, captured, frames)
    assert found.sign and found.sign not in captured.run(frames)
    assert found.frames > 0 and found.distance < 1e-5
