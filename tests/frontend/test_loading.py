"""Model files of every kind: what they hold comes out whole, or one message says why not."""

from __future__ import annotations

import os
import pickle
import sys

import pytest
import torch
from torch import nn

from r2b.frontend import loading
from r2b.frontend.loading import Request, load
from r2b.frontend.loading_factory import make_module, parse_arguments
from r2b.frontend.loading_states import find_state_dict, load_states
from r2b.ir.errors import CheckpointError
from r2b.train import checkpoint

NETS = """
import os
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, name="net"):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x))

shared = Net(2)
number = 3

def make(width=4):
    print("made")
    return Net(width)

def wrong():
    return [1]

def broken():
    raise RuntimeError("no data set here")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder with one module of networks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    yield tmp_path
    sys.modules.pop("nets", None)


class Net(nn.Module):
    """The network of the tests."""

    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x))


class Marker:
    """Makes a folder when it is unpickled: the stand-in for hostile code."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def states():
    torch.manual_seed(1)
    return Net().state_dict()


def loaded(path, **options):
    return load(Request(path, **options), checkpoint.loaded)


def refusal(path, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        loaded(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


# ----------------------------------------------------------------------------------- state_dicts


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_state_dict(here, archive, key, prefix):
    content = {f"{prefix}{name}": value for name, value in states().items()}
    file = {key: content, "epoch": 3, "best": 0.5} if key else content
    torch.save(file, "x.pth", _use_new_zipfile_serialization=archive)
    found = loaded(here / "x.pth", factory="nets:make")
    for name, value in found.network.state_dict().items():
        assert torch.equal(value, states()[name]), name
    assert found.name == "make"
    assert not found.network.training
    assert any(key in note for note in found.notes) or not key
    assert any(prefix in note for note in found.notes) or not prefix


def test_names_of_a_compiled_part(here):
    content = {name.replace("conv.", "conv._orig_mod."): value for name, value in states().items()}
    torch.save(content, "x.pth")
    found = loaded(here / "x.pth", factory="nets:make")
    assert torch.equal(found.network.conv.weight, states()["conv.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_other_floating_point_becomes_float32_and_that_is_said(here, dtype):
    content = {k: v.to(dtype) if v.is_floating_point() else v for k, v in states().items()}
    torch.save(content, "x.pth")
    found = loaded(here / "x.pth", factory="nets:make")
    assert found.network.conv.weight.dtype == torch.float32
    name = str(dtype).removeprefix("torch.")
    assert f"5 tensors were converted from {name} to float32" in found.notes


def test_a_prefix_of_the_network_itself_stays():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = Net()

    network = Outer()
    assert load_states(network, Outer().state_dict()) == []


def test_counters_of_batch_norm_may_be_missing():
    content = {name: value for name, value in states().items() if "num_batches" not in name}
    assert load_states(Net(), content) == []


SPOILED = {
    "missing": (
        lambda c: c.pop("conv.weight"),
        "the state_dict does not fit the network: it lacks conv.weight; check --model",
    ),
    "renamed": (
        lambda c: c.update({"conv.weigth": c.pop("conv.weight")}),
        "it lacks conv.weight (nearest: conv.weigth); it has conv.weigth (nearest: conv.weight), "
        "which the network does not know",
    ),
    "unexpected": (
        lambda c: c.update({"head.bias": torch.zeros(3)}),
        "it has head.bias, which the network does not know",
    ),
    "shape": (
        lambda c: c.update({"norm.bias": torch.zeros(5)}),
        "it has norm.bias of shape 5 where it must be 4",
    ),
    "kind": (
        lambda c: c.update({"norm.bias": torch.zeros(4, dtype=torch.int64)}),
        "it has norm.bias in int64 where it must be float32",
    ),
    "infinite": (
        lambda c: c.update({"norm.bias": torch.full((4,), torch.inf)}),
        "it has norm.bias with values that are not finite",
    ),
    "infinite as float32": (
        lambda c: c.update({"norm.bias": torch.full((4,), 1e300, dtype=torch.float64)}),
        "it has norm.bias with values that are not finite",
    ),
    "sparse": (
        lambda c: c.update({"norm.bias": torch.zeros(4).to_sparse()}),
        "it has no plain dense tensor as norm.bias",
    ),
    "absurd": (
        lambda c: c.update({"norm.bias": torch.zeros(1).expand(1 << 40)}),
        "it has no plain dense tensor as norm.bias",
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize(("spoil", "text"), SPOILED.values(), ids=SPOILED)
def test_state_dict_that_does_not_fit(here, spoil, text):
    content = dict(states())
    spoil(content)
    torch.save(content, "x.pth")
    assert text in refusal(here / "x.pth", factory="nets:make")


def test_several_state_dicts():
    with pytest.raises(CheckpointError, match=r"several state_dicts, under model, net; save the"):
        find_state_dict({"model": states(), "net": states()})


def test_state_dict_without_a_network(here):
    torch.save({"state_dict": states()}, "x.pth")
    assert refusal(here / "x.pth") == (
        "this is a state_dict (under 'state_dict'): 6 tensors without the network they belong to "
        "(conv.weight 4x1x3x3, norm.weight 4, norm.bias 4, ...); name what makes it: --model "
        "PACKAGE.MODULE:FACTORY, with --model-args KEY=VALUE,... if it takes any, and "
        f"--input-shape CxHxW; or export the network: {loading.EXPORT_HINT}"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1, 2], "the file holds a list, no network"),
        (torch.zeros(3), "the file holds a Tensor, no network"),
        ({}, "the file holds a dict without a state_dict (its keys: none)"),
        ({"epoch": 1, "lr": 2}, "a dict without a state_dict (its keys: 'epoch', 'lr')"),
    ],
)
def test_content_without_a_network(here, content, text):
    torch.save(content, "x.pth")
    assert text in refusal(here / "x.pth", factory="nets:make")


# ------------------------------------------------------------------------------------- factories


def test_the_factory_is_given_its_arguments(here):
    torch.save(Net(8).state_dict(), "x.pth")
    assert "of shape 8 x 1 x 3 x 3 where" in refusal(here / "x.pth", factory="nets:make")
    found = loaded(here / "x.pth", factory="nets:Net", arguments="width=8,name=deep")
    assert found.network.conv.weight.shape[0] == 8


def test_what_the_factory_prints_is_kept_off_standard_output(capfd):
    make_module("nets:make", {})
    out, err = capfd.readouterr()
    assert (out, err) == ("", "made\n")


def test_the_factory_leaves_no_trace(here):
    path = list(sys.path)
    make_module("nets:make", {})
    assert sys.path == path
    assert not (here / "__pycache__").exists()


def test_a_module_may_be_named_itself():
    assert make_module("nets:shared", {}).conv.weight.shape[0] == 2
    with pytest.raises(CheckpointError, match="is a module already; leave --model-args away"):
        make_module("nets:shared", {"width": 3})


FACTORIES = [
    ("nets", "--model takes PACKAGE.MODULE:FACTORY, for example"),
    ("nets.make", "--model takes PACKAGE.MODULE:FACTORY, for example"),
    ("nets.py:make", "there is no Python module nets.py"),
    ("absent.deep:make", "there is no Python module absent; run r2b-compile in the folder"),
    ("nets:maek", "nets has no maek; to be called there: Net, broken, make"),
    ("nets:number", "nets:number is a int, which cannot be called"),
    ("nets:wrong", "nets:wrong gives a list, no torch.nn.Module"),
    ("nets:broken", "nets:broken() fails: RuntimeError: no data set here (nets.py:"),
    ("spoiled:make", "spoiled cannot be imported: SyntaxError: "),
    ("needy:make", "needy cannot be imported: ModuleNotFoundError: No module named 'absent_one'"),
    ("ends:make", "ends cannot be imported: SystemExit: 3 (ends.py:1)"),
    ("__import__('os'):x", "--model takes PACKAGE.MODULE:FACTORY, for example"),
]


@pytest.mark.parametrize(("name", "text"), FACTORIES, ids=[name for name, _ in FACTORIES])
def test_factories_that_cannot_be_used(here, name, text):
    (here / "spoiled.py").write_text("def make(:")
    (here / "needy.py").write_text("import absent_one")
    (here / "ends.py").write_text("raise SystemExit(3)")
    torch.save(states(), "x.pth")
    assert text in refusal(here / "x.pth", factory=name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}),
        ("", {}),
        ('{"width": 8, "name": null}', {"width": 8, "name": None}),
        ("width=8", {"width": 8}),
        ("widths=[8,16],name=deep,flag=True", {"widths": [8, 16], "name": "deep", "flag": True}),
        ("rate=1e-3, none=None, yes=true", {"rate": 1e-3, "none": None, "yes": True}),
        ('name="a=b"', {"name": "a=b"}),
    ],
)
def test_arguments(text, found):
    assert parse_arguments(text) == found


