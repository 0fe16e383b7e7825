"""The shipped digits network, compiled once for all end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b.backends.fpga.emit import emit_verilog
from r2b.frontend.importer import import_module
from r2b.hw.plan import Plan
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import canonicalize
from r2b.ir.program import Program
from r2b.ir.quantize import CalibrationReport, quantize
from r2b.sim.harness import Simulator, Streams
from r2b.train import checkpoint

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@dataclass(frozen=True)
class Digits:
    """The shipped checkpoint's network, Graph and Program, and its held-out frames."""

    network: torch.nn.Module
    graph: Graph
    program: Program
    report: CalibrationReport
    frames: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="session")
def digits() -> Digits:
    loaded = checkpoint.load(DIGITS / "digits.pt")
    network = checkpoint.module(loaded)
    graph = canonicalize(import_module(network, torch.zeros(1, *loaded.calibration.shape[1:])))
    program, report = quantize(graph, loaded.calibration)
    frames = np.load(DIGITS / "test_frames.npy")
    labels = np.load(DIGITS / "test_labels.npy")
    return Digits(network, graph, program, report, frames, labels)


@pytest.fixture(scope="session")
def accelerator(tmp_path_factory: pytest.TempPathFactory):
    """Plan -> the simulator of its emitted Verilog."""

    def build(program: Program, plan: Plan) -> Simulator:
        folder = tmp_path_factory.mktemp("rtl")
        return Simulator([emit_verilog(program, plan, folder)], Streams.of(program, plan))

    return build
