"""Each group of ATen operations: its word in the Graph, compared with PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from r2b.frontend.capture import capture
from r2b.frontend.check import TOLERANCE, check_frames, operation_errors
from r2b.frontend.handlers import HANDLER_MODULES, HANDLERS, REASONS
from r2b.frontend.importer import import_capture, import_module
from r2b.ir import ops
from r2b.ir.graph import Graph

_IMAGE = torch.rand((2, 4, 8, 8), generator=torch.Generator().manual_seed(3)) - 0.5
_VECTOR = torch.rand((2, 6), generator=torch.Generator().manual_seed(4)) - 0.5


class _Apply(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.kernel = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.matrix = nn.Parameter(torch.randn(6, 6))
        self.wide = nn.Parameter(torch.randn(6, 5))
        self.slopes = nn.Parameter(torch.rand(4))
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.norm1 = nn.BatchNorm1d(6)
        self.eval()

    def forward(self, x):
        return self.function(self, x)


def _raw(function, example: torch.Tensor) -> Graph:
    """Import, which compares every operation with PyTorch; nothing may be opaque."""
    module = _Apply(function)
    graph = import_module(module, example)
    assert not any(isinstance(node.op, ops.Opaque) for node in graph.nodes())
    errors = operation_errors(graph, capture(module, example), check_frames(example))
    assert errors
    assert all(error.relative <= TOLERANCE for error in errors)
    return graph


def _kinds(graph: Graph) -> set[str]:
    kinds = {type(node.op).__name__ for node in graph.nodes()}
    return kinds - {"Input", "Output", "Constant", "Identity"}


def _assigned(m, x):
    signs = torch.sign(x - 0.1)
    signs[signs == 0] = 1
    return x.masked_fill(signs < 0, -1.0)


_IMAGES = {
    "cat": (lambda m, x: torch.cat([x, x.relu(), x], 1), {"Concat", "Relu"}),
    "cat from the end": (lambda m, x: torch.cat((x, x), -3), {"Concat"}),
    "repeat": (lambda m, x: x.repeat(1, 2, 1, 1), {"Concat"}),
    "tile": (lambda m, x: x.tile((3, 1, 1)), {"Concat"}),
    "repeat once": (lambda m, x: x.repeat(1, 1, 1, 1).relu(), {"Relu"}),
    "pad": (lambda m, x: functional.pad(x, (1, 2, 0, 1)), {"Pad"}),
    "pad with -1": (lambda m, x: functional.pad(x, (1, 1, 1, 1), value=-1), {"Pad"}),
    "pad columns": (lambda m, x: functional.pad(x, (1, 1)), {"Pad"}),
    "pad channels": (lambda m, x: functional.pad(x, (0, 0, 0, 0, 1, 2)), {"Select"}),
    "pad all": (lambda m, x: functional.pad(x, (1, 0, 0, 1, 2, 0)), {"Pad", "Select"}),
    "cut channels by padding": (lambda m, x: functional.pad(x, (0, 0, 0, 0, -1, 2)), {"Select"}),
    "every other pixel": (lambda m, x: x[:, :, ::2, 1::2], {"Select"}),
    "crop": (lambda m, x: x[:, :, 1:-2, 2:5], {"Select"}),
    "some channels": (lambda m, x: x[:, 1:3], {"Select"}),
    "narrow": (lambda m, x: x.narrow(1, 1, 2), {"Select"}),
    "chosen channels": (lambda m, x: x.index_select(1, torch.tensor([3, 0, 3])), {"Select"}),
    "channel shuffle": (lambda m, x: functional.channel_shuffle(x, 2), {"Select"}),
    "split": (lambda m, x: x.split(3, 1)[1], {"Select"}),
    "split by sizes": (lambda m, x: sum(x.split([2, 2], 1)), {"Select", "Arithmetic"}),
    "chunk": (lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1), {"Select", "Concat"}),
    "cat with zeros": (
        lambda m, x: torch.cat([torch.zeros_like(x[:, :3]), x], 1),
        {"Select", "Concat"},
    ),
    "mask assigned in place": (_assigned, {"Compare", "Where", "Sign", "Arithmetic"}),
    "not": (lambda m, x: (~(x < 0)).float(), {"Compare", "ToFloat"}),
    "logical not": (
        lambda m, x: torch.logical_not(x.relu()).float(),
        {"Relu", "Compare", "ToFloat"},
    ),
    "and": (lambda m, x: ((x > 0) & (x < 0.2)).float(), {"Compare", "ToFloat", "Arithmetic"}),
    "or": (
        lambda m, x: torch.logical_or(x > 0.2, x < -0.2).float(),
        {"Compare", "ToFloat", "Arithmetic"},
    ),
    "xor": (lambda m, x: ((x > 0) ^ (x < 0.2)).float(), {"Compare", "ToFloat", "Arithmetic"}),
    "pad by nothing": (lambda m, x: functional.pad(x, (0, 0)).relu(), {"Relu"}),
    "pad module": (lambda m, x: nn.ZeroPad2d(2)(x), {"Pad"}),
    "hardsigmoid": (lambda m, x: functional.hardsigmoid(x * 9), {"Arithmetic", "Activation"}),
    "hardswish": (lambda m, x: functional.hardswish(x), {"Activation"}),
    "silu": (lambda m, x: functional.silu(x), {"Activation"}),
    "elu": (lambda m, x: functional.elu(x), {"Activation"}),
    "softplus": (lambda m, x: functional.softplus(x), {"Activation"}),
    "gelu": (lambda m, x: functional.gelu(x), {"Activation"}),
    "tanh": (lambda m, x: x.tanh(), {"Unary"}),
    "sum": (lambda m, x: x.sum((2, 3)), {"Mean", "Arithmetic"}),
    "sum over channels": (lambda m, x: x.abs().sum(1, True), {"Unary", "Mean", "Arithmetic"}),
    "global max": (lambda m, x: functional.adaptive_max_pool2d(x, 1), {"MaxPool2d"}),
    "adaptive max": (lambda m, x: functional.adaptive_max_pool2d(x, (4, 2)), {"MaxPool2d"}),
    "amax": (lambda m, x: x.amax((2, 3)), {"MaxPool2d", "Reshape"}),
    "amax, kept": (lambda m, x: x.amax((-1, -2), keepdim=True), {"MaxPool2d"}),
    "max pool with a rest": (lambda m, x: functional.max_pool2d(x, 3, 3), {"MaxPool2d"}),
    "average with a rest": (lambda m, x: functional.avg_pool2d(x, 3, 3, 1), {"AvgPool2d"}),
    "own divisor": (
        lambda m, x: functional.avg_pool2d(x, 2, divisor_override=3),
        {"AvgPool2d", "Arithmetic"},
    ),
    "even ceil": (
        lambda m, x: functional.avg_pool2d(x, 2, 2, 0, True),
        {"AvgPool2d"},
    ),
    "square": (lambda m, x: x.square(), {"Arithmetic"}),
    "power of a tensor": (
        lambda m, x: x.abs() ** m.slopes.view(4, 1, 1),
        {"Unary", "Arithmetic", "Reshape"},
    ),
    "clamp by tensors": (
        lambda m, x: x.clamp(-m.slopes.view(-1, 1, 1), m.slopes.view(-1, 1, 1)),
        {"Arithmetic", "Unary", "Reshape"},
    ),
    "clamp min": (lambda m, x: x.clamp_min(0), {"Relu"}),
    "clamp max": (lambda m, x: x.clamp_max(0.1), {"Hardtanh"}),
    "masked fill": (
        lambda m, x: x.masked_fill(x < 0, -1.0),
        {"Compare", "Where"},
    ),
    "mask assigned": (lambda m, x: torch.where(x < 0, -1.0, x), {"Compare", "Where"}),
    "sgn": (lambda m, x: x.sgn(), {"Sign"}),
    "heaviside": (
        lambda m, x: torch.heaviside(x, torch.tensor(1.0)) * 2 - 1,
        {"Compare", "ToFloat", "Where", "Arithmetic"},
    ),
    "subtraction with alpha": (
        lambda m, x: torch.sub(x.relu(), x, alpha=3),
        {"Relu", "Arithmetic"},
    ),
    "reversed": (lambda m, x: 1 - x, {"Arithmetic"}),
    "relu6": (lambda m, x: functional.relu6(x * 20), {"Arithmetic", "Hardtanh"}),
    "rrelu": (lambda m, x: functional.rrelu(x, 0.1, 0.3), {"ParametricRelu"}),
    "threshold": (lambda m, x: functional.threshold(x, 0.1, -0.2), {"Compare", "Where"}),
    "threshold as relu": (lambda m, x: functional.threshold(x, 0, 0), {"Relu"}),
    "prelu": (lambda m, x: functional.prelu(x, m.slopes), {"ParametricRelu"}),
    "prelu of one": (lambda m, x: functional.prelu(x, m.slopes[:1]), {"ParametricRelu"}),
    "batch norm, not affine": (lambda m, x: m.norm(x), {"Normalization"}),
    "dropouts": (
        lambda m, x: functional.dropout2d(
            functional.alpha_dropout(x, 0.5, m.training), 0.5, m.training
        ).relu(),
        {"Relu"},
    ),
    "normalised weight": (
        lambda m, x: functional.conv2d(x, functional.normalize(m.kernel, dim=1)),
        {"Convolution", "Arithmetic", "Expand", "Hardtanh"},
    ),
    "flat weight": (
        lambda m, x: functional.conv2d(x, m.kernel.reshape(-1).view(4, 4, 3, 3)),
        {"Convolution", "Reshape"},
    ),
    "permuted weight": (
        lambda m, x: functional.conv2d(x, m.kernel.permute(1, 0, 3, 2)),
        {"Convolution"},
    ),
    "part of a weight": (
        lambda m, x: functional.conv2d(x, m.kernel.chunk(2)[1].sign()),
        {"Convolution", "Sign"},
    ),
    "one pixel": (
        lambda m, x: x.mean((2, 3), keepdim=True)[:, :, 0, 0],
        {"Mean", "Reshape"},
    ),
    "moved pixel": (
        lambda m, x: x.mean((2, 3), keepdim=True).permute(0, 2, 3, 1).relu(),
        {"Mean", "Reshape", "Relu"},
    ),
    "truth to integer": (
        lambda m, x: (2 * (x >= 0).int() - 1).float(),
        {"Compare", "ToFloat", "Arithmetic"},
    ),
    "half of a truth": (lambda m, x: (x >= 0).half().float(), {"Compare", "ToFloat"}),
    "double": (lambda m, x: x.double().relu().float(), {"Relu", "ToFloat"}),
    "ones of the frames' number": (
        lambda m, x: x + torch.ones(x.size(0), 4, 1, 1),
        {"Arithmetic"},
    ),
    "parameter for every frame": (
        lambda m, x: x * m.slopes.view(1, -1, 1, 1).expand(x.size(0), -1, 8, 8),
        {"Arithmetic", "Reshape", "Expand"},
    ),
    "bias in place": (
        lambda m, x: x.clone().add_(m.slopes.view(1, -1, 1, 1).expand_as(x)),
        {"Arithmetic", "Reshape", "Expand"},
    ),
}

_VECTORS = {
    "matmul": (lambda m, x: x @ m.matrix.t(), {"Dense"}),
    "matmul of a parameter": (lambda m, x: torch.matmul(x, m.wide), {"Dense"}),
    "matmul of signs": (lambda m, x: x @ m.wide.sign(), {"Dense", "Sign"}),
    "transposed signs": (lambda m, x: x @ m.matrix.sign().t(), {"Dense", "Sign"}),
    "signs of the transposed": (
        lambda m, x: x @ m.matrix.transpose(0, 1).sign(),
        {"Dense", "Sign"},
    ),
    "mm": (lambda m, x: torch.mm(x, m.matrix.T), {"Dense"}),
    "addmm": (lambda m, x: torch.addmm(m.matrix[0], x, m.matrix), {"Dense"}),
    "addmm of a row": (
        lambda m, x: torch.addmm(m.matrix[:1], x, m.matrix),
        {"Dense", "Arithmetic"},
    ),
    "einsum": (lambda m, x: torch.einsum("bi,oi->bo", x, m.matrix), {"Dense"}),
    "einsum, transposed": (lambda m, x: torch.einsum("bi,io->bo", x, m.wide), {"Dense"}),
    "batch norm": (lambda m, x: m.norm1(x), {"Normalization"}),
    "softmax": (lambda m, x: functional.softmax(x, dim=1), {"Softmax"}),
    "log softmax": (lambda m, x: functional.log_softmax(x, -1), {"Softmax"}),
    "cat": (lambda m, x: torch.cat([x, x], dim=-1), {"Concat"}),
}


@pytest.mark.parametrize("name", _IMAGES)
def test_operations_on_images(name):
    function, wanted = _IMAGES[name]
    assert _kinds(_raw(function, _IMAGE)) <= wanted
    assert _kinds(_raw(function, _IMAGE))


@pytest.mark.parametrize("name", _VECTORS)
def test_operations_on_vectors(name):
    function, wanted = _VECTORS[name]
    assert _kinds(_raw(function, _VECTOR)) == wanted


def test_an_estimator_in_a_transposed_weight_is_still_an_expression():
    """Its drift would hide the two values if only the numbers were kept."""

    def estimated(m, x):
        weight = m.wide.sign().detach() - m.wide.detach() + m.wide
        return x @ weight

    graph = _raw(estimated, _VECTOR)
    (dense,) = [node for node in graph.nodes() if isinstance(node.op, ops.Dense)]
    weight = graph[dense.operands[1]]
    assert isinstance(weight.op, ops.Arithmetic)
    assert weight.type.shape == (5, 6)
    assert any(isinstance(node.op, ops.Sign) for node in graph.nodes())


def test_a_parameter_repeated_for_every_frame_is_not_one_frame():
    def repeated(m, x):
        return x * m.slopes.view(1, -1, 1, 1).expand(x.size(0), -1, 8, 8)

    captured = capture(_Apply(repeated), _IMAGE)
    graph = import_capture(captured)
    frames = check_frames(_IMAGE)
    assert all(error.relative < 1e-6 for error in operation_errors(graph, captured, frames))


def test_every_handler_stands_in_one_of_the_modules():
    names = {module.__name__ for module in HANDLER_MODULES}
    assert {handler.__module__ for handler in HANDLERS.values()} <= names


def test_reasons_are_for_operations_that_exist():
    assert len(REASONS) > 30
    assert all(text and not text.endswith(".") for text in REASONS.values())
