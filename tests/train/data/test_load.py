"""What a data set's name may be."""

import sys
from types import SimpleNamespace

import pytest

from r2b.ir.errors import UserError
from r2b.train.data import load
from tests.train.data.writers import write_pictures

SPECS = "digits, cifar100:DIR, imagenet:DIR, folder:DIR and folder:DIR@SIZE"
FOLDER_LAYOUT = (
    "folder:DIR wants DIR/train/<class>/*.JPEG and DIR/val/<class>/*.JPEG, and may have "
    "DIR/test/<class>/*.JPEG, with the same classes in each; nothing is downloaded"
)


def ignore(text):
    pass


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("mnist", f"there is no data set 'mnist'; supported are {SPECS}"),
        ("mnist:here", f"there is no data set 'mnist'; supported are {SPECS}"),
        ("", f"there is no data set ''; supported are {SPECS}"),
        ("digits:here", "'digits:here': digits takes no folder, they come with scikit-learn"),
        ("folder", f"'folder' names no folder; {FOLDER_LAYOUT}"),
        ("folder:", f"'folder:' names no folder; {FOLDER_LAYOUT}"),
        ("folder:@32", f"'folder:@32' names no folder; {FOLDER_LAYOUT}"),
        (
            f"folder:{'a' * 300}",
            f"'folder:{'a' * 300}': cannot be read: File name too long; {FOLDER_LAYOUT}",
        ),
    ],
)
def test_unknown(spec, text):
    with pytest.raises(UserError) as caught:
        load(spec)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["cifar100", "imagenet"])
def test_no_place(name):
    with pytest.raises(UserError, match=rf"^'{name}' names no folder; {name}:DIR wants "):
        load(name)


def test_digits_come_from_their_module(monkeypatch):
    wanted = object()
    module = SimpleNamespace(load=lambda: wanted)
    monkeypatch.setitem(sys.modules, "r2b.train.data.digits32", module)
    assert load("digits") is wanted


@pytest.mark.parametrize("folder", ["a@b", "a@", "@32x"])
def test_a_sign_in_the_folders_name(tmp_path, folder):
    place = write_pictures(tmp_path / folder, ("cat", "dog"), {"train": 1, "val": 1, "test": 1})
    assert load(f"folder:{place}", ignore).input_shape == (3, 224, 224)
    assert load(f"folder:{place}@16", ignore).input_shape == (3, 16, 16)


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pictures(tmp_path / "pets", ("cat", "dog"), {"train": 1, "val": 1, "test": 1})
    assert load("folder:~/pets@16", ignore).num_classes == 2


def test_warnings_reach_who_gives_no_function(tmp_path):
    write_pictures(tmp_path, ("cat", "dog"), {"train": 1, "val": 1})
    with pytest.warns(UserWarning, match=" has no test/, so val/ is used for choices") as caught:
        load(f"folder:{tmp_path}@16")
    assert len(caught) == 1
