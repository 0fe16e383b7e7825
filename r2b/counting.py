"""What ``r2b-count`` does: from model files to their operations, parameters and memory.

Nothing is calibrated and no frame is compared with PyTorch: a count reads operations, shapes and
the proof of what is binary, and none of these depends on the value of an activation. Compiling the
same model compares every operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from r2b import __version__
from r2b.backends.cost.accounting import Count, count
from r2b.compiler import Shape, frame_shape, is_name, load
from r2b.console import Reporter
from r2b.count_data import FORMAT_VERSION, count_dict
from r2b.frontend import loading
from r2b.frontend.loading import Request
from r2b.ir.passes.recognize_binary_convs import Binarization
from r2b.ir.written import written
from r2b.options import Options
from r2b.train import checkpoint


@dataclass(frozen=True)
class CountOptions:
    """How to count.

    Parameters
    ----------
    convention : str
        A name of :data:`r2b.backends.cost.rules.CONVENTIONS`.
    real_bits : int
        Width of what is not binary: 32, 16 or 8.
    binarize_weights : "sign", "mean" or None
        What makes weights binary that are real in the file but meet binary activations.
    """

    convention: str = "paper"
    real_bits: int = 32
    binarize_weights: Binarization | None = None


@dataclass(frozen=True)
class Counted:
    """A network and what it costs.

    Parameters
    ----------
    name : str
    input_shape : tuple of int
        Of a frame.
    count : Count
    """

    name: str
    input_shape: Shape
    count: Count


def count_network(network: object, shape: Shape, options: CountOptions | None = None) -> Count:
    """Count a module or an exported program.

    Parameters
    ----------
    network : torch.nn.Module or torch.export.ExportedProgram
    shape : tuple of int
        Of a frame, ``(C, H, W)`` or ``(F,)``.
    options : CountOptions

    Raises
    ------
    UserError
        The network cannot be read, or holds operations without a rule: all are named.

    Examples
    --------
    >>> count_network(module, (3, 224, 224)).flops
    """
    chosen = options or CountOptions()
    graph = written(loading.import_structure(network, shape), chosen.binarize_weights)
    return count(graph, chosen.convention, chosen.real_bits)


def count_models(
    requests: Sequence[Request],
    options: CountOptions,
    input_shape: Shape | None = None,
    reporter: Reporter | None = None,
) -> list[Counted]:
    """Count the networks of some model files, or names of the zoo.

    Parameters
    ----------
    requests : sequence of Request
        Where several are counted, a factory and its keywords are for the files, not for the names
        of the zoo among them.
    options : CountOptions
    input_shape : tuple of int or None
        Of a frame. Where several are counted, for those files that do not say it themselves.
    reporter : Reporter

    Raises
    ------
    UserError
        Bad input.
    """
    reporter = reporter or Reporter(quiet=True)
    several = len(requests) > 1
    found: list[Counted] = []
    with reporter.progress(len(requests)):
        for request in requests:
            reporter.step(f"counting {request.path}")
            found.append(_count_model(request, options, input_shape, several, reporter))
    return found


def _count_model(
    request: Request,
    options: CountOptions,
    input_shape: Shape | None,
    several: bool,
    reporter: Reporter,
) -> Counted:
    if several and is_name(request):
        request = replace(request, factory=None, arguments=None)
    loaded = load(request, reporter, checkpoint.unsettled)
    given = None if several and loaded.shape is not None else input_shape
    shape = frame_shape(loaded, given, Options())
    name = str(request.path) if is_name(request) else request.path.name
    return Counted(name, shape, count_network(loaded.network, shape, options))


def to_dict(models: Sequence[Counted], options: CountOptions) -> dict[str, Any]:
    """Everything about some models, as plain data for JSON."""
    return {
        "format": "r2b-count",
        "format_version": FORMAT_VERSION,
        "r2b": __version__,
        "convention": options.convention,
        "real_bits": options.real_bits,
        "models": [
            {"name": model.name, "input_shape": list(model.input_shape), **count_dict(model.count)}
            for model in models
        ],
    }
