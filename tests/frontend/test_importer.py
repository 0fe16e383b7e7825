import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from r2b.frontend.capture import capture
from r2b.frontend.check import TOLERANCE, check_frames, operation_errors
from r2b.frontend.handlers import HANDLERS, handles
from r2b.frontend.importer import import_capture, import_module
from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError, UserError
from r2b.ir.graph import Graph
from r2b.ir.interpreter import run
from r2b.ir.passes.canonicalize import DEFAULT_PASSES, canonicalize
from r2b.ir.passes.infrastructure import Pipeline
from r2b.ir.text import print_graph
from r2b.train.zoo import build

_EXAMPLE = torch.rand((1, 4, 8, 8), generator=torch.Generator().manual_seed(3))


class _Apply(nn.Module):
    """A module from a function, with four channels of everything a function may want."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.flags = nn.Parameter(torch.randn(4))
        self.norm = nn.BatchNorm2d(4)
        self.fc1 = nn.Linear(4, 2)
        self.fc2 = nn.Linear(2, 4)
        self.conv1 = nn.Conv2d(4, 2, 1)
        self.conv2 = nn.Conv2d(2, 4, 1)

    def forward(self, x):
        return self.function(self, x)


def _check(module: nn.Module, example: torch.Tensor = _EXAMPLE) -> Graph:
    """Import, canonicalise, and compare every operation before and after with PyTorch."""
    graph = canonicalize(import_module(module, example))
    captured = capture(module, example)
    errors = operation_errors(graph, captured, check_frames(example))
    assert errors
    assert all(error.relative <= TOLERANCE for error in errors)
    return graph


def _kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes()]


# ------------------------------------------------------------------------------------- operations

_OPERATIONS = {
    "relu in place": (lambda m, x: functional.relu(m.norm(x), inplace=True), ["BatchNorm", "Relu"]),
    "leaky relu": (lambda m, x: functional.leaky_relu(x, 0.2), ["PRelu"]),
    "hardtanh": (lambda m, x: functional.hardtanh(x), ["Hardtanh"]),
    "relu6": (lambda m, x: functional.relu6(x), ["Hardtanh"]),
    "clamp": (lambda m, x: x.clamp(min=0), ["Relu"]),
    "max pool": (lambda m, x: functional.max_pool2d(x, 3, 2, 1), ["MaxPool2d"]),
    "max pool, ceil": (lambda m, x: functional.max_pool2d(x, 3, 2, 0, 1, True), ["MaxPool2d"]),
    "avg pool": (lambda m, x: functional.avg_pool2d(x, 3, 2, 1, False, False), ["AvgPool2d"]),
    "avg pool, ceil": (lambda m, x: functional.avg_pool2d(x, 3, 2, 0, True, False), ["AvgPool2d"]),
    "conv, same": (lambda m, x: functional.conv2d(x, m.weight, padding="same"), ["Conv2d"]),
    "conv, flags": (lambda m, x: functional.conv2d(x, m.weight, m.flags, (2, 1), 1), ["Conv2d"]),
    "depthwise": (
        lambda m, x: functional.conv2d(x, m.weight[:, :1], padding=1, groups=4),
        ["Conv2d"],
    ),
    "threshold": (lambda m, x: x + m.flags.view(1, -1, 1, 1), ["BatchNorm"]),
    "normalised input": (lambda m, x: (x - 0.5) / 0.25, ["BatchNorm"]),
    "skip": (lambda m, x: torch.add(x, m.norm(x), alpha=2), ["BatchNorm", "Add"]),
    "dropout": (lambda m, x: functional.dropout(m.norm(x), 0.5, m.training), ["BatchNorm"]),
    "contiguous": (lambda m, x: m.norm(x).contiguous().clone(), ["BatchNorm"]),
    "mean": (lambda m, x: x.mean((-1, -2)), ["GlobalAvgPool", "Flatten"]),
    "flat mean": (lambda m, x: x.flatten(2).mean(-1), ["GlobalAvgPool", "Flatten"]),
    "view": (lambda m, x: x.view(x.size(0), -1), ["Flatten"]),
    "reshape": (lambda m, x: x.reshape(x.shape[0], 4 * 8 * 8), ["Flatten"]),
}


@pytest.mark.parametrize("name", _OPERATIONS)
def test_operation(name):
    function, wanted = _OPERATIONS[name]
    assert _kinds(_check(_Apply(function))) == ["Input", *wanted, "Output"]


def test_parameter_only_operations_without_a_handler_are_computed():
    def flipped(m, x):
        weight = m.weight.flip(0).transpose(0, 1).contiguous()
        return functional.conv2d(x, weight)

    graph = _check(_Apply(flipped))
    assert _kinds(graph) == ["Input", "Conv2d", "Output"]


def test_several_outputs():
    graph = _check(_Apply(lambda m, x: (m.norm(x), x.relu())))
    assert [node.name for node in graph.outputs] == ["output", "output_1"]


# ------------------------------------------------------------------------------------------ signs


class _SignFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return grad_outputs[0]


def _polynomial(x):
    """The soft sign of Bi-Real Net, as masks."""
    low, middle, high = x < -1, x < 0, x < 1
    first = (-1) * low.type(torch.float32) + (x * x + 2 * x) * (1 - low.type(torch.float32))
    second = first * middle.type(torch.float32)
    second = second + (-x * x + 2 * x) * (1 - middle.type(torch.float32))
    return second * high.type(torch.float32) + 1 * (1 - high.type(torch.float32))


def _bireal(x):
    soft = _polynomial(x)
    return torch.sign(x).detach() - soft.detach() + soft


_SIGNS = {
    "autograd function": (_SignFunction.apply, 1),
    "torch.sign": (torch.sign, 0),
    "where": (lambda x: torch.where(x > 0, 1.0, -1.0), -1),
    "where of tensors": (lambda x: torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x)), 1),
    "twice a comparison less one": (lambda x: 2 * (x > 0).float() - 1, -1),
    "comparison times two": (lambda x: (x >= 0).to(x.dtype) * 2 - 1, 1),
    "comparison minus a half": (lambda x: ((x >= 0).float() - 0.5) * 2, 1),
    "minus the other side": (lambda x: 1 - 2 * (x < 0).float(), 1),
    "clamp estimator": (
        lambda x: torch.sign(x).detach() - x.clamp(-1, 1).detach() + x.clamp(-1, 1),
        0,
    ),
    "identity estimator": (lambda x: x + (_SignFunction.apply(x) - x).detach(), 1),
    "tanh estimator": (
        lambda x: (2 * (x >= 0).float() - 1).detach() + torch.tanh(x) - torch.tanh(x).detach(),
        1,
    ),
    "polynomial estimator": (_bireal, 0),
}


@pytest.mark.parametrize("name", _SIGNS)
def test_signs_of_values(name):
    sign, zero = _SIGNS[name]
    graph = _check(_Apply(lambda m, x: sign(m.norm(x) - 0.4)))
    assert _kinds(graph) == ["Input", "BatchNorm", "Sign", "Output"]
    assert [node.op.zero for node in graph.nodes() if isinstance(node.op, ops.Sign)] == [zero]


@pytest.mark.parametrize("name", _SIGNS)
def test_signs_of_weights(name):
    sign, _ = _SIGNS[name]

    def binary(m, x):
        return functional.conv2d(_SignFunction.apply(m.norm(x)), sign(m.weight), padding=1)

    module = _Apply(binary)
    graph = _check(module)
    assert _kinds(graph) == ["Input", "BatchNorm", "Sign", "BinaryConv2d", "Output"]
    conv = next(node.op for node in graph.nodes() if isinstance(node.op, ops.BinaryConv2d))
    assert np.array_equal(conv.weight, np.sign(module.weight.detach().numpy()))
    assert conv.scale.tolist() == [1.0] * 4


_SCALES = {
    "mean": lambda m: m.weight.abs().mean(dim=(1, 2, 3), keepdim=True) * torch.sign(m.weight),
    "learned": lambda m: m.flags.view(-1, 1, 1, 1) * _SignFunction.apply(m.weight),
    "constant": lambda m: 0.37 * torch.sign(m.weight),
    "nested means": lambda m: (
        m.weight.abs().mean(3, True).mean(2, True).mean(1, True).detach() * m.weight.sign()
    ),
    "centred": lambda m: torch.sign(m.weight - m.weight.mean((1, 2, 3), keepdim=True)),
    "estimator": lambda m: (
        (0.1 * m.weight.sign()).detach() - m.weight.clamp(-1, 1).detach() + m.weight.clamp(-1, 1)
    ),
}


@pytest.mark.parametrize("name", _SCALES)
def test_scales_of_weights(name):
    def binary(m, x):
        return functional.conv2d(_SignFunction.apply(x - 0.5), _SCALES[name](m))

    module = _Apply(binary)
    conv = next(n.op for n in _check(module).nodes() if isinstance(n.op, ops.BinaryConv2d))
    expected = _SCALES[name](module).detach().numpy()
    # an estimator adds its drift in PyTorch, not here
    found = conv.weight * conv.scale[:, None, None, None]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_scale_and_bias_behind_the_convolution():
    def binary(m, x):
        y = functional.conv2d(_SignFunction.apply(x - 0.5), m.weight.sign(), m.flags)
        return functional.conv2d(_SignFunction.apply(y), m.weight.sign()) * m.flags.view(-1, 1, 1)

    graph = _check(_Apply(binary))
    assert _kinds(graph)[2:] == [
        "Sign",
        "BinaryConv2d",
        "BatchNorm",
        "Sign",
        "BinaryConv2d",
        "Output",
    ]


_LOOKS_BINARY = {
    "real weight": lambda m, x: functional.conv2d(torch.sign(x - 0.5), m.weight),
    "real input": lambda m, x: functional.conv2d(x, torch.sign(m.weight)),
    "steep clamp": lambda m, x: functional.conv2d((x * 50).clamp(-1, 1), torch.sign(m.weight)),
    "ternary": lambda m, x: functional.conv2d(
        torch.sign(x - 0.5), torch.sign(m.weight) * (m.weight.abs() > 0.1)
    ),
    "scale per tap": lambda m, x: functional.conv2d(
        torch.sign(x - 0.5), torch.sign(m.weight) * m.weight.abs().mean((0, 1))
    ),
    "zero and one": lambda m, x: functional.conv2d((x > 0.5).float(), torch.sign(m.weight)),
}


@pytest.mark.parametrize("name", _LOOKS_BINARY)
def test_a_convolution_that_only_looks_binary_stays_real(name):
    graph = Pipeline(DEFAULT_PASSES).run(import_module(_Apply(_LOOKS_BINARY[name]), _EXAMPLE)).graph
    assert "Conv2d" in _kinds(graph)
    assert "BinaryConv2d" not in _kinds(graph)


# ------------------------------------------------------------------------------------------ gates

_GATES = {
    "linear": lambda m, x: torch.sigmoid(m.fc2(torch.relu(m.fc1(x.mean((2, 3)))))).view(
        x.size(0), -1, 1, 1
    ),
    "none indices": lambda m, x: m.fc2(m.fc1(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None],
    "convolutions": lambda m, x: m.conv2(
        m.conv1(functional.adaptive_avg_pool2d(x, 1)).relu()
    ).sigmoid(),
    "expanded": lambda m, x: (
        m.fc2(m.fc1(functional.adaptive_avg_pool2d(x, 1).flatten(1)).relu())
        .sigmoid()
        .view(x.size(0), 4, 1, 1)
        .expand_as(x)
    ),
}


@pytest.mark.parametrize("name", _GATES)
def test_gates(name):
    graph = _check(_Apply(lambda m, x: x * _GATES[name](m, x)))
    assert _kinds(graph) == ["Input", "Gate", "Scale", "Output"]


# ------------------------------------------------------------------------------ whole, locations


def _network() -> nn.Module:
    torch.manual_seed(5)
    network = build("real-to-binary-digits", {})
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.normal_()
            part.bias.data.normal_()
    return network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return _network()


def test_the_digits_network(network):
    example = torch.rand(2, 1, 16, 16)
    kinds = _kinds(_check(network, example))
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts["BinaryConv2d"] == counts["Gate"] == counts["Scale"] == counts["Sign"] == 4
    assert counts["Conv2d"] == 2
    assert set(counts) <= {op.__name__ for op in ops.CANONICAL_OPS}


def test_the_digits_network_end_to_end(network):
    graph = canonicalize(import_module(network, torch.rand(2, 1, 16, 16)))
    frames = torch.rand((8, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(frames).numpy()
    found = run(graph, frames.numpy(), np.float32)["output"]
    close = np.isclose(found, expected, rtol=1e-4, atol=1e-4).all(axis=1)
    assert close.sum() >= 7  # a sign near 0 may fall the other way in one frame


def test_places_in_the_model(network):
    graph = import_module(network, torch.rand(1, 1, 16, 16))
    places = {node.name: node.location for node in graph.nodes()}
    assert places["conv2d"].module_path == "stem.conv"
    assert places["conv2d_1"].module_path == "body.group1.0.conv"
    assert re.fullmatch(r"(.*/)?(blocks|layers)\.py:\d+", places["conv2d_1"].source)
    assert not any(place.source.startswith("/") for place in places.values())


def test_the_text_is_stable(network):
    texts = {
        print_graph(canonicalize(import_module(network, torch.rand(n, 1, 16, 16))), locations=True)
        for n in (1, 3)
    }
    assert len(texts) == 1


def test_training_mode_is_left_as_it_was():
    module = _Apply(lambda m, x: m.norm(x)).train()
    module.fc1.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    import_module(module, _EXAMPLE)
    assert module.training
    assert module.norm.training
    assert not module.fc1.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


# --------------------------------------------------------------------------------------- refusals


class _Inner(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x).real


class _Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Inner()

    def forward(self, x):
        a = torch.cumsum(x, 1)
        b = self.inner(x)
        return a + b + x.roll(1, 2)


def test_everything_unsupported_is_listed_with_its_place():
    graph = import_module(_Unsupported(), _EXAMPLE)
    opaque = [node for node in graph.nodes() if isinstance(node.op, ops.Opaque)]
    assert [node.op.target for node in opaque][:2] == [
        "aten.cumsum.default",
        "aten.fft_fft2.default",
    ]
    assert opaque[1].location.module_path == "inner"
    assert opaque[-1].op.reason.startswith("elements are put in another order")
    with pytest.raises(UnsupportedOpError) as raised:
        canonicalize(graph)
    text = str(raised.value)
    for target in ("aten.cumsum.default", "aten.fft_fft2.default", "aten.roll.default"):
        assert target in text
    assert text.count("test_importer.py:") >= 3


def test_values_without_a_type_are_listed_with_what_has_no_word():
    def untyped(m, x):
        return x.view(-1, 8), torch.cumsum(x, 1), x.mean((0, 2))

    with pytest.raises(UnsupportedOpError) as raised:
        import_module(_Apply(untyped), _EXAMPLE)
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 operations of the model cannot be compiled:"
    place = r"at the model \(.*test_importer\.py:\d+\)"
    assert re.fullmatch(
        rf"  aten\.view\.default {place}: the first dimension of its result is not the number of "
        r"frames.*",
        lines[1],
    )
    assert lines[2].startswith("  aten.mean.dim at the model")
    assert re.fullmatch(
        rf"  aten\.cumsum\.default {place}: no operation of the Graph "
        r"stands for it, unless a straight-through estimator cancels it",
        lines[3],
    )
    assert lines[4].startswith("Supported: ")
    assert lines[5].startswith("Write these places with supported operations.")


_OPAQUE = [
    (lambda m, x: x[:, :, 1::2].mean((2, 3))[:, :3], "not N x C x H x W"),
    (lambda m, x: x.index_select(2, torch.tensor([1, 0])), "rows or columns put in another order"),
    (lambda m, x: torch.cat([x, torch.ones_like(x)], 1), "a constant that is not 0"),
    (lambda m, x: functional.pad(x, (0, 0, 0, 0, 1, 1), value=1.0), "channels with other than 0"),
    (lambda m, x: x.to(torch.float16), "a conversion to float16"),
    (lambda m, x: functional.max_pool2d(x, 2, dilation=2), "max pooling with a dilation"),
    (lambda m, x: x.unbind(1)[1], "a part of a tensor"),
    (lambda m, x: functional.layer_norm(x, (8, 8)), "a frame's own statistics"),
    (lambda m, x: functional.group_norm(x, 2), "a frame's own statistics"),
    (lambda m, x: functional.instance_norm(x), "a frame's own statistics"),
    (lambda m, x: functional.pixel_shuffle(x, 2), "another order"),
    (lambda m, x: functional.unfold(x, 3), "a convolution by unfolding"),
    (lambda m, x: functional.pad(x, (1, 1, 1, 1), mode="reflect"), "the border must be a constant"),
    (lambda m, x: functional.pad(x, (1, 1, 1, 1), mode="circular"), ""),
    (lambda m, x: x.transpose(1, 2).contiguous(), "dimensions of the frames change places"),
    (lambda m, x: torch.copysign(torch.ones_like(x), x), "torch.where(x >= 0"),
    (lambda m, x: x.floor(), ""),
    (lambda m, x: torch.erf(x), ""),
    (lambda m, x: x.int() & 1, "a conversion to int32"),
    (lambda m, x: functional.softmax(x, 1), "softmax over anything but the classes"),
    (lambda m, x: functional.gelu(x, approximate="tanh"), "tanh approximation"),
    (lambda m, x: functional.elu(x, 0.5), "an alpha that is not 1"),
    (lambda m, x: functional.conv2d(x, x.mean(0, keepdim=True).expand(4, -1, -1, -1)), None),
    (lambda m, x: functional.adaptive_avg_pool2d(x, 3), "not even"),
    (lambda m, x: torch.cat([x, x], 2), "concatenation along anything but the channels"),
    (lambda m, x: x.max(1)[0], "only one result"),
    (lambda m, x: x.flip(3), "another order"),
    (lambda m, x: x + torch.rand(8), None),
    (lambda m, x: functional.dropout(x, 0.5, True), None),
    (lambda m, x: functional.batch_norm(x, None, None, training=True), "statistics of a batch"),
]


@pytest.mark.parametrize(("function", "reason"), _OPAQUE)
def test_what_has_no_word_is_refused_with_the_reason(function, reason):
    if reason is None:  # told already when module and graph, or two runs, are compared
        with pytest.raises(UserError, match=r"at the model|differs from the first"):
            import_module(_Apply(function), _EXAMPLE)
        return
    graph = import_module(_Apply(function), _EXAMPLE)
    found = [node for node in graph.nodes() if isinstance(node.op, ops.Opaque)]
    assert any(reason in node.op.reason for node in found)
    assert all("test_importer.py:" in node.location.source for node in found)
    with pytest.raises(UnsupportedOpError, match=re.escape(found[0].op.target)):
        canonicalize(graph)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (np.zeros((1, 4, 8, 8)), "^the example input must be a torch.Tensor, not ndarray$"),
        (torch.zeros((1, 4, 8, 8), dtype=torch.uint8), "^the example input must be float32, not u"),
        (torch.zeros((1, 4, 8, 8), dtype=torch.float64), "must be float32, not float64: convert"),
        (torch.zeros((4, 8, 8)), r"N x C x H x W or vectors N x F, not of shape \(4, 8, 8\)$"),
        (torch.zeros((0, 4, 8, 8)), r"not of shape \(0, 4, 8, 8\)$"),
        (torch.full((1, 4, 8, 8), float("nan")), "holds NaN or infinity"),
        (torch.zeros((1, 3, 8, 8)), r"(?s)^the model does not take frames of 3 x 8 x 8: .*shape"),
    ],
)
def test_examples_that_do_not_fit(example, message):
    with pytest.raises(UserError, match=message):
        import_module(_Apply(lambda m, x: m.norm(x)), example)


def _branch(m, x):
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            _branch,
            r"^a branch on a value that depends on the frames, at the model \(.*\.py:\d",
        ),
        (lambda m, x: x * float(x.sum()), r"^float\(\) that depends on the frames, at the model"),
        (lambda m, x: x * x.sum().item(), r"^item\(\) that depends on the frames, at the model"),
        (lambda m, x: x + torch.from_numpy(x.numpy()), r"^numpy\(\) that depends on the frames"),
        (lambda m, x: x.view(2, -1), "the number of frames is fixed in the code of forward"),
        (lambda m, x: x.view(int(x.shape[0]), -1) if x.shape[0] == 2 else x, "decides a branch"),
    ],
)
def test_models_that_cannot_be_captured(function, message):
    with pytest.raises(UnsupportedOpError, match=message):
        import_module(_Apply(function), _EXAMPLE.expand(2, -1, -1, -1))


def test_a_state_that_changes_is_refused():
    def count(m, x):
        m.norm.running_mean.add_(1)
        return x + m.norm.running_mean.view(1, -1, 1, 1)

    with pytest.raises(UserError, match=r"changes norm\.running_mean while it runs, and"):
        import_module(_Apply(count), _EXAMPLE)


def test_a_wrong_handler_is_found_and_named(monkeypatch):
    monkeypatch.setitem(
        HANDLERS,
        torch.ops.aten.relu.default,
        lambda node: node.make(ops.Hardtanh(), node.tensor("self")),
    )
    with pytest.raises(UserError, match=r"^Hardtanh relu at the model .*differs from PyTorch by"):
        import_module(_Apply(lambda m, x: m.norm(x).relu()), _EXAMPLE)


def test_handles_registers_each_target():
    targets = [object(), object()]
    try:
        handles(*targets)(lambda node: "")
        assert all(target in HANDLERS for target in targets)
    finally:
        for target in targets:
            HANDLERS.pop(target, None)


def test_names_are_those_of_the_aten_graph():
    captured = capture(_Apply(lambda m, x: m.norm(x).relu()), _EXAMPLE)
    known = {node.name for node in captured.nodes}
    assert {node.name for node in import_capture(captured).nodes()} <= known


_PRINT = """
import torch
from r2b.frontend.importer import import_module
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.text import print_graph
from r2b.train.zoo import build

torch.manual_seed(0)
graph = import_module(build("real-to-binary-digits", {}), torch.rand(1, 1, 16, 16))
print(print_graph(graph), print_graph(canonicalize(graph), locations=True))
"""


def test_nothing_depends_on_the_hash_seed():
    texts = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "BinaryConv2d" in texts.pop()
