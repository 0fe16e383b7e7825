"""Every network of the gallery, narrow: from its author's file to NumPy code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from torch.export import ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from r2b.counting import CountOptions, count_network

GALLERY = Path(__file__).resolve().parents[2] / "examples" / "gallery"
NAMES = re.findall(r'^    Entry\(\n\s+"([^"]+)"', (GALLERY / "registry.py").read_text(), re.M)
FILES = sorted(set(GALLERY.glob("*.py")) - {GALLERY / "registry.py", GALLERY / "pictures.py"})
# one worker compiles a network once for all its tests
NETWORKS = [pytest.param(name, marks=pytest.mark.xdist_group(f"gallery {name}")) for name in NAMES]
FRAMES = 24


@pytest.fixture(scope="module")
def compiled(registry, pictures, checks, tmp_path_factory):
    """Name -> entry, network, Graph, frames; each made once."""
    made = {}

    def build(name):
        if name not in made:
            entry = next(entry for entry in registry.GALLERY if entry.name == name)
            folder = tmp_path_factory.mktemp("gallery")
            path = registry.store(entry, registry.make(entry, narrow=True), folder, narrow=True)
            states = entry.checkpoint in ("state_dict", "nested", "parallel")
            factory = entry.factory if states else None
            trust = entry.checkpoint == "pickle"
            network = checks.load_network(path, factory, entry.narrow, trust)
            frames = pictures(FRAMES, entry.narrow_shape, seed=3)
            graph, _ = checks.import_graph(network, frames[:4])
            made[name] = entry, network, graph, frames
        return made[name]

    return build


def test_the_list_is_whole(registry):
    assert [entry.name for entry in registry.GALLERY] == NAMES
    assert len(NAMES) >= 13
    assert {f"{entry.module}.py" for entry in registry.GALLERY} == {path.name for path in FILES}
    assert {entry.checkpoint for entry in registry.GALLERY} == set(registry.CHECKPOINTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_networks_are_users_code(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if _is_import(node)]
    names = {alias.name.partition(".")[0] for node in imports for alias in node.names}
    names |= {node.module.partition(".")[0] for node in imports if hasattr(node, "module")}
    assert "torch" in names and "r2b" not in names


def _is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_every_network_is_in_the_page():
    page = (GALLERY / "README.md").read_text()
    assert [name for name in NAMES if f"| {name} |" not in page] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_every_binary_layer_is_recognised(compiled, checks, name):
    entry, _, graph, _ = compiled(name)
    assert len(checks.binary_nodes(graph)) == entry.binary


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_is_counted(compiled, checks, name):
    """With a rule for each, as many multiply-accumulates as PyTorch's own counter finds."""
    entry, network, _, frames = compiled(name)
    found = count_network(network, entry.narrow_shape, CountOptions("macs"))
    layers = [layer for layer in found.layers if layer.op.startswith("binary ")]
    assert len(layers) == entry.binary
    module = network.module() if isinstance(network, ExportedProgram) else network
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.from_numpy(frames[:2]).float() / 255)
    # for two frames, and two operations for a multiply-accumulate
    assert 4 * sum(found.macs.values()) == counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_and_the_whole_are_pytorchs(compiled, checks, name):
    _, network, graph, frames = compiled(name)
    figures = checks.graph_figures(network, graph, frames[:4], 0.0)
    assert figures.operation_error <= 1e-4, figures.operation
    assert figures.relative <= 1e-4 or (figures.sign and figures.distance <= 1e-5), figures


@pytest.mark.parametrize("name", NETWORKS)
def test_numpy_code_equals_the_program(compiled, checks, name):
    entry, _, graph, frames = compiled(name)
    program, _, _ = checks.make_program(graph, frames, entry.sign_zero, name)
    assert checks.differing_values(program, frames[:4]) == 0


def test_a_wrong_program_is_noticed(compiled, checks, monkeypatch):
    entry, _, graph, frames = compiled("xnor-k")
    program, _, _ = checks.make_program(graph, frames, entry.sign_zero, "xnor-k")
    other, _, _ = checks.make_program(graph, frames // 2, entry.sign_zero, "xnor-k")
    monkeypatch.setattr(
        checks, "load_reference", lambda _program, load=checks.load_reference: load(other)
    )
    assert checks.differing_values(program, frames[:4]) > 0


def test_warm_network_is_not_taken_for_a_binary_one(registry, pictures, checks):
    """A temperature above the bound: the same code, but nothing in it is binary."""
    entry = next(entry for entry in registry.GALLERY if entry.name == "temperature-se")
    torch.manual_seed(0)
    network = registry.load_module(entry).build(**entry.narrow).eval()
    graph, _ = checks.import_graph(network, pictures(2, entry.narrow_shape))
    assert checks.binary_nodes(graph) == []


def test_rows_tell_what_is_wrong(table):
    row = {
        "name": "net", "binary": 3, "checkpoint": "pickle", "errors": {}, "recognised": 3,
        "operation_error": 1e-6, "operation": "Add at x", "frontend_seconds": 1.0,
        "signs_min": 0.5, "signs_mean": 0.75, "top1": 1.0, "reference": 0,
        "verilog": "missing", "verilog_text": "a: Pad", "relative": 1e-6, "sign": "",
        "distance": 0.0, "frames": 0,
    }  # fmt: skip
    assert table.is_right(row)
    assert table.remarks([row]) == ["net: Verilog: a: Pad"]
    changes = [
        {"recognised": 2}, {"operation_error": 2e-4}, {"reference": 1}, {"verilog": "differs"},
        {"errors": {"graph": "no"}}, {"relative": 1e-3},
        {"relative": 1.0, "sign": "sign at x", "distance": 1e-3},
    ]  # fmt: skip
    for change in changes:
        assert not table.is_right(row | change), change
    turned = row | {"relative": 1.0, "sign": "sign at x", "distance": 1e-7, "frames": 1}
    assert table.is_right(turned) and "sign at x" in table.remarks([turned])[0]
    assert table.markdown([row]).splitlines()[2].startswith("| net | pickle | 3/3 | 1.0e-06 |")


def test_failure_of_one_network_is_a_row(table, registry, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(table.checks, "import_graph", fail)
    row = table.run_entry(registry.GALLERY[1], table.Settings(narrow=True))
    assert set(row["errors"]) == {"graph", "program"}
    assert all("RuntimeError at" in text and "broken" in text for text in row["errors"].values())
    assert not table.is_right(row)
