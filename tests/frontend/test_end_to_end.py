import pytest
import torch
from torch import nn
from torch.nn import functional

from r2b.frontend.capture import capture
from r2b.frontend.end_to_end import end_to_end
from r2b.frontend.importer import import_capture
from r2b.ir import ops
from r2b.ir.passes.canonicalize import canonicalize


class _Network(nn.Module):
    def __init__(self, bias: float = 0.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 8)
        self.second = nn.Parameter(torch.randn(5, 8))
        self.bias = bias

    def forward(self, x):
        y = torch.where(self.first(x) - self.bias >= 0, 1.0, -1.0)
        return functional.linear(y, self.second.sign())


_FRAMES = torch.randn((7, 6), generator=torch.Generator().manual_seed(1))


def test_a_right_graph_has_no_error_and_no_sign_that_differs():
    captured = capture(_Network(), _FRAMES)
    found = end_to_end(canonicalize(import_capture(captured)), captured, _FRAMES)
    assert found.relative <= 1e-6
    assert (found.sign, found.distance, found.frames) == ("", 0.0, 0)


def test_a_sign_that_differs_is_found_with_how_near_to_zero_it_was():
    captured = capture(_Network(), _FRAMES)
    graph = canonicalize(import_capture(captured))
    (sign,) = [node for node in graph.nodes() if isinstance(node.op, ops.Sign)]
    source = graph.operands(sign.name)[0]
    shift = ops.BatchNorm.affine([1.0] * 8, [0.3] + [0.0] * 7)
    shifted = graph.add(shift, [source.name], near=source.name)
    graph.replace_uses(source.name, shifted.name)
    values = captured.run(_FRAMES)[source.name].double()
    flipped = (values[:, 0] < 0) & (values[:, 0] + 0.3 >= 0)
    assert flipped.any()
    found = end_to_end(graph, captured, _FRAMES)
    assert found.relative > 0.1
    assert found.sign == sign.name
    assert found.location == sign.location
    assert found.frames == int(flipped.sum())
    moved = values.clone()
    moved[:, 0] += 0.3
    expected = (moved[:, 0][flipped].abs().max() / moved.std(correction=0)).item()
    assert found.distance == pytest.approx(expected, rel=1e-5)


def test_large_frames_are_compared_one_by_one():
    captured = capture(nn.ReLU(), torch.rand(1, 3, 256, 256))
    sizes = [len(portion) for portion in captured.portions(torch.rand(3, 3, 256, 256), 1 << 17)]
    assert sizes == [1, 1, 1]
    graph = canonicalize(import_capture(captured))
    assert end_to_end(graph, captured, torch.randn(3, 3, 256, 256)).relative == 0
