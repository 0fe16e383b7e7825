"""Programs that somebody else exported: any batch, nested graphs, decomposed, training mode."""

import io

import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torch.nn import functional

from r2b.frontend.exported import capture_program
from r2b.frontend.importer import import_exported, import_module
from r2b.ir import ops
from r2b.ir.errors import UnsupportedOpError, UserError
from r2b.ir.passes.canonicalize import canonicalize


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.stem(x))
        with torch.no_grad():
            weight = self.weight.sign()
        y = torch.where(x >= 0, 1.0, -1.0)
        y = functional.relu(x + functional.conv2d(y, weight, padding=1), inplace=True)
        y = functional.max_pool2d(y, 2)
        return functional.log_softmax(self.head(self.drop(y.mean((2, 3)))), 1)


# torch's own copying of pytrees, in run_decompositions
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

_ANY = ({0: Dim("n", min=1, max=64)},)
_FRAMES = torch.rand(2, 3, 8, 8)


def _export(module: nn.Module, frames: torch.Tensor, dynamic=None, decomposed: bool = False):
    program = export(module, (frames,), dynamic_shapes=dynamic, strict=False)
    return program.run_decompositions() if decomposed else program


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    ("batch", "dynamic"), [(1, None), (2, None), (3, None), (2, _ANY)], ids=str
)
def test_every_batch_gives_the_same_network(batch, dynamic, decomposed):
    program = _export(_Network().eval(), torch.rand(batch, 3, 8, 8), dynamic, decomposed)
    before = str(program.graph)
    graph = canonicalize(import_exported(program))
    expected = canonicalize(import_module(_Network(), _FRAMES))
    kinds = [type(node.op).__name__ for node in graph.nodes()]
    assert kinds == [type(node.op).__name__ for node in expected.nodes()]
    assert "BinaryConv2d" in kinds
    assert graph.inputs[0].type == expected.inputs[0].type
    assert str(program.graph) == before  # the caller's program is left alone


def test_a_saved_program_keeps_the_places_of_the_model():
    buffer = io.BytesIO()
    torch.export.save(_export(_Network().eval(), _FRAMES, _ANY), buffer)
    buffer.seek(0)
    graph = import_exported(torch.export.load(buffer))
    places = {node.name: node.location for node in graph.nodes()}
    assert places["conv2d"].module_path == "stem"
    assert "test_exported.py:" in places["conv2d"].source


class _Nested(nn.Module):
    """Blocks that export wraps into graphs of their own, one inside another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        with torch.no_grad():
            a = self.linear(x)
            with torch.enable_grad():
                b = a.relu()
            with torch.autocast("cpu", enabled=False):
                c = b * 2
        return a + c


@pytest.mark.parametrize("dynamic", [None, _ANY], ids=str)
def test_nested_graphs_are_inlined(dynamic):
    program = _export(_Nested().eval(), torch.rand(2, 6), dynamic)
    assert "wrap_with" in str(program.graph)
    captured = capture_program(program)
    assert "wrap_with" not in str(captured.program.graph)
    kinds = {type(node.op) for node in import_exported(program).nodes()}
    assert {ops.Dense, ops.Relu} <= kinds


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    ],
)
@pytest.mark.parametrize("decomposed", [False, True])
def test_training_mode_is_refused(module, decomposed):
    program = _export(module.train(), _FRAMES, None, decomposed)
    with pytest.raises(
        UnsupportedOpError, match=r"(?s)in training mode: .*Call model\.eval\(\) bef"
    ):
        import_exported(program)


class _Two(nn.Module):
    def forward(self, x, y):
        return x + y


def test_programs_that_do_not_take_frames_are_refused():
    with pytest.raises(UserError, match="takes 2 inputs: export a model that takes the frames"):
        import_exported(export(_Two(), (_FRAMES, _FRAMES)))
    with pytest.raises(UserError, match="not float64 of 4 dimensions"):
        import_exported(export(nn.ReLU(), (_FRAMES.double(),)))
    with pytest.raises(UserError, match="not float32 of 3 dimensions"):
        import_exported(export(nn.ReLU(), (_FRAMES[0],)))
    sizes = ({0: Dim("n"), 2: Dim("h"), 3: Dim("w")},)
    with pytest.raises(UserError, match="takes images of any size"):
        import_exported(export(nn.ReLU(), (_FRAMES,), dynamic_shapes=sizes))


class _Mixes(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


def test_frames_that_are_mixed_are_refused_at_any_batch():
    for batch, dynamic in ((2, None), (2, _ANY)):
        program = export(_Mixes(), (torch.rand(batch, 6),), dynamic_shapes=dynamic)
        with pytest.raises(UnsupportedOpError, match=r"aten\.mean\.dim"):
            import_exported(program)
