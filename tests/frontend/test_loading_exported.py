"""Exported programs: the good ones load as PyTorch loads them; nothing in the bad ones is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from r2b.frontend.loading_exported import load_exported
from r2b.frontend.loading_program import program_shape
from r2b.ir.errors import CheckpointError

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Net(nn.Module):
    """A parameter, a buffer, a constant, a sign under no_grad, and a size that is computed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 36, 3)
        self.shift = torch.ones(3)

    def forward(self, x):
        with torch.no_grad():
            weight = torch.sign(self.conv.weight)
        y = self.norm(nn.functional.conv2d(torch.sign(x), weight))
        return self.head(y.view(y.shape[0], -1)) + self.shift


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def data(net):
    frames = {0: Dim("frames", min=1, max=1024)}
    program = export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=(frames,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in content.items():
            archive.writestr(f"archive/{name}", value)
    return buffer.getvalue()


@pytest.fixture
def changed(data):
    """Give the archive with one of its tables changed by a function."""

    def change(table, function):
        content = members(data)
        found = json.loads(content[table])
        function(found)
        return packed(content | {table: json.dumps(found).encode()})

    return change


class Marker:
    """Makes a folder when it is unpickled: the stand-in for hostile code."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def refused(data: bytes, text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_exported(data)
    assert text in str(caught.value)


# ------------------------------------------------------------------------------------- good files


@pytest.mark.parametrize("count", [1, 3])
def test_a_program_computes_what_the_module_does(data, net, count):
    program = load_exported(data)
    frames = torch.rand(count, 1, 8, 8) - 0.5
    assert torch.equal(program.module()(frames), net(frames))
    assert program_shape(program) == (1, 8, 8)


def test_module_paths_and_lines_are_kept(data):
    nodes = {node.name: node for node in load_exported(data).graph.nodes}
    assert "test_loading_exported.py" in nodes["batch_norm"].meta["stack_trace"]
    paths = [path for path, _ in nodes["batch_norm"].meta["nn_module_stack"].values()]
    assert paths[-1] == "norm"


def test_a_program_for_one_number_of_frames(net):
    buffer = io.BytesIO()
    torch.export.save(export(net, (torch.rand(1, 1, 8, 8),)), buffer)
    frames = torch.rand(1, 1, 8, 8)
    assert torch.equal(load_exported(buffer.getvalue()).module()(frames), net(frames))


def test_a_program_of_vectors():
    buffer = io.BytesIO()
    torch.export.save(export(nn.Linear(5, 2), (torch.rand(2, 5),)), buffer)
    assert program_shape(load_exported(buffer.getvalue())) == (5,)


def test_two_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    buffer = io.BytesIO()
    torch.export.save(export(Two(), (torch.rand(2, 5), torch.rand(2, 5))), buffer)
    refused(buffer.getvalue(), "takes 2 inputs; r2b compiles networks of one input")


# ---------------------------------------------------------------------------- payloads and pickles


def torch_runs(data: bytes) -> None:
    """Let PyTorch's own reader have the file; what it says does not matter here."""
    try:
        torch.export.load(io.BytesIO(data))
    except Exception as error:
        assert error is not None


def test_pickle_in_the_sample_inputs(data, tmp_path):
    payload = io.BytesIO()
    torch.save(Marker(tmp_path / "ran"), payload)
    hostile = packed(members(data) | {"data/sample_inputs/model.pt": payload.getvalue()})
    refused(hostile, "sample inputs that only running code could rebuild; nothing in it was run")
    assert not (tmp_path / "ran").exists()
    # the payload is one: without the check it would run
    torch_runs(hostile)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("table", "folder", "name", "path"),
    [
        (WEIGHTS, "data/weights", "conv.weight", "weight_0"),
        (CONSTANTS, "data/constants", "shift", "tensor_0"),
        (CONSTANTS, "data/constants", "shift", "opaque_obj_0"),
        (CONSTANTS, "data/constants", "shift", "custom_obj_0"),
    ],
)
def test_pickle_as_a_tensor(data, tmp_path, table, folder, name, path):
    payload = io.BytesIO()
    torch.save(Marker(tmp_path / "ran"), payload)
    plain = pickle.dumps(Marker(tmp_path / "ran"))
    content = members(data)
    config = json.loads(content[table])
    config["config"][name] |= {"use_pickle": True, "path_name": path}
    content |= {
        table: json.dumps(config).encode(),
        f"{folder}/{path}": plain if "opaque" in path else payload.getvalue(),
    }
    refused(packed(content), f"pickled objects ({name}), which only running code could rebuild")
    assert not (tmp_path / "ran").exists()


