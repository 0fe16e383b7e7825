"""Every named network, narrowed, becomes a canonical Graph in which its binary layers are."""

from collections import Counter

import pytest
import torch

from r2b.frontend.importer import import_module
from r2b.ir.passes.canonicalize import canonicalize
from r2b.train.initialize import settle_batch_norms
from r2b.train.layers import BinaryConv2d, ChannelScale, RankOneScale
from r2b.train.zoo import build

NARROW = {"width_multiplier": 0.125, "num_classes": 10}

# Binary convolutions, and words that only this form of the network has.
GRAPHS = {
    "bnn": ({}, 19, {"PRelu": 0, "Add": 8, "AvgPool2d": 0, "Conv2d": 1}),
    "xnor-net": ({}, 19, {"PRelu": 17, "Add": 8, "AvgPool2d": 0, "Conv2d": 1}),
    "double-skip": ({}, 19, {"PRelu": 17, "Add": 16, "AvgPool2d": 3, "Conv2d": 1}),
    "bi-real": ({}, 16, {"PRelu": 17, "Add": 16, "AvgPool2d": 3, "Conv2d": 4}),
    "bi-real-net": ({}, 16, {"PRelu": 0, "Add": 16, "AvgPool2d": 3, "Conv2d": 4}),
    "strong-baseline": ({}, 16, {"SpatialScale": 0, "PRelu": 17, "Gate": 0, "Conv2d": 4}),
    "real-to-binary": ({}, 16, {"PRelu": 17, "Gate": 16, "Scale": 16, "Conv2d": 4}),
    "full-precision": ({}, 0, {"Relu": 17, "Sign": 0, "Add": 8, "Conv2d": 20}),
    "xnor-net++": ({"scale": "rank-one"}, 16, {"SpatialScale": 16, "PRelu": 17, "Conv2d": 4}),
    "binary downsample": ({"downsample": "binary"}, 19, {"Gate": 16, "Scale": 16, "Conv2d": 1}),
}
BASE = {"xnor-net++": "strong-baseline", "binary downsample": "real-to-binary"}


def random_scales(model):
    """Learned scales as training leaves them: no two alike."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ChannelScale | RankOneScale):
                for value in module.parameters():
                    value.uniform_(0.5, 1.5, generator=generator)


@pytest.mark.parametrize(("name", "case"), GRAPHS.items(), ids=GRAPHS)
def test_every_binary_convolution_is_recognised(name, case):
    config, num_binary, words = case
    model = build(f"{BASE.get(name, name)}-32", NARROW | config)
    random_scales(model)
    generator = torch.Generator().manual_seed(0)
    settle_batch_norms(model, torch.rand(8, *model.input_shape, generator=generator))
    assert sum(isinstance(part, BinaryConv2d) for part in model.modules()) == num_binary
    graph = canonicalize(import_module(model, torch.rand(1, *model.input_shape)))
    kinds = Counter(type(node.op).__name__ for node in graph.nodes())
    assert kinds["BinaryConv2d"] == num_binary
    assert {word: kinds[word] for word in words} == words
