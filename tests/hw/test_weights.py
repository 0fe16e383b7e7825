"""Weight memories: ROM, double buffer, feeder's segments."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.hw.weights import WeightBuffer, WeightRom, stream_words
from tests.hw.components.benches import Bench, simulate
from tests.hw.components.cases import make_geometry
from tests.hw.components.table import MIXED


def drive_buffer(words, seed, fill_rate, read_rate):
    """Segments of random sizes, each read in random order while the next one is filled."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, words + 1, 12)]
    segments = [rng.integers(0, 1 << 16, size).tolist() for size in sizes]
    filled = seen = taken = closed = 0
    order, expected = None, None
    for _ in range(5_000):
        offer = filled < len(segments) and rng.random() < fill_rate
        inputs = {"w_valid": offer, "close": 0}
        if offer:
            segment = segments[filled]
            inputs |= {"w_data": segment[taken], "w_last": taken == len(segment) - 1}
        ready_to_read = seen > closed
        address = None
        if ready_to_read:
            if order is None:
                order = rng.permutation(sizes[closed]).tolist()
            if order and rng.random() < read_rate:
                address = order.pop()
                inputs["addr"] = address
            elif not order:
                inputs["close"] = 1
        outputs = yield inputs
        assert outputs["available"] == (filled > closed + inputs["close"])  # in the next cycle
        assert outputs["w_ready"] == (filled < closed + 2)
        if expected is not None:
            assert outputs["data"] == expected
        expected = segments[closed][address] if address is not None else None
        seen = filled  # SEEN cycles later
        if inputs["close"]:
            closed, order = closed + 1, None
        if offer and outputs["w_ready"]:
            taken += 1
            if inputs["w_last"]:
                filled, taken = filled + 1, 0
        if closed == len(segments):
            return
    raise AssertionError("a segment never came")


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rates", [(1.0, 1.0), (0.3, 1.0), (1.0, 0.3)])
@pytest.mark.parametrize("packed", [False, True])
def test_buffer(words, rates, packed):
    """Sizes at, above and below a power of two; the filler or the reader slow."""
    dut = WeightBuffer(16, words, 6, packed)
    simulate(Bench(dut, drive_buffer(words, words, *rates)))


@pytest.mark.parametrize("count", [1, 4, 5])
def test_rom(count):
    """One word per cycle, one cycle later."""
    words = [(7 * i + 3) % 256 for i in range(count)]

    def drive():
        yield {"addr": 0}
        for address in [*range(1, count), *range(count)]:
            outputs = yield {"addr": address}
            assert outputs["data"] == words[(address - 1) % count]

    simulate(Bench(WeightRom(8, words, 5), drive()))


def test_stream_is_every_segment_in_order():
    """The blob of one frame: each stage's words, as its segments say."""
    geometry = make_geometry(list(MIXED), weights="stream", weight_word=24, mac_weight_word=24)
    words = stream_words(geometry)
    for conv in geometry.convs:
        segments = 1 if conv.pixel_outer else conv.tiles_out
        size = segments * conv.segment_words
        assert words[:size] == conv.weight_words()
        words = words[size:]
    assert not words
