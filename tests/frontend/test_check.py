import numpy as np
import pytest
import torch
from torch import nn

from r2b.frontend.capture import capture
from r2b.frontend.check import TOLERANCE, check_frames, operation_errors, relative_error
from r2b.frontend.importer import import_capture, import_module
from r2b.frontend.rounding import ROUNDING, rounding_of
from r2b.ir import ops


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.0], [0.0], 0.0),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 2.0], [1.0, 2.0, 3.0], np.inf),
        ([2.0], [2.0, 2.0, 2.0], 0.0),
        ([True, False], [True, True], 1.0),
    ],
)
def test_relative_error(found, expected, error):
    assert relative_error(np.array(found), np.array(expected)) == error


def test_frames_are_the_same_each_time_and_hold_the_example():
    example = torch.rand(3, 1, 4, 4)
    frames = check_frames(example)
    assert frames.shape == (6, 1, 4, 4)
    assert torch.equal(frames, check_frames(example))
    assert torch.equal(frames[0], example[0])


def test_an_error_stays_with_its_operation():
    """Each operation is fed PyTorch's inputs, so what follows a wrong one is right."""
    captured = capture(nn.Sequential(nn.Hardtanh(), nn.Sigmoid()), torch.rand(1, 1, 4, 4))
    graph = import_capture(captured)
    graph.replace("hardtanh", ops.Relu())
    errors = operation_errors(graph, captured, check_frames(torch.rand(1, 1, 4, 4)))
    named = {error.name: error for error in errors}
    assert named["hardtanh"].relative > 0.1
    assert named["sigmoid"].relative < 1e-6
    assert named["hardtanh"].location.module_path == "0"


class Constant(nn.Module):
    """A batch norm of what is the same everywhere: all of it cancels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1, bias=True)
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.norm.running_mean.copy_(self.conv.bias)
            self.norm.running_var.zero_()

    def forward(self, x):
        return self.norm(self.conv(x) * 1.3 / 1.3)


def test_what_is_only_rounding_is_no_difference():
    module, example = Constant().eval(), torch.rand(1, 1, 4, 4)
    graph = import_module(module, example)
    assert any(isinstance(node.op, ops.Normalization) for node in graph.nodes())


def test_a_wrong_operation_is_found_where_terms_cancel():
    captured = capture(Constant().eval(), torch.rand(1, 1, 4, 4))
    graph = import_capture(captured)
    norm = next(node for node in graph.nodes() if isinstance(node.op, ops.Normalization))
    assert max(error.relative for error in _errors(graph, captured)) <= TOLERANCE
    graph.replace(norm.name, ops.Normalization(1e-5), (*norm.operands[:2], *norm.operands[1:4]))
    assert max(error.relative for error in _errors(graph, captured)) > 1.0


def _errors(graph, captured):
    return operation_errors(graph, captured, check_frames(torch.rand(1, 1, 4, 4)))


@pytest.mark.parametrize("op", [ops.Arithmetic("add"), ops.Arithmetic("sub")])
def test_rounding_of_a_sum_is_a_share_of_its_terms(op):
    found = rounding_of(op, [np.array([-1e6, 1.0]), np.array([1e6, 0.0])])
    assert found.tolist() == [2e6 * ROUNDING, ROUNDING]


def test_what_adds_nothing_up_has_no_rounding():
    assert rounding_of(ops.Sigmoid(), [np.ones(3)]) == 0.0
    assert not np.any(rounding_of(ops.Arithmetic("mul"), [np.ones(3), np.ones(3)]))


def test_large_frames_are_compared_in_the_precision_of_pytorch():
    example = torch.rand(1, 3, 224, 224)
    captured = capture(nn.Sequential(nn.Hardtanh(), nn.Conv2d(3, 2, 3, stride=8)), example)
    graph = import_capture(captured)
    frames = check_frames(example)[[0, 3]]
    assert max(error.relative for error in operation_errors(graph, captured, frames)) < 1e-5
    graph.replace("hardtanh", ops.Relu())
    errors = {error.name: error.relative for error in operation_errors(graph, captured, frames)}
    assert errors["hardtanh"] > 0.1 and errors["conv2d"] < 1e-5
