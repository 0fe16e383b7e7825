"""The zoo: shapes, parameter counts, export, and the texts of refused configs."""

import re

import pytest
import torch

from r2b.ir.errors import CheckpointError
from r2b.train.blocks import BinaryConv2d
from r2b.train.zoo import ARCHITECTURES, build, real_to_binary_digits

DIGITS = "real-to-binary-digits"


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def half_block_parameters(c_in, c_out, strided):
    """Norm, binary convolution, two gate layers, PReLU, and the real shortcut."""
    hidden = c_in // 8
    shortcut = c_in * c_out + 2 * c_out if strided else 0
    return 2 * c_in + 9 * c_in * c_out + hidden * (c_in + c_out) + c_out + shortcut


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_builds_with_its_defaults_and_exports(arch):
    model = build(arch, {}).eval()
    x = torch.rand(1, *model.input_shape)
    program = torch.export.export(model, (x,))
    assert torch.equal(program.module()(x), model(x))


def test_digits_shapes_along_the_network():
    model = real_to_binary_digits().eval()
    x = model.stem(torch.rand(2, 1, 16, 16))
    assert x.shape == (2, 32, 8, 8)
    x = model.body.get_submodule("group1")(x)
    assert x.shape == (2, 32, 8, 8)
    x = model.body.get_submodule("group2")(x)
    assert x.shape == (2, 64, 4, 4)
    assert model.head(x).shape == (2, 10)


def test_digits_parameter_count():
    stem, head = 25 * 32 + 3 * 32, 64 * 10 + 10
    group1 = 2 * half_block_parameters(32, 32, strided=False)
    group2 = half_block_parameters(32, 64, strided=True) + half_block_parameters(64, 64, False)
    assert count(build(DIGITS, {})) == stem + group1 + group2 + head == 79882


@pytest.mark.parametrize("blocks", [(1, 1), (2, 1), (2, 2)])
def test_a_block_is_two_half_blocks_and_only_later_groups_stride(blocks):
    body = real_to_binary_digits(blocks=blocks).body
    strides = [
        [part.stride for part in group.modules() if isinstance(part, BinaryConv2d)]
        for group in body
    ]
    assert strides == [[1] * 2 * blocks[0], [2] + [1] * (2 * blocks[1] - 1)]


def test_config_changes_the_network():
    model = build(DIGITS, {"num_classes": 7, "widths": [16, 24, 48], "blocks": [1, 1, 1]}).eval()
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 7)


CASES = {
    "unknown arch": (
        "resnet",
        {},
        "there is no network 'resnet' in the zoo; known are: real-to-binary-digits",
    ),
    "unknown option": (
        DIGITS,
        {"depth": 3},
        "the config does not fit real-to-binary-digits: it has no option 'depth'; "
        "its options are: num_classes, widths, blocks, reduction",
    ),
    "wrong number": (
        DIGITS,
        {"num_classes": 0},
        "the config does not fit real-to-binary-digits: "
        "num_classes must be an integer from 1 to 8192, not 0",
    ),
    "bool": (
        DIGITS,
        {"reduction": True},
        "the config does not fit real-to-binary-digits: "
        "reduction must be an integer from 1 to 8192, not True",
    ),
    "no list": (
        DIGITS,
        {"widths": 32},
        "the config does not fit real-to-binary-digits: "
        "widths must be a list of integers, one per group, not 32",
    ),
    "wrong entry": (
        DIGITS,
        {"blocks": [1, "2"]},
        "the config does not fit real-to-binary-digits: "
        "blocks[1] must be an integer from 1 to 256, not '2'",
    ),
    "tensor": (
        DIGITS,
        {"widths": torch.tensor([[1], [2]])},
        "the config does not fit real-to-binary-digits: "
        "widths must be a list of integers, one per group, not tensor([[1], [2]])",
    ),
    "huge value": (
        DIGITS,
        {"widths": "w" * 100},
        "the config does not fit real-to-binary-digits: "
        f"widths must be a list of integers, one per group, not '{'w' * 59}...",
    ),
    "unequal lengths": (
        DIGITS,
        {"widths": [32]},
        "the config does not fit real-to-binary-digits: "
        "widths and blocks must have one entry per group, not 1 and 2",
    ),
    "too many groups": (
        DIGITS,
        {"widths": [8] * 5, "blocks": [1] * 5},
        "the config does not fit real-to-binary-digits: every group after the first halves the "
        "image, so 5 groups do not fit the 8x8 map behind the stem",
    ),
    "reduction": (
        DIGITS,
        {"widths": [32, 60]},
        "the config does not fit real-to-binary-digits: "
        "reduction must divide every width, but 8 not 60",
    ),
}


@pytest.mark.parametrize(("arch", "config", "text"), CASES.values(), ids=CASES)
def test_refused(arch, config, text):
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        build(arch, config)
