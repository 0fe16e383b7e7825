"""What an operation costs, by convention; ``r2b-count --rules`` prints it.

Every operation of a network is work of one or more **kinds**, so many units of each
(:mod:`r2b.backends.cost.work` says how many). A **convention** gives every kind its cost per unit.
Work of which both operands are binary costs BOPS, all other FLOPS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "multiply-accumulate",
    "batch norm",
    "activation",
    "sum",
    "factor",
    "max pool",
    "average",
    "bias",
    "sign",
    "softmax",
    "movement",
]

MACS: Kind = "multiply-accumulate"


@dataclass(frozen=True)
class Unit:
    """What is counted of a kind.

    Parameters
    ----------
    unit : str
        One of which costs what the convention says.
    operations : str
        Of which operations.
    """

    unit: str
    operations: str


UNITS: dict[Kind, Unit] = {
    MACS: Unit("a tap of an output, in the padding too", "convolution, linear layer"),
    "batch norm": Unit("an element of its output", "batch norm with its own statistics"),
    "activation": Unit(
        "an element of its output",
        "ReLU, PReLU, hardtanh, clamp, sigmoid, tanh, |x| and other functions of one number",
    ),
    "sum": Unit("an element of its output", "x + y, x - y of two tensors of the frame: a skip"),
    "factor": Unit(
        "an element of its output",
        "x * y, x / y: a scale, a gate; also the a of binary weights that are -a and +a",
    ),
    "max pool": Unit("a position of an output's window", "maximum pooling"),
    "average": Unit("a position of an output's window", "average pooling, mean over dimensions"),
    "bias": Unit("an element of its output", "x + c, x - c with a constant; bias of a layer"),
    "sign": Unit("an element of its output", "the sign, in any spelling; -x"),
    "softmax": Unit("an element of its output", "softmax, log-softmax"),
    "movement": Unit(
        "an element of its output",
        "view, expansion, concatenation, selection, padding; dropout and copies",
    ),
}
"""Every kind of work."""


@dataclass(frozen=True)
class Convention:
    """How a publication or a tool counts.

    Parameters
    ----------
    summary : str
    costs : mapping of kind to int
        Per unit; every kind is there.
    times_bits : bool
        A multiply-accumulate costs weight bits times activation bits besides.
    binary_share : float or None
        What a BOP counts in the single figure, ``FLOPS + binary_share * BOPS``; None where the two
        are never added.
    figure : str
        What the single figure is called.
    """

    summary: str
    costs: Mapping[Kind, int]
    times_bits: bool = False
    binary_share: float | None = None
    figure: str = ""


_PAPER: dict[Kind, int] = {
    MACS: 1,
    "batch norm": 2,
    "activation": 2,
    "sum": 2,
    "factor": 1,
    "max pool": 1,
    "average": 1,
    "bias": 0,
    "sign": 0,
    "softmax": 0,
    "movement": 0,
}

_MACS_ONLY: dict[Kind, int] = {kind: int(kind == MACS) for kind in UNITS}

CONVENTIONS: dict[str, Convention] = {
    "paper": Convention(
        "Table 1 of the Real-to-Binary paper. The paper gives figures and no rule: this one is "
        "inferred, with it all its eleven figures come out to the digit.",
        _PAPER,
    ),
    "macs": Convention(
        "multiply-accumulates alone, by the widths of the operands, as larq's summary has them",
        _MACS_ONLY,
        binary_share=1,
        figure="MACs",
    ),
    "ops": Convention(
        "FLOPS + BOPS/64 of the paper's rule, the single figure of ReActNet",
        _PAPER,
        binary_share=1 / 64,
        figure="OPs",
    ),
    "bops-bits": Convention(
        "multiply-accumulates times weight bits times activation bits, as qonnx has them",
        _MACS_ONLY,
        times_bits=True,
        binary_share=1,
        figure="bit operations",
    ),
}
"""Every convention by name."""
