"""The gallery's list: every network, how it is built, stored and called, and what is true of it.

Nothing here knows r2b. :func:`make` gives a network whose parameters are drawn from a seed and
whose batch norms have seen pictures; :func:`store` writes the file that its author would publish.
"""

import argparse
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import pictures
from torch import nn

HERE = Path(__file__).resolve().parent
CHECKPOINTS = ("state_dict", "nested", "parallel", "pickle", "pt2")


@dataclass(frozen=True)
class Entry:
    """One network.

    Parameters
    ----------
    name : str
    module : str
        File in this folder, without ``.py``.
    binary : int
        Convolutions and linear layers with binary weights and binary inputs, counted by hand.
    full, narrow : dict
        Keywords of ``build`` for the full network, and for one that simulates quickly.
    full_shape, narrow_shape : tuple of int
        C, H, W of a frame.
    checkpoint : str
        How the file is written: ``state_dict``; ``nested`` in a dict with other things;
        ``parallel``, nested, with DataParallel's prefix; ``pickle`` of the module; ``pt2``.
    prepare, finish : str
        Functions of the module that are given the network when it is built, and before it is
        stored; empty for none.
    sign_zero : int or None
        What a sign shall give for 0, where the source gives 0 and 0 occurs.
    shows : str
        For the table in README.md.
    """

    name: str
    module: str
    binary: int
    full: dict[str, Any]
    narrow: dict[str, Any]
    full_shape: tuple[int, int, int]
    narrow_shape: tuple[int, int, int]
    checkpoint: str
    prepare: str = ""
    finish: str = ""
    sign_zero: int | None = None
    shows: str = field(default="", repr=False)

    def keywords(self, narrow):
        """Keywords of ``build``."""
        return self.narrow if narrow else self.full

    def shape(self, narrow):
        """C, H, W of a frame."""
        return self.narrow_shape if narrow else self.full_shape

    @property
    def factory(self):
        """What ``--model`` is given, with this folder on the path."""
        return f"{self.module}:build"


LARGE, SMALL, TINY = (3, 224, 224), (3, 32, 32), (3, 16, 16)
TEN = {"width": 8, "classes": 10}

GALLERY = (
    Entry(
        "bnn-vgg", "bnn_vgg", 8,
        {}, {"width": 8, "hidden": 32, "image": 16}, SMALL, TINY, "state_dict",
        finish="restore", sign_zero=1,
        shows="input and weights assigned through .data; pooling before batch norm; log-softmax",
    ),
    Entry(
        "mlp", "mlp", 3,
        {}, {"width": 24, "image": 12}, (1, 28, 28), (1, 12, 12), "nested",
        shows="binary linear layers with learned scales, BatchNorm1d, dropout",
    ),
    Entry(
        "xnor-alpha", "xnor_alpha", 7,
        {}, {"width": 12, "image": 16}, SMALL, TINY, "nested",
        shows="centred, clipped weights with alpha; ReLU after convolution; no linear layer",
    ),
    Entry(
        "xnor-k", "xnor_k", 4,
        {}, {"width": 8}, SMALL, TINY, "pickle",
        shows="K, the input's magnitude under a box filter; leaky ReLU; 5x5 kernels",
    ),
    Entry(
        "bireal18", "bireal18", 16,
        {}, TEN, LARGE, SMALL, "parallel",
        shows="polynomial estimator with masks; detached weights; a skip per convolution",
    ),
    Entry(
        "bireal34", "bireal34", 32,
        {}, TEN, LARGE, SMALL, "state_dict",
        shows="autograd functions; soft + (hard - soft).detach(); normalisation inside",
    ),
    Entry(
        "xnor++", "xnorpp", 16,
        {}, {"width": 8, "image": 16}, SMALL, TINY, "pt2",
        shows="learned factors per channel, row and column",
    ),
    Entry(
        "strong-baseline", "strong_baseline", 16,
        {}, TEN, LARGE, SMALL, "state_dict",
        shows="weights through parametrize; sign(sign(x) + 0.1); learned scale before PReLU",
    ),
    Entry(
        "real-to-binary-224", "real_to_binary18", 16,
        {}, {**TEN, "image": 224}, LARGE, SMALL, "parallel",
        shows="gate of linear layers that reads batch norm's output; max pooling in the stem",
    ),
    Entry(
        "real-to-binary-32", "real_to_binary18", 16,
        {"classes": 10, "image": 32, "gate": "conv"},
        {**TEN, "image": 16, "gate": "conv"}, SMALL, TINY, "pickle",
        shows="gate of 1x1 convolutions with biases; 3x3 stem",
    ),
    Entry(
        "react-resnet", "react_resnet", 16,
        {}, TEN, LARGE, SMALL, "pt2",
        shows="learned thresholds; bias, PReLU, bias behind the sum; weights as w / |w|",
    ),
    Entry(
        "react-mobile", "react_mobile", 31,
        {}, {"width": 4, "classes": 10}, LARGE, SMALL, "parallel",
        shows="flat weights, viewed; 1x1 binary convolutions; doubling by concatenation",
    ),
    Entry(
        "binary-densenet", "binary_densenet", 23,
        {}, {"growth": 8, "classes": 10}, LARGE, SMALL, "state_dict",
        shows="concatenation of all layers; weight_norm; convolutions without a skip",
    ),
    Entry(
        "temperature-se", "temperature_se", 12,
        {}, {"width": 8}, SMALL, TINY, "nested", prepare="harden",
        shows="a temperature and a flag in buffers; squeeze-excite with a hard sigmoid",
    ),
    Entry(
        "grouped", "grouped", 7,
        {}, {"width": 8}, SMALL, TINY, "pt2",
        shows="stored +-a weights; padding by +1 and -1; groups, depthwise, dilation, 5x5, 7x7",
    ),
)  # fmt: skip


