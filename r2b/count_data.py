"""Counts of operations, and the rules they follow, as plain data for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from r2b import __version__
from r2b.backends.cost.accounting import REAL_BITS, Count, LayerCount
from r2b.backends.cost.rules import CONVENTIONS, UNITS

FORMAT_VERSION = 1


def count_dict(found: Count) -> dict[str, Any]:
    """A count as plain data for JSON."""
    return {
        "convention": found.convention,
        "real_bits": found.real_bits,
        "bops": found.bops,
        "flops": found.flops,
        "figure": found.figure,
        "macs": _macs(found.macs),
        "kinds": {
            kind: {"bops": bops, "flops": flops} for kind, (bops, flops) in found.by_kind().items()
        },
        "parameters": asdict(found.stored),
        "parameter_bytes": {str(bits): found.stored.bits(bits) / 8 for bits in REAL_BITS},
        "activation_bytes": found.activation_bits / 8,
        "peak_activation_bytes": found.peak_activation_bits / 8,
        "layers": [_layer(layer) for layer in found.layers],
    }


def _layer(layer: LayerCount) -> dict[str, Any]:
    return {
        **asdict(layer),
        "input_shape": list(layer.input_shape),
        "output_shape": list(layer.output_shape),
        "work": [asdict(part) for part in layer.work],
        "macs": _macs(layer.macs),
    }


def _macs(macs: dict[tuple[int, int], int]) -> list[dict[str, int]]:
    return [
        {"weight_bits": weight, "activation_bits": activation, "count": number}
        for (weight, activation), number in macs.items()
    ]


def rules_dict() -> dict[str, Any]:
    """The rules as plain data for JSON."""
    return {
        "format": "r2b-count-rules",
        "format_version": FORMAT_VERSION,
        "r2b": __version__,
        "kinds": {kind: asdict(unit) for kind, unit in UNITS.items()},
        "conventions": {
            name: {**asdict(convention), "costs": dict(convention.costs)}
            for name, convention in CONVENTIONS.items()
        },
    }
