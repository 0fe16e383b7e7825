"""Explanations on Graphs written by hand: each finding, and layers found under other names."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.ir.errors import Location
from r2b.ir.explain import BINARY, FOLDED, GATE, REAL, explain
from r2b.ir.graph import Graph
from r2b.ir.ops import (
    Arithmetic,
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    Concat,
    Constant,
    Conv2d,
    Convolution,
    Dense,
    Flatten,
    Gate,
    Input,
    MaxPool2d,
    Mean,
    Output,
    Pad,
    Scale,
    Sign,
    SpatialScale,
    Unary,
)

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((4, 4, 3, 3))
SIGNS = np.where(WEIGHT >= 0, 1, -1).astype(np.int8)
PADDING = (1, 1, 1, 1)


def raw_graph(weight=WEIGHT, origin="conv.weight", signed=False) -> Graph:
    """A sign, and a convolution of it; its weight as it is, or its sign."""
    graph = Graph()
    graph.add(Input((1, 4, 6, 6)), name="x")
    graph.add(Sign(), ["x"], name="sign", location=Location("act"))
    last = graph.add(Constant(weight, origin), name="w").name
    if signed:
        last = graph.add(Sign(), [last], name="ws").name
    graph.add(
        Convolution(padding=PADDING), ["sign", last], name="conv", location=Location("conv", "a:1")
    )
    graph.add(Output(), ["conv"], name="output")
    return graph


def canonical_graph(op, *before, after=(), name="conv") -> Graph:
    """The operations ``before``, one after the other, a layer, and those ``after``."""
    graph = Graph()
    last = graph.add(Input((1, 4, 6, 6)), name="x").name
    for number, step in enumerate(before):
        last = graph.add(step, [last], name=f"before{number}", location=Location("bn")).name
    last = graph.add(op, [last], name=name, location=Location("conv", "a:1")).name
    for number, step in enumerate(after):
        last = graph.add(step, [last], name=f"after{number}").name
    graph.add(Output(), [last], name="output")
    return graph


def binary(scale=1.0, **options) -> BinaryConv2d:
    return BinaryConv2d(SIGNS, np.broadcast_to(scale, 4), padding=PADDING, **options)


def only(raw: Graph, canonical: Graph):
    (layer,) = explain(raw, canonical)
    return layer


def test_a_binary_convolution():
    layer = only(raw_graph(signed=True), canonical_graph(binary(), Sign(-1)))
    assert (layer.form, layer.kind, layer.module, layer.source) == (BINARY, "conv", "conv", "a:1")
    assert layer.because.startswith("sign of the frame (x > 0 -> +1")
    assert layer.weight == "sign(conv.weight)"
    assert (layer.window, layer.shape) == ("3x3, pad 1 of 0", "4 -> 4")
    assert (layer.scale, layer.gate, layer.threshold, layer.offer) == ("", "", "0", "")


def test_a_real_convolution():
    layer = only(raw_graph(), canonical_graph(Conv2d(WEIGHT, padding=PADDING)))
    assert layer.form == REAL
    assert layer.because.startswith("its operand is real: Input")
    assert layer.offer == ""


def test_real_weights_on_signs_are_offered_binarisation():
    layer = only(raw_graph(), canonical_graph(Conv2d(WEIGHT, padding=PADDING), Sign()))
    assert layer.form == REAL
    assert layer.because == "its weights take 36 magnitudes in output channel 0"
    assert layer.offer == "--binarize-weights sign|mean"


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (1.0, ""),
        (1 + 1e-9, ""),
        (0.25, "0.25"),
        ([0.5, 1, 2, 4], "per channel 0.5..4"),
        ([-0.5, 1, 1, 1], "per channel -0.5..1"),
    ],
)
def test_scales(scale, text):
    assert only(raw_graph(), canonical_graph(binary(scale), Sign())).scale == text


def test_scales_behind_the_layer():
    spatial = SpatialScale(np.ones((4, 6, 6)))
    layer = only(raw_graph(), canonical_graph(binary(2.0), Sign(), after=[spatial]))
    assert layer.scale == "2; spatial 4x6x6"


def test_a_dynamic_scale_and_a_gate():
    graph = canonical_graph(binary(), Sign())
    ones = np.ones((2, 4))
    graph.add(Mean((1,), keepdim=True), ["x"], name="k")
    graph.add(Gate(ones, None, ones.T, None, "hardsigmoid"), ["x"], name="gate")
    graph.add(Scale(), ["conv", "k"], name="scaled")
    graph.add(Scale(), ["scaled", "gate"], name="gated")
    graph.add(Output(), ["gated"], name="second")
    layer = only(raw_graph(), graph)
    assert layer.scale == "dynamic, float[N, 1, 6, 6]"
    assert layer.gate == "hardsigmoid, 2 hidden, at gate"


def test_thresholds():
    norm = BatchNorm.affine(np.full(4, 2.0), np.array([-1.0, 0, 1, 4]))
    layer = only(raw_graph(), canonical_graph(binary(), norm, Sign()))
    assert layer.threshold == "-2..0.5 of bn"
    assert layer.because.startswith("sign of bn (x >= 0 -> +1")


def test_signs_behind_a_pooling_and_a_border():
    pool, border = MaxPool2d((3, 3), (1, 1), PADDING), Pad((0, 0, 0, 0), -1.0)
    layer = only(raw_graph(), canonical_graph(binary(padding_value=-1), Sign(), pool, border))
    assert layer.because.startswith("sign of the frame")
    assert layer.window == "3x3, pad 1 of -1"


def test_signs_in_a_concatenation():
    graph = Graph()
    graph.add(Input((1, 2, 6, 6)), name="x")
    graph.add(Sign(1), ["x"], name="one")
    graph.add(Sign(-1), ["x"], name="two")
    graph.add(Concat(), ["one", "two"], name="both")
    graph.add(binary(), ["both"], name="conv")
    graph.add(Output(), ["conv"], name="output")
    because = only(raw_graph(), graph).because
    assert because.startswith("sign of the frame (x >= 0 -> +1")
    assert "; sign of the frame (x > 0 -> +1" in because


@pytest.mark.parametrize("name", ["conv_binary", "scaled"])
def test_a_layer_under_the_name_of_what_is_made_of_it(name):
    raw = raw_graph()
    raw.add(Constant(np.full((1, 4, 1, 1), 2.0)), name="two")
    raw.add(Arithmetic("mul"), ["conv", "two"], name="scaled")
    raw.add(Output(), ["scaled"], name="second")
    assert only(raw, canonical_graph(binary(2.0), Sign(), name=name)).form == BINARY


def test_a_layer_that_is_gone():
    graph = Graph()
    graph.add(Input((1, 4, 6, 6)), name="x")
    graph.add(Output(), ["x"], name="output")
    layer = only(raw_graph(), graph)
    assert (layer.form, layer.because) == (
        FOLDED, "no layer of this shape is left after simplification",
    )  # fmt: skip


def test_layers_of_a_gate():
    raw = Graph()
    raw.add(Input((1, 4, 6, 6)), name="x")
    raw.add(Mean((2, 3)), ["x"], name="mean")
    for name, source, shape in (("fc1", "mean", (2, 4)), ("fc2", "fc1", (4, 2))):
        raw.add(Constant(np.ones(shape), f"{name}.weight"), name=f"{name}_w")
        raw.add(Dense(), [source, f"{name}_w"], name=name, location=Location(name))
    raw.add(Output(), ["fc2"], name="output")
    graph = Graph()
    graph.add(Input((1, 4, 6, 6)), name="x")
    ones = np.ones((2, 4))
    graph.add(Gate(ones, None, ones.T, None), ["x"], name="gate", location=Location("se"))
    graph.add(Flatten(), ["gate"], name="fc2")
    graph.add(Output(), ["fc2"], name="output")
    found = explain(raw, graph)
    assert [layer.form for layer in found] == [GATE, GATE]
    assert {layer.because for layer in found} == {"part of the gate se, which is real"}


def test_a_binary_linear_layer():
    raw = Graph()
    raw.add(Input((1, 8)), name="x")
    raw.add(Sign(), ["x"], name="sign")
    weight = np.where(RANDOM.standard_normal((3, 8)) > 0, 1.0, -1.0)
    raw.add(Constant(weight * 0.125, "fc.weight"), name="w")
    raw.add(Dense(), ["sign", "w"], name="fc")
    raw.add(Output(), ["fc"], name="output")
    graph = Graph()
    graph.add(Input((1, 8)), name="x")
    graph.add(Sign(), ["x"], name="sign")
    graph.add(BinaryLinear(weight.astype(np.int8), np.full(3, 0.125)), ["sign"], name="fc")
    graph.add(Output(), ["fc"], name="output")
    layer = only(raw, graph)
    assert (layer.form, layer.kind, layer.shape, layer.window) == (BINARY, "linear", "8 -> 3", "")
    assert layer.weight == "fc.weight, stored as +-0.125"
    assert layer.scale == "0.125"


@pytest.mark.parametrize(
    ("weight", "origin", "signed", "text"),
    [
        (WEIGHT, "conv.weight", False, "conv.weight"),
        (WEIGHT, "", False, "a constant"),
        (SIGNS * 0.5, "conv.weight", False, "conv.weight, stored as +-0.5"),
        (WEIGHT, "conv.weight", True, "sign(conv.weight)"),
    ],
)
def test_where_a_weight_is_from(weight, origin, signed, text):
    raw = raw_graph(weight, origin, signed)
    assert only(raw, canonical_graph(binary(), Sign())).weight == text


def test_a_weight_with_a_learned_scale():
    raw = raw_graph(signed=True)
    raw.add(Constant(np.ones((4, 1, 1, 1)), "conv.alpha"), name="alpha", near="ws")
    raw.add(Arithmetic("mul"), ["ws", "alpha"], name="scaled", near="conv")
    raw.replace("conv", raw["conv"].op, ["sign", "scaled"])
    layer = only(raw, canonical_graph(binary(), Sign()))
    assert layer.weight == "sign(conv.weight) with conv.alpha"


def test_a_weight_that_only_looks_binary():
    raw = raw_graph()
    raw.add(Unary("tanh"), ["w"], name="soft", near="w")
    raw.replace("conv", raw["conv"].op, ["sign", "soft"])
    layer = only(raw, canonical_graph(Conv2d(np.tanh(WEIGHT), padding=PADDING), Sign()))
    assert (layer.form, layer.weight) == (REAL, "computed from conv.weight")


def test_plain_data():
    content = only(raw_graph(), canonical_graph(binary(), Sign())).to_dict()
    assert content["form"] == "binary"
    assert all(isinstance(value, str) for value in content.values())