@pytest.mark.parametrize("text", ["8", "{width: 8}", "a b=3", "widths=[8", "{1", "=3", "a=3,,b=4"])
def test_arguments_that_are_none(text):
    with pytest.raises(CheckpointError, match=r"^--model-args"):
        parse_arguments(text)


def test_arguments_without_a_factory(here):
    torch.save(states(), "x.pth")
    text = refusal(here / "x.pth", arguments="width=4")
    assert text == "--model-args are for the factory that --model names; name it"


# --------------------------------------------------------------------------------------- pickles


def test_a_pickled_module_is_refused_unless_trusted(here):
    module = make_module("nets:make", {})
    for file, content in (("whole.pth", module), ("inside.pth", {"model": module, "epoch": 2})):
        torch.save(content, file)
        text = refusal(here / file)
        assert "nothing in it was run; save the parameters alone" in text
        assert text.endswith("or, if you know where the file is from, --trust-pickle runs it")
        found = loaded(here / file, trust_pickle=True)
        assert torch.equal(found.network.conv.weight, module.conv.weight)
        assert found.name == "Net"
        assert found.notes[0].endswith("is a pickle that was run, because --trust-pickle says so")


@pytest.mark.parametrize("place", ["", "state_dict", "model", "epoch"])
@pytest.mark.parametrize("form", ["archive", "legacy", "pickle"])
def test_code_in_a_pickle_is_not_run(here, place, form):
    content = {**states(), place: Marker()} if place else Marker()
    if form == "pickle":
        (here / "x.pth").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, "x.pth", _use_new_zipfile_serialization=form == "archive")
    text = refusal(here / "x.pth", factory="nets:make")
    assert "nothing in it was run" in text or "it was not read" in text
    assert not (here / "ran").exists()


def test_a_trusted_pickle_runs(here):
    torch.save({**states(), "extra": Marker()}, "x.pth")
    refusal(here / "x.pth", factory="nets:make", trust_pickle=True)
    assert (here / "ran").exists()


def test_trust_does_not_run_what_need_not_be_run(here):
    torch.save(states(), "x.pth")
    found = loaded(here / "x.pth", factory="nets:make", trust_pickle=True)
    assert found.notes == ()


def test_trusted_classes_must_be_importable(here):
    torch.save(make_module("nets:make", {}), "x.pth")
    (here / "nets.py").unlink()
    sys.modules.pop("nets")
    text = refusal(here / "x.pth", trust_pickle=True)
    assert "needs the Python module nets, which is not installed" in text
    (here / "nets.py").write_text("other = 1")
    text = refusal(here / "x.pth", trust_pickle=True)
    assert "needs a class that is not where it was" in text


def test_a_trusted_pickle_that_is_damaged(here):
    (here / "x.pth").write_bytes(pickle.dumps([1, 2, 3])[:-4])
    assert "the trusted pickle cannot be read" in refusal(here / "x.pth", trust_pickle=True)
