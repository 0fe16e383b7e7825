"""The hard digits: three parts, the same frames every time, each thing that is done to them."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from r2b.train.data import digits32, load


@pytest.fixture(scope="module")
def data():
    return load("digits")


def parts(data):
    return data.train, data.validation, data.test


def test_shape_and_parts(data):
    assert (data.name, data.num_classes, data.input_shape) == ("digits", 10, (1, 32, 32))
    assert [len(part) for part in parts(data)] == [600, 400, 797]
    for part in parts(data):
        assert part.images.shape[1:] == (1, 32, 32)
        assert part.images.dtype == torch.uint8


def test_no_image_is_in_two_parts():
    _, labels = load_digits(return_X_y=True)
    places = np.concatenate(digits32.split_indices(labels))
    assert np.array_equal(np.sort(places), np.arange(1797))


def test_every_part_has_its_share_of_each_class(data):
    for part in parts(data):
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert shares.min() > 0.09
        assert shares.max() < 0.11


def test_the_frames_are_part_of_the_benchmark(data):
    """Published figures are for these pixels: whoever changes them trains everything again."""
    digest = hashlib.sha256()
    for part in parts(data):
        digest.update(part.images.numpy().tobytes() + part.labels.numpy().tobytes())
    assert digest.hexdigest() == DIGEST


DIGEST = "298a25bfcee60809d8cf53dc8ba09378ce2bd3af59f7a71df7307795538b493c"


@pytest.fixture
def only(monkeypatch):
    """Leave out everything that is done to digits but what is named."""

    def leave(**kept):
        off = {"CONTRAST": (1.0, 1.0), "NUM_BLOCKS": 0, "NOISE": 0.0, "DIGIT_SIZE": 32} | kept
        for name, value in off.items():
            monkeypatch.setattr(digits32, name, value)

    return leave


WHITE = np.full((200, 8, 8), 16, np.float32)


def test_nothing_is_left_but_upscaling(only):
    only()
    assert torch.equal(digits32.spoil(WHITE), torch.full((200, 1, 32, 32), 255, dtype=torch.uint8))


def test_contrast_is_drawn_for_each_frame(only):
    only(CONTRAST=(0.5, 1.0))
    levels = digits32.spoil(WHITE).flatten(1).unique(dim=1).flatten()
    assert len(levels) == 200
    assert 127 <= levels.min() < 135
    assert 247 < levels.max() <= 255


def test_a_digit_stands_anywhere(only):
    only(DIGIT_SIZE=28)
    frames = digits32.spoil(WHITE)[:, 0]
    rows, columns = ((frames > 0).any(dim=axis).int().argmax(dim=1) for axis in (2, 1))
    places = {(int(row), int(column)) for row, column in zip(rows, columns, strict=True)}
    assert places == {(row, column) for row in range(5) for column in range(5)}
    assert {int((frame > 0).sum()) for frame in frames} == {28 * 28}


def test_a_square_hides_64_pixels(only):
    only(NUM_BLOCKS=1)
    hidden = (digits32.spoil(WHITE)[:, 0] < 255).flatten(1).sum(dim=1)
    # a white square hides nothing that could be seen
    assert set(hidden.tolist()) <= {0, 64}
    assert (hidden == 64).sum() > 190


def test_noise_has_its_deviation(only):
    only(NOISE=0.1, CONTRAST=(0.5, 0.5))
    noisy = digits32.spoil(WHITE).double() / 255
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noisy.std().item() == pytest.approx(0.1, abs=0.005)
