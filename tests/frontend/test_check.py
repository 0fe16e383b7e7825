import numpy as np
import pytest
import torch
from torch import nn

from r2b.frontend.capture import capture
from r2b.frontend.check import check_frames, operation_errors, relative_error
from r2b.frontend.importer import import_capture
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
