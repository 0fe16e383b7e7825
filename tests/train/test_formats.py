"""``r2b-train`` on data in the formats of the real ones, for a few steps."""

from __future__ import annotations

import pytest
import torch

from r2b import cli_train
from r2b.train import checkpoint, recipe
from tests.train.data.writers import cifar100_files, write_cifar100, write_pictures

TINY = recipe.Recipe(1, (0.5,), batch_size=16, mix_up=1.0, settle_frames=16)


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """Train the gated network on ``--data`` for one epoch; return its model file's content."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("r2b.train.run.RECIPES", dict.fromkeys(recipe.RECIPES, TINY))
    before = torch.are_deterministic_algorithms_enabled()

    def run(data):
        arguments = ["gate", "--data", data, "--width", "0.125", "-o", "runs"]
        assert cli_train.main(arguments) == 0, capfd.readouterr().err
        return checkpoint.load("runs/seed-0/gate/model.pt"), capfd.readouterr().err

    yield run
    torch.use_deterministic_algorithms(before)


def test_cifar100(train, tmp_path):
    write_cifar100(tmp_path, cifar100_files())
    found, said = train(f"cifar100:{tmp_path}")
    assert found.arch == "real-to-binary-32"
    assert found.config == {
        "input_shape": [3, 32, 32], "num_classes": 100, "width_multiplier": 0.125,
        "downsample": "real",
    }  # fmt: skip
    assert found.calibration is not None
    assert found.calibration.shape == (64, 3, 32, 32)
    assert "warning: " in said  # not the published checksum


def test_imagenet(train, tmp_path):
    root = write_pictures(
        tmp_path / "imagenet", ["n01440764", "n01443537"], {"train": 12, "val": 2}
    )
    found, said = train(f"imagenet:{root}")
    assert found.arch == "real-to-binary-224"
    assert found.config["num_classes"] == 2
    assert found.calibration is not None
    assert found.calibration.shape[1:] == (3, 224, 224)
    assert "warning: " in said  # not 1,000 classes


def test_a_folder_of_small_images(train, tmp_path):
    root = write_pictures(tmp_path / "mine", ["cat", "dog"], {"train": 10, "val": 2}, "png")
    found, said = train(f"folder:{root}@32")
    assert found.arch == "real-to-binary-32"
    assert found.config["num_classes"] == 2
    assert "warning: " in said  # no test part


def test_a_missing_data_set(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli_train.main(["gate", "--data", "cifar100:nowhere"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "cifar-100-python.tar.gz" in err
    assert list(tmp_path.iterdir()) == []
