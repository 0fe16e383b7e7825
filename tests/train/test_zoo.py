"""The zoo: parameter counts, shapes, features, export, and the texts of refused configs."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from r2b.ir.errors import CheckpointError
from r2b.train import checkpoint
from r2b.train.layers import BinaryConv2d
from r2b.train.losses import attention_loss
from r2b.train.zoo import ARCHITECTURES, CONFIGURATIONS, RESNET34, build, untrained

DIGITS = "real-to-binary-digits"
DIGITS_FILE = Path(__file__).parents[2] / "examples" / "digits" / "digits.pt"
NARROW = {"width_multiplier": 0.125, "num_classes": 10}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(arch, config=None):
    with torch.device("meta"):
        return build(arch, config).eval()


def test_the_issue_s_names_are_there():
    names = ["bnn", "xnor-net", "double-skip", "bi-real", "strong-baseline", "real-to-binary"]
    names += ["full-precision", "bi-real-net"]
    wanted = {f"{name}-{pixels}" for name in names for pixels in (224, 32)}
    assert wanted <= set(ARCHITECTURES)


# The first two are those of torchvision's resnet18 and resnet34; larq's RealToBinaryNet has the
# values of the third. Per channel of its output, a pre-activation network has a PReLU slope behind
# each convolution of the body and of the stem (3,904) and its norms on the inputs (-896); a learned
# scale is 3,840.
PARAMETERS_224 = {
    "full-precision": 11_689_512,
    "full-precision-34": 21_797_672,
    "real-to-binary": 11_986_920,
    "bnn": 11_689_512,
    "bi-real-net": 11_689_512,
    "xnor-net": 11_689_512 + 3_904 - 896,
    "double-skip": 11_689_512 + 3_904 - 896,
    "bi-real": 11_689_512 + 3_904 - 896,
    "strong-baseline": 11_689_512 + 3_904 - 896 + 3_840,
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_parameter_counts(name):
    assert count(on_meta(f"{name}-224")) == PARAMETERS_224[name]
    # the stem is 3x3 instead of 7x7, the head has 100 classes instead of 1000
    smaller = 3 * 64 * (49 - 9) + 900 * 513
    assert count(on_meta(f"{name}-32")) == PARAMETERS_224[name] - smaller


def test_values_of_real_to_binary_with_four_per_norm():
    model = on_meta("real-to-binary-224")
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert count(model) + sum(2 * norm.num_features for norm in norms) == 11_995_624


GROUPS_224 = [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
GROUPS_32 = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


@pytest.mark.parametrize(("pixels", "groups"), [(224, GROUPS_224), (32, GROUPS_32)])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_shapes_of_logits_and_of_every_block(name, pixels, groups):
    model = on_meta(f"{name}-{pixels}")
    features = model.forward_features(torch.empty(2, 3, pixels, pixels, device="meta"))
    blocks = RESNET34 if name.endswith("34") else (2, 2, 2, 2)
    found = [[tuple(maps.shape) for maps in group] for group in features.groups]
    assert found == [[(2, *shape)] * n for shape, n in zip(groups, blocks, strict=True)]
    assert features.logits.shape == (2, 1000 if pixels == 224 else 100)


@pytest.mark.parametrize("name", ["real-to-binary", "full-precision"])
def test_features_are_those_of_the_forward_pass(name):
    model = build(f"{name}-32", NARROW).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    for residual in (part for group in model.body.children() for part in group.children()):
        residual.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(x)
    ends = seen[1::2] if name == "real-to-binary" else seen
    seen = []
    features = model.forward_features(x)
    assert torch.equal(features.logits, logits)
    assert len(features.blocks) == len(ends) == 8
    assert all(torch.equal(*pair) for pair in zip(features.blocks, ends, strict=True))
    assert all(a is b for a, b in zip(features.ends, features.blocks[1::2], strict=True))


def test_attention_of_teacher_and_student_of_other_depth_and_width():
    student = build("real-to-binary-32", NARROW)
    teacher = build("full-precision-34-32", {"width_multiplier": 0.25, "num_classes": 10})
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = attention_loss(student.forward_features(x).ends, teacher.forward_features(x).ends)
    loss.backward()
    assert 0 < loss.item() < 4 * 2**0.5
    weights = [part.weight for part in student.modules() if isinstance(part, BinaryConv2d)]
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)
    assert all(value.grad is None for value in teacher.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_narrow_networks_compute_on_frames(arch):
    config = {"width_multiplier": 0.125} if arch != DIGITS else {}
    model = build(arch, config).eval()
    x = torch.rand(1, *model.input_shape, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(model(x)).all()


def test_digits_export():
    model = build(DIGITS).eval()
    x = torch.rand(1, *model.input_shape)
    program = torch.export.export(model, (x,))
    assert torch.equal(program.module()(x), model(x))


def test_digits_shapes_along_the_network():
    model = build(DIGITS).eval()
    x = model.stem(torch.rand(2, 1, 16, 16))
    assert x.shape == (2, 32, 8, 8)
    x = model.body.get_submodule("group1")(x)
    assert x.shape == (2, 32, 8, 8)
    x = model.body.get_submodule("group2")(x)
    assert x.shape == (2, 64, 4, 4)
    assert model.head(x).shape == (2, 10)


def half_block_parameters(c_in, c_out, strided):
    """Norm, binary convolution, two gate layers, PReLU, and the real shortcut."""
    hidden = c_in // 8
    shortcut = c_in * c_out + 2 * c_out if strided else 0
    return 2 * c_in + 9 * c_in * c_out + hidden * (c_in + c_out) + c_out + shortcut


def test_digits_parameter_count():
    stem, head = 25 * 32 + 3 * 32, 64 * 10 + 10
    group1 = 2 * half_block_parameters(32, 32, strided=False)
    group2 = half_block_parameters(32, 64, strided=True) + half_block_parameters(64, 64, False)
    assert count(build(DIGITS)) == stem + group1 + group2 + head == 79882


def test_the_shipped_digits_network_loads():
    model = checkpoint.module(checkpoint.load(DIGITS_FILE))
    assert count(model) == 79882


@pytest.mark.parametrize("blocks", [(1, 1), (2, 1), (2, 2)])
def test_a_block_is_two_convolutions_and_only_later_groups_stride(blocks):
    body = build(DIGITS, {"blocks": list(blocks)}).body
    strides = [
        [part.stride for part in group.modules() if isinstance(part, BinaryConv2d)]
        for group in body
    ]
    assert strides == [[1] * 2 * blocks[0], [2] + [1] * (2 * blocks[1] - 1)]


def test_config_changes_the_network():
    model = build(DIGITS, {"num_classes": 7, "widths": [16, 24, 48], "blocks": [1, 1, 1]}).eval()
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 7)


def test_images_need_not_be_square():
    model = build("strong-baseline-32", {**NARROW, "input_shape": [3, 32, 48], "scale": "rank-one"})
    x = torch.rand(2, 3, 32, 48)
    assert model.eval()(x).shape == (2, 10)


def test_odd_maps_are_halved_upwards_where_the_shortcut_strides():
    model = build("full-precision-32", {**NARROW, "input_shape": [3, 30, 30]}).eval()
    shapes = [maps.shape[2] for maps in model.forward_features(torch.rand(1, 3, 30, 30)).ends]
    assert shapes == [30, 15, 8, 4]


def test_a_network_with_options_of_its_own_comes_back_from_a_model_file(tmp_path):
    config = {**NARROW, "input_shape": [1, 32, 32], "downsample": "binary", "blocks": [1, 1, 1, 1]}
    model = untrained("real-to-binary-32", config, seed=2)
    path = tmp_path / "model.pt"
    checkpoint.save(path, arch="real-to-binary-32", config=config, state_dict=model.state_dict())
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(checkpoint.module(checkpoint.load(path))(x), model(x))


def test_untrained_networks_are_ready_and_the_same_from_the_same_seed():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second, other = (untrained("bnn-32", NARROW, seed=seed) for seed in (1, 1, 2))
    assert not first.training
    assert first.get_submodule("stem.norm").running_mean.any()
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), other(x))
    settled = untrained("bnn-32", NARROW, seed=1, frames=x)
    assert not torch.equal(settled(x), first(x))


@pytest.mark.parametrize("name", ["real-to-binary", "xnor-net", "full-precision"])
def test_mixed_precision_gives_finite_gradients(name):
    model = build(f"{name}-32", NARROW)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        features = model.forward_features(x)
        loss = attention_loss(features.blocks, [maps.flip(3) for maps in features.blocks])
    loss.backward()
    grads = [value.grad for name, value in model.named_parameters() if "head" not in name]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


OPTIONS = (
    "input_shape, num_classes, stem, widths, width_multiplier, blocks, order, skips, activation, "
    "scale, convolution, downsample, shortcut, reduction, gradient, weight_gradient"
)
# of the network's name, the config, and the text behind "the config does not fit NAME: "
CASES = {
    "unknown option": (
        DIGITS,
        {"depth": 3},
        f"it has no option 'depth'; its options are: {OPTIONS}",
    ),
    "wrong number": (
        DIGITS,
        {"num_classes": 0},
        "num_classes must be an integer from 1 to 8192, not 0",
    ),
    "bool": (
        DIGITS,
        {"reduction": True},
        "reduction must be an integer from 1 to 8192, not True",
    ),
    "no list": (
        DIGITS,
        {"widths": 32},
        "widths must be a list of integers, one per group, not 32",
    ),
    "wrong entry": (
        DIGITS,
        {"blocks": [1, "2"]},
        "blocks[1] must be an integer from 1 to 256, not '2'",
    ),
    "tensor": (
        DIGITS,
        {"widths": torch.tensor([[1], [2]])},
        "widths must be a list of integers, one per group, not tensor([[1], [2]])",
    ),
    "huge value": (
        DIGITS,
        {"widths": "w" * 100},
        f"widths must be a list of integers, one per group, not '{'w' * 59}...",
    ),
    "unequal lengths": (
        DIGITS,
        {"widths": [32]},
        "widths and blocks must have one entry per group, not 1 and 2",
    ),
    "too many groups": (
        DIGITS,
        {"widths": [8] * 5, "blocks": [1] * 5},
        "every group after the first halves the image, so 5 groups do not fit the 8x8 map behind "
        "the stem",
    ),
    "groups without end": (
        "bnn-32",
        {"widths": [8] * 17, "blocks": [1] * 17},
        "there must be at most 16 groups, not 17",
    ),
    "reduction": (
        DIGITS,
        {"widths": [32, 60]},
        "reduction must divide every width, but 8 not 60",
    ),
    "input shape": (
        "bnn-32",
        {"input_shape": [32, 32]},
        "input_shape must have three entries, channels, height and width, not 2",
    ),
    "input shape no list": (
        "bnn-32",
        {"input_shape": 32},
        "input_shape must be a list of integers, for channels, height, width, not 32",
    ),
    "choice": (
        "bnn-32",
        {"scale": "beta"},
        "scale must be one of none, alpha, alpha-map, channel, rank-one, gate, not 'beta'",
    ),
    "choice of another kind": (
        "bnn-32",
        {"order": ["pre"]},
        "order must be one of pre, post, not ('pre',)",
    ),
    "estimator": (
        "bnn-32",
        {"gradient": "swish"},
        "gradient must be one of clipped, identity, polynomial, not 'swish'",
    ),
    "multiplier": (
        "bnn-32",
        {"width_multiplier": float("nan")},
        "width_multiplier must be a number above 0, at most 8192, not nan",
    ),
    "multiplier of another kind": (
        "bnn-32",
        {"width_multiplier": "0.5"},
        "width_multiplier must be a number above 0, at most 8192, not '0.5'",
    ),
    "broken width": (
        "bnn-32",
        {"width_multiplier": 0.01},
        "width_multiplier must make widths that are integers from 1 to 8192, but 0.01 makes 64 to "
        "0.64",
    ),
    "alpha of real convolutions": (
        "full-precision-32",
        {"scale": "alpha"},
        "scale alpha is made from what binarisation leaves out, so it needs binary convolutions; "
        'with convolution "real" choose another scale',
    ),
    "binary shortcuts beside real convolutions": (
        "full-precision-32",
        {"downsample": "binary"},
        'downsample "binary" needs binary convolutions in the blocks; with convolution "real" '
        'choose downsample "real"',
    ),
    "signs of relu in the blocks": (
        "bnn-32",
        {"activation": "relu"},
        "activation relu leaves nothing below 0, so all signs in the blocks would be +1; choose "
        'prelu or hardtanh, or order "pre" with downsample "real"',
    ),
    "signs of relu in the shortcuts": (
        "xnor-net-32",
        {"activation": "relu"},
        "activation relu leaves nothing below 0, so all signs in the shortcuts would be +1; choose "
        'prelu or hardtanh, or order "pre" with downsample "real"',
    ),
}


@pytest.mark.parametrize(("arch", "config", "text"), CASES.values(), ids=CASES)
def test_refused(arch, config, text):
    expected = f"the config does not fit {arch}: {text}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}$"):
        build(arch, config)


def test_unknown_network():
    known = ", ".join(sorted(ARCHITECTURES))
    text = f"there is no network 'resnet' in the zoo; known are: {known}"
    with pytest.raises(CheckpointError, match=f"^{re.escape(text)}$"):
        build("resnet", {})
