"""The full-precision ResNet-18 by two counters of others: every difference is a rule.

Each counter has a table here in the form of ours, what it charges for a kind of work. Applied to
our list of operations it must give the counter's own figure, for every module.
"""

from __future__ import annotations

import io
from collections import Counter
from math import prod

import pytest
import torch

from r2b.backends.cost.accounting import count
from r2b.train import zoo

pytestmark = pytest.mark.xdist_group("table1")
NAME = "full-precision-224"

# Both charge a pooling for every element of its input, not for every position of its windows.
FVCORE = {"multiply-accumulate": 1, "batch norm": 2}
FVCORE_POOLS = {"average": 1}
# In ptflops the hook of nn.ReLU and of a pooling counts, and its patched torch.nn.functional once
# more; a bias is an operation; `+` of tensors is none.
PTFLOPS = {"multiply-accumulate": 1, "batch norm": 2, "activation": 2, "bias": 1}
PTFLOPS_POOLS = {"average": 2, "max pool": 2}
ATEN = {"multiply-accumulate": 1, "bias": 1}


def charged(layer, costs, pools):
    """What a counter charges for an operation."""
    work = sum(costs.get(part.kind, 0) * part.amount for part in layer.work)
    kinds = {part.kind for part in layer.work}
    return work + sum(pools.get(kind, 0) for kind in kinds) * prod(layer.input_shape)


def total(layers, costs, pools):
    return sum(charged(layer, costs, pools) for layer in layers)


@pytest.fixture
def layers(zoo_network):
    return count(zoo_network(NAME)).layers


def test_fvcore_module_by_module(layers, others):
    analysis = others[0](zoo.build(NAME).eval(), torch.zeros(1, 3, 224, 224))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    expected = Counter()
    for layer in layers:
        expected[layer.module] += charged(layer, FVCORE, FVCORE_POOLS)
    found = analysis.by_module()
    leaves = {name for name in found if not any(other.startswith(f"{name}.") for other in found)}
    assert {name: found[name] for name in leaves - {""}} == {
        name: expected[name] for name in leaves - {""}
    }
    assert analysis.total() == sum(expected.values()) == 1_819_065_856
    # what it says it leaves out is all that is left
    assert analysis.unsupported_ops() == {"aten::add": 8, "aten::max_pool2d": 1}


@pytest.mark.parametrize(
    ("backend", "costs", "pools", "figure"),
    [
        ("pytorch", PTFLOPS, PTFLOPS_POOLS, 1_825_313_768),
        ("aten", ATEN, {}, 1_814_074_344),
    ],
)
def test_ptflops(layers, others, backend, costs, pools, figure):
    found, parameters = others[1](
        zoo.build(NAME).eval(),
        (3, 224, 224),
        print_per_layer_stat=False,
        as_strings=False,
        backend=backend,
        ost=io.StringIO(),
    )
    assert found == total(layers, costs, pools) == figure
    assert parameters == sum(layer.stored.values for layer in layers)


def test_ours_is_theirs_and_what_they_leave_out(zoo_network, layers):
    """From fvcore's figure to the paper's convention, a line per rule."""
    found = count(zoo_network(NAME))
    left_out = {
        "activation": 2 * 2_308_096,  # ReLU: 2 per element
        "sum": 2 * 752_640,  # skips: 2 per element
        "max pool": 9 * 200_704,  # 9 per output
    }
    assert {kind: found.by_kind()[kind][1] for kind in left_out} == left_out
    assert found.flops == total(layers, FVCORE, FVCORE_POOLS) + sum(left_out.values())
