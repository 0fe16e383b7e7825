"""The strategy itself: it draws all its words, and what it draws is what it says."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import find, given, settings

from tests.networks import description as d
from tests.networks.modules import frames_of, make
from tests.networks.profile import sample
from tests.networks.strategy import EVERYTHING, HARDWARE, networks

WORDS = {
    "sign form": (d.SIGNS, lambda block: block.sign.form),
    "estimator": (d.ESTIMATORS, lambda block: block.sign.estimator),
    "weight": (d.WEIGHTS, lambda block: block.weight),
    "scale": (EVERYTHING.scales, lambda block: block.scale.kind),
    "padding": (d.PADDINGS, lambda block: block.window.padding),
    "activation": (d.ACTIVATIONS, lambda block: block.activation),
    "kernel": (EVERYTHING.kernels, lambda block: block.window.kernel),
    "shortcut": (EVERYTHING.shortcuts, lambda block: block.shortcut),
}


def test_every_word_is_drawn():
    drawn: dict[str, set[object]] = {kind: set() for kind in WORDS}

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(networks())
    def collect(network: d.Network) -> None:
        for block in network.blocks:
            for kind, (_, read) in WORDS.items():
                drawn[kind].add(read(block))

    collect()
    assert {kind: set(words) for kind, (words, _) in WORDS.items()} == drawn


def test_hardware_words_are_a_part_of_all_words():
    for field in dataclasses.fields(HARDWARE):
        part, whole = getattr(HARDWARE, field.name), getattr(EVERYTHING, field.name)
        assert set(part) <= set(whole) if isinstance(part, tuple) else part <= whole, field.name


@sample("R2B_EXAMPLES", 20)
@given(networks())
def test_networks_run_and_are_the_same_when_made_again(network: d.Network):
    frames = torch.from_numpy(frames_of(network)).float() / 255
    with torch.no_grad():
        first, second = make(network)(frames), make(network)(frames)
    assert first.shape == (len(frames), network.head.classes)
    assert bool(torch.isfinite(first).all()) and bool((first == second).all())


def test_a_failing_network_shrinks_to_a_small_one_and_prints_as_what_is_special():
    found = find(
        networks(),
        lambda network: any(block.scale.kind == "gate" for block in network.blocks),
        settings=settings(max_examples=2000, derandomize=True, database=None),
    )
    assert len(found.blocks) == 1 and found.shape == (1, 4, 4) and found.head == d.Head()
    assert "gate" in repr(found) and len(repr(found)) < 200, repr(found)