def test_pickle_in_the_format_before(data, tmp_path):
    payload = io.BytesIO()
    torch.save(Marker(tmp_path / "ran"), payload)
    content = {"version": b"8.8", "serialized_exported_program.json": b"{}"}
    content |= {f"serialized_{name}.pt": payload.getvalue() for name in ("state_dict", "constants")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    refused(buffer.getvalue(), "in a format that PyTorch has given up")
    assert not (tmp_path / "ran").exists()


def test_machine_code(data):
    content = members(data) | {"data/aotinductor/model/model.so": b"\x7fELF"}
    refused(packed(content), "machine code of AOTInductor; nothing in it was run")


def test_two_programs(data):
    content = members(data)
    refused(packed(content | {"models/other.json": content[MODEL]}), "2 programs where one is read")


# --------------------------------------------------------------------------- texts that become code


def sizes(table):
    return table["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]


def test_size_that_is_code(changed, tmp_path):
    code = f"__import__('os').mkdir({str(tmp_path / 'ran')!r})"
    hostile = changed(MODEL, lambda table: sizes(table).update(expr_str=code))
    refused(hostile, "as a size; nothing in it was run")
    assert not (tmp_path / "ran").exists()
    torch_runs(hostile)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["9**9**9**9", "Pow(9,9)", "s0.x", "s0[0]", "lambda: 0", "a" * 500]
)
def test_size_that_is_no_size(changed, text):
    refused(changed(MODEL, lambda table: sizes(table).update(expr_str=text)), "as a size")


def test_name_that_is_code(changed, tmp_path):
    name = f"x=__import__('os').mkdir({str(tmp_path / 'ran')!r})"

    def renamed(value):
        if isinstance(value, dict):
            return {renamed(key): renamed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [renamed(inner) for inner in value]
        return name if value == "x" else value

    def rename(table):
        table.update(renamed(table))

    hostile = changed(MODEL, rename)
    refused(hostile, "nothing in it was run")
    assert not (tmp_path / "ran").exists()
    torch_runs(hostile)
    assert (tmp_path / "ran").exists()


def test_tree_that_imports(changed, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    monkeypatch.syspath_prepend(tmp_path)
    context = json.dumps([{"__enum__": True, "fqn": "hostile:E", "name": "A"}])

    def spoil(table):
        entry = table["graph_module"]["module_call_graph"][0]["signature"]
        version, tree = json.loads(entry["in_spec"])
        tree = {"type": "builtins.dict", "context": context, "children_spec": []}
        entry["in_spec"] = json.dumps([version, tree])

    hostile = changed(MODEL, spoil)
    refused(hostile, "arguments whose names are no text")
    assert not (tmp_path / "ran").exists()
    torch_runs(hostile)
    assert (tmp_path / "ran").exists()
    sys.modules.pop("hostile", None)


def test_guards_are_left_out(changed, tmp_path):
    code = f"__import__('os').mkdir({str(tmp_path / 'ran')!r}) is None"
    hostile = changed(MODEL, lambda table: table.update(guards_code=[code]))
    load_exported(hostile).module()(torch.rand(2, 1, 8, 8))
    assert not (tmp_path / "ran").exists()


def test_history_of_nodes_is_left_out(changed):
    def add(table):
        for node in table["graph_module"]["graph"]["nodes"]:
            node["metadata"]["source_fn_stack"] = "a,torch.os.system"

    nodes = load_exported(changed(MODEL, add)).graph.nodes
    assert all("source_fn_stack" not in node.meta for node in nodes)


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.mylib.sign.default",
        "torch.ops.aten.sign",
        "_operator.methodcaller",
        "math.exp",
        "#extension:op",
    ],
)
def test_operations_that_are_not_pytorchs_own(changed, target):
    hostile = changed(
        MODEL, lambda table: table["graph_module"]["graph"]["nodes"][-1].update(target=target)
    )
    refused(hostile, f"operations that are not PyTorch's own or touch files ({target})")


def test_all_such_operations_are_named(changed):
    def spoil(table):
        nodes = table["graph_module"]["graph"]["nodes"]
        nodes[-1]["target"], nodes[-2]["target"] = "my.one", "my.two"

    refused(changed(MODEL, spoil), "(my.one, my.two)")


# ------------------------------------------------------------------------------- sizes and damages


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", [{"as_int": 10**11}]),
        ("sizes", [{"as_int": -1}]),
        ("storage_offset", {"as_int": 10**6}),
        ("strides", [{"as_int": 10**6}] * 4),
        ("dtype", 99),
        ("layout", 1),
        ("device", {"type": "cuda", "index": 0}),
    ],
)
def test_tensor_that_is_not_in_the_file(changed, key, value):
    def spoil(table):
        meta = table["config"]["conv.weight"]["tensor_meta"]
        meta[key] = value
        meta["strides"] = meta["strides"][: len(meta["sizes"])]

    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load_exported(changed(WEIGHTS, spoil))


def test_value_of_absurd_size(changed):
    def spoil(table):
        nodes = table["graph_module"]["graph"]["nodes"]
        node = next(node for node in nodes if node["target"] == "torch.ops.aten.add.Tensor")
        node["target"] = "torch.ops.aten.expand.default"
        shape = {"name": "size", "arg": {"as_ints": [1 << 20, 1 << 20, 1, 3]}, "kind": 1}
        node["inputs"] = [{**node["inputs"][1], "name": "self"}, shape]

    refused(changed(MODEL, spoil), "the exported program computes 3,298,534,883,328 values in add")


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, CONSTANTS, "archive_format", "archive_version"])
def test_missing_member(data, name):
    content = members(data)
    del content[name]
    with pytest.raises(CheckpointError, match="export the model again"):
        load_exported(packed(content))


def test_weights_that_do_not_fit_the_program(changed):
    def spoil(table):
        meta = table["config"]["head.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 2}, {"as_int": 144}]

    refused(changed(WEIGHTS, spoil), "the exported program does not fit itself")
