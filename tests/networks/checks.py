"""What must hold of every random network."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from r2b.backends.cost.accounting import count
from r2b.backends.numpy import emit
from r2b.frontend.capture import capture
from r2b.frontend.check import TOLERANCE, operation_errors
from r2b.frontend.end_to_end import end_to_end
from r2b.frontend.importer import import_module
from r2b.ir.execute import execute
from r2b.ir.graph import Graph
from r2b.ir.ops import BinaryConv2d, BinaryLinear
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import Program
from r2b.ir.quantize import quantize
from r2b.ir.written import Written, as_written
from tests.networks import description as d
from tests.networks.modules import frames_of, make

NEAR_ZERO = 1e-5
"""Distance from 0, in deviations, within which rounding may turn a sign."""


def check_graph(network: d.Network) -> Graph:
    """PyTorch = Graph, operation by operation, and every binary layer is recognised as one."""
    module = make(network)
    frames = torch.from_numpy(frames_of(network)).float() / 255
    # compares what was captured with the module, and the raw Graph with what was captured
    raw = import_module(module, frames)
    graph = canonicalize(raw)
    check_count(network.binary, as_written(raw, graph), module, frames)
    captured = capture(module, frames)
    errors = operation_errors(graph, captured, frames)
    wrong = [error for error in errors if not error.relative <= TOLERANCE]
    assert not wrong, wrong
    whole = end_to_end(graph, captured, frames)
    assert whole.relative <= TOLERANCE or (whole.sign and whole.distance <= NEAR_ZERO), whole
    found = [node for node in graph.nodes() if isinstance(node.op, BinaryConv2d | BinaryLinear)]
    assert len(found) == network.binary, [node.name for node in found]
    return graph


def check_count(
    binary: int, network: Written, module: torch.nn.Module, frames: torch.Tensor
) -> None:
    """Every operation has a rule, and there are the products that PyTorch's counter finds."""
    found = count(network, "macs")
    assert sum(layer.op.startswith("binary ") for layer in found.layers) == binary
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(frames)
    # it counts two operations for a multiply-accumulate
    assert 2 * len(frames) * sum(found.macs.values()) == counter.get_total_flops()


def check_program(network: d.Network, graph: Graph) -> Program:
    """Program = emitted reference.py, every bit of every value."""
    frames = frames_of(network)
    program, _ = quantize(graph, frames, sign_zero=1)
    expected, found = execute(program, frames), load_reference(program).predict_trace(frames)
    for kind in ("tensors", "signs", "sums", "slopes"):
        values, others = getattr(expected, kind), getattr(found, kind)
        assert list(values) == list(others), kind
        for name, value in values.items():
            np.testing.assert_array_equal(others[name], value, err_msg=f"{kind} {name}")
    np.testing.assert_array_equal(found.logits, expected.logits)
    return program


def load_reference(program: Program) -> ModuleType:
    """Emit reference.py, and import it into this process."""
    with tempfile.TemporaryDirectory() as folder:
        emit(program, folder)
        spec = importlib.util.spec_from_file_location("reference", Path(folder) / "reference.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
