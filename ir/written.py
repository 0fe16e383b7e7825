"""A network as its author wrote it: every operation of its inference, and what is proved of it.

The canonical Graph is what the compiler works on; it merges what one multiplication can do. This is
what a count of operations works on: nothing is merged, and only that is gone which is no inference
at all. Straight-through estimators are cancelled, signs and activations in any spelling are one
operation each, and what depends on parameters only is a constant. What is there does not depend on
the parameters' values: a scale that training has left at 1 is a scale. One exception: the a of a
weight that is -a and +a is read from the weight, and is none where all are 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from r2b.ir.explain import counterparts
from r2b.ir.graph import Graph, Node
from r2b.ir.ops import BinaryConv2d, BinaryLinear, Constant, Conv2d, FloatArray, Linear
from r2b.ir.passes.cancel_straight_through import CancelStraightThrough
from r2b.ir.passes.canonicalize import passes_for
from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns
from r2b.ir.passes.eliminate_identities import EliminateIdentities
from r2b.ir.passes.fold_constants import FoldConstants
from r2b.ir.passes.infrastructure import Pass, Pipeline
from r2b.ir.passes.recognize_activations import RecognizeActivations
from r2b.ir.passes.recognize_binary_convs import Binarization, binarized, binary_scale
from r2b.ir.passes.resolve_sign_zeros import ResolveSignZeros
from r2b.ir.types import DType

Width = Literal["real", "binary"]
REAL: Width = "real"
BINARY: Width = "binary"

_CLEAN: tuple[Pass, ...] = (
    CancelStraightThrough(),
    EliminateIdentities(keep_parameters=True),
    CanonicalizeSigns(),
    ResolveSignZeros(1),
)
"""Leave nothing of the training. Equal expressions are not merged: two batch norms of one tensor
are equal only as long as they are untrained."""

_FOLD: tuple[Pass, ...] = (FoldConstants(), RecognizeActivations())


@dataclass(frozen=True)
class Operands:
    """What is proved of a convolution or a linear layer.

    Parameters
    ----------
    weight, activation : "binary" or "real"
        A binary weight is -a or +a, with one a for each output channel; a binary activation is -1
        or +1, up to one factor.
    scale : ndarray or None
        The a of each output channel; None where the weight is real, or where every a is 1.
    """

    weight: Width = REAL
    activation: Width = REAL
    scale: FloatArray | None = None


@dataclass(frozen=True)
class Written:
    """A network as its author wrote it.

    Parameters
    ----------
    graph : Graph
        Raw operations; whatever depends on parameters only is a Constant.
    operands : dict of str to Operands
        Of every convolution and linear layer, by the name of the node.
    parameters : frozenset of str
        Constants that parameters or buffers are, or are computed from; the others are numbers in
        the source.
    """

    graph: Graph
    operands: dict[str, Operands]
    parameters: frozenset[str]


def written(raw: Graph, binarize_weights: Binarization | None = None) -> Written:
    """Clean a raw Graph of any network, also of one that cannot be compiled.

    The sign of a weight that is 0 is +1 here: it changes no count.
    """
    canonical = Pipeline(passes_for(1, binarize_weights)).run(raw).graph
    return as_written(raw, canonical, binarize_weights)


def as_written(
    raw: Graph, canonical: Graph, binarize_weights: Binarization | None = None
) -> Written:
    """Clean a raw Graph of what is no inference, and say which layers have binary operands.

    Parameters
    ----------
    raw : Graph
        As the frontend made it; is left as it is.
    canonical : Graph
        What the passes made of it. It holds the proof of what is binary, hence a layer is binary
        here exactly if it is compiled as binary.
    binarize_weights : "sign", "mean" or None
        As the canonical Graph was made with.
    """
    clean = Pipeline(_CLEAN).run(raw).graph
    parameters = frozenset(_from_parameters(clean))
    graph = Pipeline(_FOLD).run(clean).graph
    found = counterparts(raw, canonical)
    operands = {
        name: _operands(canonical, node, _weight(graph, name), binarize_weights)
        for name, node in found.items()
        if name in graph
    }
    return Written(graph, operands, parameters)


def _from_parameters(graph: Graph) -> Iterator[str]:
    """Names of the values that do not depend on the frames, but on a parameter or a buffer.

    What is computed from parameters by operations without a word here is a constant without an
    origin; so is a number in the source, but that is a single one.
    """
    found: set[str] = set()
    for node in graph.nodes():
        own = isinstance(node.op, Constant) and (bool(node.op.origin) or node.op.value.size > 1)
        if own or (not node.type.batched and any(name in found for name in node.operands)):
            found.add(node.name)
            yield node.name


def _weight(graph: Graph, name: str) -> FloatArray | None:
    """Weight of a layer, where it is a constant."""
    weight = graph.operands(name)[1].op
    return weight.value.astype(np.float64) if isinstance(weight, Constant) else None


def _operands(
    canonical: Graph,
    found: Node | None,
    weight: FloatArray | None,
    binarize_weights: Binarization | None,
) -> Operands:
    if found is None or weight is None:
        return Operands()
    match found.op:
        case BinaryConv2d() | BinaryLinear():
            if binary_scale(weight) is None and binarize_weights is not None:
                weight = binarized(weight, binarize_weights, 1)
            return Operands(BINARY, BINARY, _scale(weight))
        case Conv2d() | Linear():
            bipolar = canonical.operands(found.name)[0].type.dtype is DType.BIPOLAR
            activation: Width = BINARY if bipolar else REAL
            if _has_two_values(weight):
                return Operands(BINARY, activation, _scale(weight))
            return Operands(REAL, activation)
        case _:
            return Operands()


def _has_two_values(weight: FloatArray) -> bool:
    """Tell whether a weight on real activations is binary: both signs, one magnitude per channel.

    The one weight of a channel that has no more is real, and so is a box filter.
    """
    several = weight[0].size > 1
    both = bool(np.any(weight < 0) and np.any(weight > 0))
    return several and both and binary_scale(weight) is not None


def _scale(weight: FloatArray) -> FloatArray | None:
    """Magnitude of each output channel, None if all are 1; a drift by a rounding does not count."""
    scale = binary_scale(weight)
    if scale is None or np.allclose(scale, 1, rtol=1e-6, atol=0):
        return None
    return scale
