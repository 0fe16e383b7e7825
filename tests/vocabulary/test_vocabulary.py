"""Every way of writing a binary network that r2b promises to take, from PyTorch to the Program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import r2b
from r2b.frontend.capture import capture
from r2b.frontend.check import TOLERANCE, operation_errors
from r2b.frontend.importer import import_module
from r2b.ir.explain import explain
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import BinaryConv
from tests.vocabulary.impostors import IMPOSTORS
from tests.vocabulary.networks import ENTRIES, SHAPE


def made(network: type[nn.Module]) -> tuple[nn.Module, np.ndarray]:
    """Give a seeded network whose batch norms saw the frames, and those frames."""
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, (24, *SHAPE), dtype=np.uint8)
    module = network()
    for _ in range(20):
        with torch.no_grad():
            module.train()(torch.from_numpy(frames).float() / 255)
    return module.eval(), frames


def real(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).float() / 255


@pytest.mark.parametrize("name", ENTRIES)
def test_recognised_equal_and_compiled(name):
    module, frames = made(ENTRIES[name])
    result = r2b.compile(module, real(frames), target="numpy", calibration=frames, sign_zero=1)
    binary = [s for s in result.program.stages if isinstance(s.contraction, BinaryConv)]
    assert len(binary) == 1
    captured = capture(module, real(frames))
    errors = operation_errors(result.graph, captured, real(frames))
    assert max(error.relative for error in errors) <= TOLERANCE
    with torch.no_grad():
        expected = module(real(frames)).numpy()
    logits = result.reference(frames) * result.program.logit_scale
    for stage in result.calibration.stages:  # each fed with the float network's own input
        assert stage.sqnr_db is None or stage.sqnr_db > 30, stage
        assert stage.equal_signs is None or stage.equal_signs > 0.98, stage
    # a log-softmax is left out: it takes one number from all logits of a frame
    expected, found = (part - part.mean(1, keepdims=True) for part in (expected, logits))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", IMPOSTORS)
def test_what_only_looks_binary_stays_real_and_the_reason_is_told(name):
    network, reason = IMPOSTORS[name]
    module, frames = made(network)
    graph = import_module(module, real(frames))
    canonical = canonicalize(graph)
    layers = explain(graph, canonical)
    assert "binary" not in [layer.form for layer in layers]
    because = " ".join(f"{layer.because} {layer.offer}" for layer in layers)
    assert reason in because
    result = r2b.compile(module, real(frames), target="numpy", calibration=frames)
    assert not any(isinstance(s.contraction, BinaryConv) for s in result.program.stages)


def test_a_quotient_with_an_epsilon_is_refused_by_name():
    class Epsilon(ENTRIES["sign: x/|x|"]):
        def sign(self, x):
            return x / (x.abs() + 1e-3)

    module, frames = made(Epsilon)
    with pytest.raises(r2b.UserError, match="div"):
        canonicalize(import_module(module, real(frames)))


def test_a_weight_that_changes_on_every_run_is_refused():
    class Restless(ENTRIES["weight: learned scale"]):
        def weight(self):
            with torch.no_grad():
                self.alpha += 0.1
            return super().weight()

    module, frames = made(Restless)
    with pytest.raises(r2b.UserError, match="alpha"):
        import_module(module, real(frames))
