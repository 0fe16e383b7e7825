"""The data set's parts, the example's script, and the model file that ships with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from r2b.train import checkpoint, digits, loop

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def data():
    return digits.load()


def test_the_parts_are_disjoint_and_cover_everything(data):
    labels = np.concatenate([part.labels for part in (data.train, data.validation, data.test)])
    parts = digits.split_indices(np.sort(labels))
    joined = np.concatenate(parts)
    assert [len(part) for part in parts] == [1147, 200, 450]
    assert np.array_equal(np.sort(joined), np.arange(1797))


def test_no_test_image_is_in_another_part(data):
    def rows(frames):
        return {image.tobytes() for image in frames.images}

    assert not rows(data.test) & (rows(data.train) | rows(data.validation))
    assert not rows(data.validation) & rows(data.train)


def test_development_is_everything_but_the_test_part(data):
    development = data.development
    assert np.array_equal(development.images[:1147], data.train.images)
    assert np.array_equal(development.images[1147:], data.validation.images)
    assert len(development.labels) == 1347


def test_every_part_has_equal_shares_of_each_class(data):
    for part in (data.train, data.validation, data.test):
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        assert np.all(np.abs(shares - 0.1) < 0.005)


def test_frames_are_uint8_over_the_whole_range(data):
    assert data.test.images.shape == (450, 1, 16, 16)
    assert data.test.images.dtype == np.uint8
    assert data.test.labels.dtype == np.int64
    assert data.train.images.min() == 0
    assert data.train.images.max() == 255


def test_upscale_is_bilinear():
    image = np.zeros((1, 8, 8))
    image[0, 2, 3] = 16
    # Each output pixel lies a quarter of an input pixel off its centre: weights 1/4 and 3/4.
    line = np.array([0.25, 0.75, 0.75, 0.25])
    expected = np.zeros((16, 16))
    expected[3:7, 5:9] = np.round(255 * np.outer(line, line))
    np.testing.assert_array_equal(digits.upscale(image)[0, 0], expected)


def test_shipped_frames_are_the_test_part(data):
    assert np.array_equal(np.load(EXAMPLE / "test_frames.npy"), data.test.images)
    assert np.array_equal(np.load(EXAMPLE / "test_labels.npy"), data.test.labels)


def test_shipped_calibration_is_from_the_training_part(data):
    calibration = checkpoint.load(EXAMPLE / "digits.pt").calibration
    assert calibration is not None
    assert np.array_equal(calibration, data.train.images[:64])


def test_shipped_model_is_accurate():
    model = checkpoint.module(checkpoint.load(EXAMPLE / "digits.pt"))
    frames = np.load(EXAMPLE / "test_frames.npy")
    labels = torch.from_numpy(np.load(EXAMPLE / "test_labels.npy"))
    assert len(labels) >= 400
    assert loop.accuracy(model, loop.to_input(frames), labels) >= 0.97


def run_script(*arguments):
    command = [sys.executable, EXAMPLE / "train.py", "--epochs", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_writes_a_model_file_with_its_test_frames(tmp_path, data):
    result = run_script("--out", tmp_path / "new")
    assert result.returncode == 0, result.stderr
    assert "test accuracy" in result.stdout
    checkpoint.module(checkpoint.load(tmp_path / "new" / "digits.pt"))
    assert np.array_equal(np.load(tmp_path / "new" / "test_frames.npy"), data.test.images)
    assert np.array_equal(np.load(tmp_path / "new" / "test_labels.npy"), data.test.labels)


def test_the_script_writes_nothing_when_it_validates(tmp_path):
    result = run_script("--validate", "--out", tmp_path / "new")
    assert result.returncode == 0, result.stderr
    assert "validation accuracy" in result.stdout
    assert "test accuracy" not in result.stdout
    assert not (tmp_path / "new").exists()


def test_the_script_reports_a_folder_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run_script("--out", tmp_path / "file")
    assert result.returncode == 2
    assert result.stderr == f"error: [Errno 17] File exists: '{tmp_path / 'file'}'\n"
