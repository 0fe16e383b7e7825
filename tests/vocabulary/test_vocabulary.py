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
    check_count(name, result)
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


def check_count(name: str, result: r2b.Result) -> None:
    """The model's BOPS are the Program's, and however a sign is written, it costs the same."""
    operations = result.operations
    assert operations is not None
    assert operations.bops == result.report["ops"]["binary"] > 0
    if name.startswith(("sign:", "estimator:")) and name != "estimator: of a weight":
        # stem, batch norm, sum, mean, head; the binary layer
        flops = 162 * 100 + 2 * 600 + 2 * 600 + 600 + 24
        assert (operations.bops, operations.flops) == (54 * 600, flops)


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
    assert result.operations is not None
    assert result.operations.bops == 0


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


def test_a_steep_slope_with_values_inside_is_refused_by_name():
    class Tiny(ENTRIES["sign: clamp of a steep slope"]):
        def prepare(self):
            with torch.no_grad():
                self.norm.weight.mul_(1e-6)

    module, frames = made(Tiny)
    with pytest.raises(r2b.UserError, match="values lie within the slope"):
        r2b.compile(module, real(frames), target="numpy", calibration=frames, sign_zero=1)


def test_binarize_weights_leaves_the_classifier_real():
    class SignedHead(ENTRIES["scale: per channel, behind"]):
        def prepare(self):
            super().prepare()
            self.head = nn.Linear(600, 4)

        def weight(self):
            return self.real

        def forward(self, frames):
            x = self.norm(self.stem(frames))
            return self.head(self.sign(self.after(self.convolve(x), x)).flatten(1))

    module, frames = made(SignedHead)
    options = {"target": "numpy", "calibration": frames}
    plain = r2b.compile(module, real(frames), **options)
    assert len(plain.notes) == 1 and "--binarize-weights" in plain.notes[0]
    chosen = r2b.compile(module, real(frames), binarize_weights="sign", **options)
    kinds = [type(node.op).__name__ for node in chosen.graph.nodes()]
    assert kinds.count("BinaryConv2d") == 1 and "BinaryLinear" not in kinds
    assert chosen.notes == ()


def test_mean_and_deviation_may_be_lists_and_tensors():
    module, frames = made(ENTRIES["weight: constant scale"])
    options = {"target": "numpy", "calibration": frames}
    wanted = r2b.compile(module, real(frames), mean=(0.1, 0.2, 0.3), **options).program
    for mean in ([0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3])):
        found = r2b.compile(module, real(frames), mean=mean, **options).program
        assert found.preprocessing == wanted.preprocessing
    with pytest.raises(r2b.UserError, match="mean must be a number"):
        r2b.compile(module, real(frames), mean={"r": 1}, **options)
