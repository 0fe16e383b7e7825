"""Framing: good frames arrive whole, bad ones are marked and leave no trace in the next."""

from __future__ import annotations

import numpy as np
import pytest

from r2b.hw.stem import FrameInput, FrameParams, transfer_bytes
from tests.hw.components.benches import Bench, StreamPorts, simulate

LENGTHS = {
    "good": (0,),
    "one pixel short": (-1, 0),
    "one pixel only": (None, 0),
    "one pixel long": (1, 0),
    "bad ones in a row": (-4, 7, -1, 0, 30, 0),
}
"""Pixels more or less than a frame has; None: a single one."""


class FramePlay:
    """Sends frames, holds a consumer's rows, and keeps the line buffer that is written."""

    def __init__(self, params: FrameParams, lengths, seed: int) -> None:
        self.p, self.rng = params, np.random.default_rng(seed)
        self.memory = np.full((params.words, params.lanes), 9999)
        pixels = params.rows * params.cols
        self.sizes = [1 if extra is None else pixels + extra for extra in lengths]
        self.frames = [self.rng.integers(0, 256, (n, params.channels)) for n in self.sizes]
        self.sent = [(f, i) for f, size in enumerate(self.sizes) for i in range(size)]
        self.sent.reverse()
        self.kinds = [np.sign(n - pixels) for n in self.sizes]
        self.pulses = {"early": 0, "late": 0}
        self.frame = self.freed = self.checked = 0
        self.offered = False

    def inputs(self, ready: int) -> dict:
        """A pixel, perhaps; rows given back; the frame given back when it was all there."""
        self.offered = bool(self.sent) and (self.offered or self.rng.random() < 0.7)
        if self.rng.random() < 0.05:
            self.freed = max(self.freed, self.checked - 1)
        release = ready == self.p.rows and self.checked == ready and self.rng.random() < 0.3
        payload = {}
        if self.offered:
            frame, index = self.sent[-1]
            data = sum(int(v) << (8 * c) for c, v in enumerate(self.frames[frame][index]))
            payload = {"data": data, "last": index == self.sizes[frame] - 1}
        return {"i": payload, "valid": self.offered, "freed": self.freed, "release": int(release)}

    def note(self, outputs, release: int) -> None:
        """A cycle's writes and events."""
        if self.offered and outputs["ready"]:
            self.sent.pop()
            self.offered = False
        for lane in range(self.p.lanes):
            if outputs["w_en"] >> lane & 1:
                self.memory[outputs["w_addr"][lane], lane] = outputs["w_data"][lane]
        for name in self.pulses:
            self.pulses[name] += outputs[name]
        if release:
            assert outputs["bad"] == (self.kinds[self.frame] != 0)
            self.frame, self.freed, self.checked = self.frame + 1, 0, 0

    def rows(self, ready: int) -> None:
        """Every row that has just become complete is in the line buffer, at its word."""
        p = self.p
        for row in range(self.checked, ready):
            first = row * p.row_words
            words = self.memory[np.arange(first, first + p.row_words) % p.words].ravel()
            if self.kinds[self.frame] >= 0:
                pixels = self.frames[self.frame][row * p.cols : (row + 1) * p.cols]
                wanted = (pixels - np.array(p.zero_point)).ravel()
                np.testing.assert_array_equal(words[: len(wanted)], wanted)
        self.checked = ready


def drive(play: FramePlay, frames: int):
    """Until every frame has been given back."""
    ready, released = 0, False
    for _ in range(20_000):
        inputs = play.inputs(ready)
        outputs = yield inputs
        # a long frame's rest is still dropped for a while after the frame was given back
        released &= outputs["rows_ready"] == play.p.rows
        ready = 0 if released else outputs["rows_ready"]
        assert ready <= play.freed + play.p.capacity
        play.rows(ready)
        play.note(outputs, inputs["release"])
        if inputs["release"]:
            ready, released = 0, True
        if play.frame == frames and not play.sent:
            break
    assert play.frame == frames
    shorter, longer = (sum(kind == sign for kind in play.kinds) for sign in (-1, 1))
    assert play.pulses == {"early": shorter, "late": longer}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize(
    ("channels", "lanes", "words"), [(3, 2, 64), (3, 4, 16), (1, 4, 8), (4, 4, 64), (5, 2, 32)]
)
def test_frames(name, channels, lanes, words):
    """Channels below, at and above the lanes; a line buffer of the whole frame, and of few rows."""
    zero = tuple(range(100, 100 + channels))
    params = FrameParams(channels, 9, 6, lanes, words, zero)
    play = FramePlay(params, LENGTHS[name], seed=words)
    simulate(Bench(StreamPorts(FrameInput(params, 10)), drive(play, len(LENGTHS[name]))))


def test_started_is_low_after_release():
    """While a long frame's rest is dropped there is no frame to begin with."""
    params = FrameParams(1, 2, 2, 2, 8, (0,))

    def play():
        for _ in range(4):
            outputs = yield {"i": {"data": 7}, "valid": 1}
        outputs = yield {"valid": 0}
        assert (outputs["started"], outputs["rows_ready"], outputs["bad"]) == (1, 2, 1)
        yield {"release": 1}
        for _ in range(5):  # the rest, which has not ended
            outputs = yield {"release": 0, "valid": 1}
            assert outputs["ready"]
            assert not outputs["started"]
        yield {"i": {"data": 7, "last": 1}}
        yield {"valid": 0}
        outputs = yield {"valid": 0}
        assert (outputs["started"], outputs["rows_ready"], outputs["bad"]) == (0, 0, 0)
        yield {"i": {"data": 9}, "valid": 1}
        outputs = yield {"valid": 0}
        assert outputs["started"]

    simulate(Bench(StreamPorts(FrameInput(params, 8)), play()))


@pytest.mark.parametrize(
    ("channels", "size"), [(1, 1), (3, 3), (16, 16), (17, 1), (36, 12), (784, 16), (96, 16)]
)
def test_transfer_bytes(channels, size):
    """A pixel, or the largest equal part of it that fits 16 bytes."""
    assert transfer_bytes(channels) == size
