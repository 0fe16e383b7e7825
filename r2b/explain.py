"""``r2b-compile --explain``: what was found in a network, layer by layer; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r2b import __version__
from r2b.calibration import calibration_frames, random_frames
from r2b.compiler import Network, Shape, frame_shape, import_raw, load
from r2b.console import Reporter
from r2b.frontend.loading import Request
from r2b.hw.support import check_supported, place_of
from r2b.ir.errors import PlanError, UserError
from r2b.ir.explain import BINARY, Layer, explain
from r2b.ir.graph import Graph
from r2b.ir.passes.canonicalize import canonicalize, passes_for
from r2b.ir.passes.infrastructure import Pass, Pipeline
from r2b.ir.program import Program
from r2b.ir.quantize import quantize
from r2b.options import Options, check_options

STEPS = 4
"""Of the progress bar."""


@dataclass(frozen=True)
class Explanation:
    """What ``--explain`` found.

    Parameters
    ----------
    name : str
        Of the network.
    layers : tuple of Layer
        Every convolution and linear layer, in the order of the model.
    hardware : dict or None
        What the hardware lacks, by the layer's name; None where there is no Program.
    lacking : tuple of str
        All that the hardware lacks, one line each.
    unsupported : str or None
        Why the network cannot be compiled at all.
    """

    name: str
    layers: tuple[Layer, ...]
    hardware: dict[str, str] | None
    lacking: tuple[str, ...]
    unsupported: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        missing = self.hardware
        layers = [
            layer.to_dict()
            | {"hardware": None if missing is None else missing.get(layer.name) or "yes"}
            for layer in self.layers
        ]
        return {
            "format": "r2b-explanation",
            "format_version": 1,
            "r2b": __version__,
            "name": self.name,
            "binary": sum(layer.form == BINARY for layer in self.layers),
            "layers": layers,
            "hardware_lacks": list(self.lacking),
            "unsupported": self.unsupported,
        }


def explain_model(
    request: Request,
    options: Options,
    input_shape: Shape | None = None,
    reporter: Reporter | None = None,
) -> Explanation:
    """Explain the network in a model file.

    Raises
    ------
    UserError
        The file, the options or the frames cannot be used, or the network cannot be imported.
    """
    reporter = reporter or Reporter(quiet=True)
    check_options(options)
    with reporter.progress(STEPS):
        reporter.step("reading the model")
        loaded = load(request, reporter)
        shape = frame_shape(loaded, input_shape, options)
        network = Network(loaded.network, shape, loaded.frames)
        return _explain(loaded.name, network, options, reporter)


def _explain(name: str, network: Network, options: Options, reporter: Reporter) -> Explanation:
    if options.calibration is None and network.frames is None:
        frames = random_frames(network.shape, options.seed)
    else:
        frames = calibration_frames(
            options.calibration,
            network.frames,
            network.shape,
            options.seed,
            reporter.warn,
            options.preprocessing,
        )
    raw, _captured = import_raw(network, frames, options, reporter)
    reporter.step("canonicalizing")
    try:
        graph = canonicalize(
            raw, sign_zero=options.sign_zero, binarize_weights=options.binarize_weights
        )
    except UserError as error:
        passes = passes_for(options.sign_zero, options.binarize_weights)
        layers = tuple(explain(raw, _as_far_as_possible(raw, passes)))
        return Explanation(name, layers, None, (), str(error))
    layers = tuple(explain(raw, graph))
    reporter.step("quantizing")
    try:
        program, _ = quantize(
            graph, frames, options.act_bits, options.preprocessing, sign_zero=options.sign_zero
        )
    except UserError as error:
        return Explanation(name, layers, None, (), str(error))
    lacking = _lacking(program)
    return Explanation(name, layers, _by_layer(layers, program, lacking), lacking, None)


def _as_far_as_possible(raw: Graph, passes: Sequence[Pass]) -> Graph:
    """What the passes make of a network that one of them refuses: that one is left out."""
    graph = raw
    for step in passes:
        try:
            graph = Pipeline((step,)).run(graph).graph
        except UserError:
            continue
    return graph


def _lacking(program: Program) -> tuple[str, ...]:
    try:
        check_supported(program)
    except PlanError as error:
        lines = str(error).splitlines()
        return tuple(line.strip() for line in lines if line.startswith("  "))
    return ()


def _by_layer(layers: Sequence[Layer], program: Program, lacking: Sequence[str]) -> dict[str, str]:
    """What the hardware lacks for each layer: that of the stages made at the layer's place."""
    found: dict[str, str] = {}
    for layer in layers:
        stages = [stage for stage in program.stages if str(stage.location) == layer.place]
        starts = tuple(f"{place_of(stage)}: " for stage in stages)
        texts = [line for line in lacking if starts and line.startswith(starts)]
        if texts:
            found[layer.name] = "; ".join(text.partition(": ")[2] for text in texts)
    return found
