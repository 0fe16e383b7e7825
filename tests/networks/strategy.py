"""Hypothesis strategies for :mod:`description`: small networks out of a vocabulary.

Every choice lists its simplest word first and shrinks towards it; a network has as few blocks as
still fail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from tests.networks import description as d
from tests.networks.modules import block_shape, stem_shape

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Vocabulary:
    """What networks are made of; every tuple lists what may be drawn."""

    signs: tuple[str, ...] = d.SIGNS
    estimators: tuple[str, ...] = d.ESTIMATORS
    weights: tuple[str, ...] = d.WEIGHTS
    activations: tuple[str, ...] = d.ACTIVATIONS
    last: tuple[str, ...] = ("none", "relu", "prelu", "hardtanh", "shifted_prelu", "leaky")
    scales: tuple[str, ...] = ("none", "channel", "rank_one", "map_k", "gate")
    gate_reads: tuple[str, ...] = ("normed", "input", "output")
    gate_functions: tuple[str, ...] = ("sigmoid", "hardsigmoid")
    paddings: tuple[str, ...] = d.PADDINGS
    shortcuts: tuple[str, ...] = ("none", "identity", "pool", "project", "concat")
    pools: tuple[str, ...] = ("none", "max2", "max3", "average")
    sign_pool: bool = True
    groups: bool = True
    perceptrons: bool = True
    flatten: bool = True
    dense: int = 2
    kernels: tuple[int, ...] = (1, 2, 3, 5, 7)


EVERYTHING = Vocabulary()
HARDWARE = Vocabulary(
    activations=("none", "relu", "prelu", "hardtanh", "leaky", "shifted_prelu"),
    scales=("none", "channel", "gate"),
    gate_reads=("normed", "input"),
    gate_functions=("sigmoid",),
    sign_pool=False,
    perceptrons=False,
    flatten=False,
    dense=0,
)
"""What the hardware generator builds; see :mod:`r2b.hw.support`."""


@st.composite
def signs(draw: Any, words: Vocabulary, ratio: bool) -> d.Sign:
    """A sign; one written as a ratio only where its operand is no exact 0."""
    forms = [form for form in words.signs if ratio or form != "ratio"]
    estimator = draw(st.sampled_from(words.estimators))
    soft = draw(st.sampled_from(d.SOFT)) if estimator != "none" else "identity"
    return d.Sign(draw(st.sampled_from(forms)), estimator, soft)


def _spreads(norm: d.Norm | None) -> bool:
    """Tell whether no exact 0 comes out: a norm without a bias gives 0 for a constant."""
    return norm is not None and norm.affine


def weights(words: Vocabulary, channels: int) -> st.SearchStrategy[str]:
    """How weights of so many input channels are made; those of one, less their mean, are 0."""
    return st.sampled_from([kind for kind in words.weights if channels > 1 or kind != "centred"])


def norms() -> st.SearchStrategy[d.Norm]:
    """A batch norm."""
    flag = st.booleans()
    return st.builds(d.Norm, affine=flag.map(lambda off: not off), flips=flag, dead=flag)


@st.composite
def windows(draw: Any, words: Vocabulary, shape: Shape) -> d.Window:
    """A window that fits a map."""
    rows, cols = shape[1:]
    kernel = draw(st.sampled_from([k for k in words.kernels if k <= 2 * min(rows, cols)]))
    dilation = draw(st.sampled_from((1, 2))) if kernel == 3 else 1
    extent = dilation * (kernel - 1) + 1
    paddings = [p for p in words.paddings if p != "valid" or extent <= min(rows, cols)]
    window = d.Window(kernel, 1, dilation, draw(st.sampled_from(paddings or ["zero"])))
    if min(window.size(rows), window.size(cols)) < 1:
        window = d.Window()
    stride = draw(st.sampled_from((1, 2))) if min(rows, cols) >= 3 else 1
    return d.Window(window.kernel, stride, window.dilation, window.padding)


@st.composite
def scales(draw: Any, words: Vocabulary, window: d.Window, channels: int) -> d.Scale:
    """Factors behind a convolution."""
    fits_k = window.padding in ("valid", "zero") and window.dilation == 1
    kinds = [kind for kind in words.scales if kind != "map_k" or fits_k]
    kind = draw(st.sampled_from(kinds))
    if kind != "gate":
        return d.Scale(kind)
    gate = d.Gate(
        draw(st.sampled_from(words.gate_reads)),
        draw(st.sampled_from(("linear", "conv"))),
        draw(st.sampled_from(("mean", "adaptive", "window"))),
        draw(st.sampled_from(words.gate_functions)),
        max(1, channels // draw(st.sampled_from((8, 4, 1)))),
        draw(st.booleans()),
    )
    return d.Scale("gate", gate)


@st.composite
def blocks(draw: Any, words: Vocabulary, shape: Shape) -> d.Block:
    """A block that fits a map of a shape."""
    channels = shape[0]
    shortcut = draw(st.sampled_from(words.shortcuts))
    window = draw(windows(words, shape))
    # wished for first: of blocks that are drawn freely, hardly one in a hundred fits a pooled skip
    wide = ("identity", "pool")
    out = channels if shortcut in wide else draw(st.sampled_from((channels, *range(1, 9))))
    shared = [g for g in range(1, channels + 1) if not (channels % g or out % g)]
    groups = draw(st.sampled_from(shared)) if words.groups else 1
    norm = draw(st.none() | norms())
    shift = draw(st.booleans())
    block = d.Block(
        out,
        window,
        groups,
        draw(weights(words, channels // groups)),
        draw(signs(words, ratio=True)),
        draw(signs(words, ratio=shift or _spreads(norm))),
        norm,
        shift,
        draw(st.booleans()) if words.sign_pool else False,
        draw(st.booleans()),
        draw(scales(words, window, channels)),
        draw(st.none() | norms()),
        draw(st.sampled_from(words.activations)),
        last=draw(st.sampled_from(words.last)),
    )
    return replace(block, shortcut=shortcut if _fits(shortcut, block, shape) else "none")


def _fits(kind: str, block: d.Block, shape: Shape) -> bool:
    """Tell whether a shortcut's map has the shape of the block's."""
    channels, rows, cols = shape
    window = block.window
    size = window.size(rows), window.size(cols)
    pooled = (rows // 2, cols // 2) if window.stride == 2 else (rows, cols)
    fits = {
        "none": True,
        "identity": block.out == channels and size == (rows, cols),
        "pool": block.out == channels and size == pooled and window.stride == 2,
        "project": size == pooled,
        "concat": size == (rows, cols) and channels + block.out <= 16,
    }
    return fits[kind]


@st.composite
def stems(draw: Any, words: Vocabulary, shape: Shape) -> d.Stem:
    """A stem that fits pictures of a shape."""
    kernel = draw(st.sampled_from((1, 3, 5)))
    padding = draw(st.sampled_from(("zero", "valid") if kernel <= min(shape[1:]) else ("zero",)))
    strides = (1, 2) if min(shape[1:]) >= 7 else (1,)
    window = d.Window(kernel, draw(st.sampled_from(strides)), 1, padding)
    smallest = min(window.size(size) for size in shape[1:])
    pools = words.pools if smallest >= 5 else ("none",)
    return d.Stem(
        draw(st.integers(1, 8)),
        window,
        draw(st.booleans()),
        draw(st.none() | norms()),
        draw(st.sampled_from(words.last)),
        draw(st.sampled_from(pools)),
        draw(st.booleans()),
    )


@st.composite
def denses(draw: Any, words: Vocabulary, channels: int) -> d.Dense:
    """A binary linear layer."""
    norm = draw(st.none() | norms())
    return d.Dense(
        draw(st.integers(1, 9)),
        draw(weights(words, channels)),
        draw(signs(words, ratio=True)),
        draw(signs(words, ratio=_spreads(norm))),
        norm,
        draw(st.booleans()),
        draw(st.sampled_from([kind for kind in words.last if kind != "shifted_prelu"])),
    )


@st.composite
def heads(draw: Any, words: Vocabulary, perceptron: bool, channels: int) -> d.Head:
    """The end of a network; a multilayer perceptron has a binary layer at least."""
    flatten = draw(st.booleans()) if words.flatten else False
    norm = draw(st.none() | norms())
    dense: list[d.Dense] = []
    for _ in range(draw(st.integers(int(perceptron), words.dense + perceptron))):
        dense.append(draw(denses(words, dense[-1].out if dense else channels)))
    return d.Head(
        flatten,
        norm,
        tuple(dense),
        draw(st.integers(2, 5)),
        draw(st.booleans()),
    )


@st.composite
def networks(draw: Any, words: Vocabulary = EVERYTHING) -> d.Network:
    """A network of one to three blocks, or a multilayer perceptron."""
    seed = draw(st.integers(0, 2**16))
    sizes = st.sampled_from((4, 10, 7, 9, 5, 8, 6))
    shape = (draw(st.sampled_from((1, 2, 3))), draw(sizes), draw(sizes))
    if words.perceptrons and draw(st.integers(0, 7)) == 7:
        hidden = draw(st.integers(1, 9))
        head = draw(heads(words, perceptron=True, channels=hidden))
        return d.Network(shape, None, hidden, (), head, seed)
    stem = draw(stems(words, shape))
    current, found = stem_shape(stem, shape), []
    for _ in range(draw(st.integers(1, 3))):
        block = draw(blocks(words, current))
        found.append(block)
        current = block_shape(block, current)
    head = draw(heads(words, perceptron=False, channels=current[0]))
    return d.Network(shape, stem, 1, tuple(found), head, seed)