def load_module(entry):
    """Import an entry's file as a user who stands in this folder does."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(entry.module)


def make(entry, narrow=False, seed=0, frames=16):
    """Build a network, in evaluation mode, with parameters from a seed and settled batch norms."""
    torch.manual_seed(seed)
    module = load_module(entry)
    network = module.build(**entry.keywords(narrow))
    if entry.prepare:
        getattr(module, entry.prepare)(network)
    _settle(network, torch.from_numpy(pictures(frames, entry.shape(narrow), seed)).float() / 255)
    if entry.finish:
        getattr(module, entry.finish)(network)
    return network.eval()


def _settle(network, frames):
    """Spread the batch norms' parameters, some negative, and let them measure the frames."""
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = None
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0.0, 0.2)
                part.weight.data[torch.rand(part.num_features) < 0.125] *= -1
        elif isinstance(part, nn.PReLU):
            nn.init.uniform_(part.weight, 0.05, 0.5)
    network.train()
    with torch.no_grad():
        network(frames)


def file_name(entry):
    """Name of an entry's file."""
    return f"{entry.name}.{'pt2' if entry.checkpoint == 'pt2' else 'pth'}"


def store(entry, network, folder, narrow=False):
    """Write the network's file as its author would; give its path."""
    state = network.state_dict()
    contents = {
        "state_dict": state,
        "nested": {"epoch": 90, "model": state, "best_acc": 0.5},
        "parallel": {"epoch": 256, "state_dict": {f"module.{key}": state[key] for key in state}},
        "pickle": network,
    }
    path = Path(folder) / file_name(entry)
    if entry.checkpoint == "pt2":
        example = torch.zeros(2, *entry.shape(narrow))
        batch = ({0: torch.export.Dim("batch", min=1, max=1024)},)
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), path)
        return path
    torch.save(contents[entry.checkpoint], path)
    return path


def command(entry, narrow):
    """Give the command that compiles an entry's file."""
    path = file_name(entry)
    words = ["r2b-compile", path]
    if entry.checkpoint in ("state_dict", "nested", "parallel"):
        words += ["--model", entry.factory]
        keywords = ",".join(f"{key}={value}" for key, value in entry.keywords(narrow).items())
        words += ["--model-args", keywords] if keywords else []
    words += ["--trust-pickle"] if entry.checkpoint == "pickle" else []
    words += ["--input-shape", "x".join(map(str, entry.shape(narrow)))]
    words += ["--calibrate", "frames.npy", "--target", "numpy"]
    return " ".join(words + (["--sign-zero", f"{entry.sign_zero:+}"] if entry.sign_zero else []))


def main():
    """Write the files of one network, or list all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", nargs="?", choices=[entry.name for entry in GALLERY])
    parser.add_argument("--narrow", action="store_true", help="fewer channels, smaller pictures")
    parser.add_argument("--list", action="store_true", help="every network and what it shows")
    given = parser.parse_args()
    for entry in GALLERY:
        if given.list:
            print(f"{entry.name:20} {entry.shows}")
        elif entry.name == given.name:
            store(entry, make(entry, given.narrow), Path.cwd(), given.narrow)
            np.save("frames.npy", pictures(64, entry.shape(given.narrow), seed=2))
            print(command(entry, given.narrow))


if __name__ == "__main__":
    main()
