"""Folders of real JPEGs: what the parts hold, that a resumed training sees the same, errors."""

import traceback

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset

from r2b.train.data import load, set_epoch
from r2b.train.data.augment import augmentation
from r2b.train.data.errors import DataError
from tests.train.data.writers import write_pictures

WORDNET = ("n01440764", "n01443537", "n02102040")
IMAGENET_LAYOUT = (
    "imagenet:DIR wants DIR/train/<class>/*.JPEG and DIR/val/<class>/*.JPEG, each class's folder "
    "named by its WordNet number, such as n01440764; nothing is downloaded"
)
FOLDER_LAYOUT = (
    "folder:DIR wants DIR/train/<class>/*.JPEG and DIR/val/<class>/*.JPEG, and may have "
    "DIR/test/<class>/*.JPEG, with the same classes in each; nothing is downloaded"
)


def ignore(text):
    pass


def failure(spec) -> str:
    with pytest.raises(DataError) as caught:
        load(spec, warn=ignore)
    return str(caught.value)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("imagenet"), WORDNET, {"train": 4, "val": 2})


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    counts = {"train": 3, "val": 2, "test": 1}
    return write_pictures(tmp_path_factory.mktemp("pets"), ("cat", "dog"), counts, "png")


def pixels(dataset, indices=None):
    indices = range(len(dataset)) if indices is None else indices
    return [dataset[index][0] for index in indices]


def same(some, others):
    return [torch.equal(one, other) for one, other in zip(some, others, strict=True)]


# -------------------------------------------------------------------------------------------- parts


def test_imagenet(imagenet):
    warnings = []
    data = load(f"imagenet:{imagenet}", warnings.append)
    assert (data.name, data.num_classes, data.input_shape) == ("imagenet", 3, (3, 224, 224))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [9, 3, 6]
    assert [label for _, label in data.train] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [label for _, label in data.validation] == [0, 1, 2]
    assert [label for _, label in data.test] == [0, 0, 1, 1, 2, 2]
    for part in (data.train, data.validation, data.test):
        image, label = part[1]
        assert (image.shape, image.dtype, type(label)) == ((3, 224, 224), torch.uint8, int)
    assert warnings == [f"{imagenet / 'train'} has 3 classes, ImageNet has 1,000"]


def test_folder(pets):
    warnings = []
    data = load(f"folder:{pets}@32", warnings.append)
    assert (data.name, data.num_classes, data.input_shape) == ("folder", 2, (3, 32, 32))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 4, 2]
    assert warnings == []


def test_evaluation_pixels(pets):
    """The middle 7/8 of the shorter side, from the file of that name."""
    data = load(f"folder:{pets}@64", warn=ignore)
    with Image.open(pets / "val" / "dog" / "dog_1.png") as image:
        assert image.size == (97, 81)
        side = 81 * 7 / 8
        left, top = (97 - side) / 2, (81 - side) / 2
        box = (left, top, left + side, top + side)
        wanted = np.array(image.resize((64, 64), Image.Resampling.BILINEAR, box=box))
    image, label = data.validation[3]
    assert label == 1
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), wanted)


def test_default_size(pets):
    data = load(f"folder:{pets}", warn=ignore)
    assert data.input_shape == (3, 224, 224)
    assert data.test[0][0].shape == (3, 224, 224)


def test_without_test_part(tmp_path):
    write_pictures(tmp_path, ("cat", "dog"), {"train": 2, "val": 1})
    warnings = []
    data = load(f"folder:{tmp_path}@32", warnings.append)
    assert same(pixels(data.validation), pixels(data.test)) == [True, True]
    assert warnings == [
        f"{tmp_path} has no test/, so val/ is used for choices and for the final figure, which "
        "will look better than it is"
    ]


def test_other_files_are_named_and_hidden_ones_are_not(tmp_path):
    write_pictures(tmp_path, ("cat", "dog"), {"train": 1, "val": 1, "test": 1})
    (tmp_path / "train" / "cat" / "notes.txt").write_text("a")
    (tmp_path / "train" / "dog" / ".hidden.JPEG").write_text("a")
    (tmp_path / "train" / ".git").mkdir()
    (tmp_path / "train" / "dog" / "more.jpg").mkdir()
    warnings = []
    data = load(f"folder:{tmp_path}@32", warnings.append)
    assert len(data.train) == 2
    assert warnings == [
        f"{tmp_path / 'train'} holds things that are no images, not used: cat/notes.txt, "
        "dog/more.jpg"
    ]


def test_names_beyond_ascii(tmp_path):
    write_pictures(tmp_path, ("Käfer", "пёс"), {"train": 1, "val": 1, "test": 1})
    data = load(f"folder:{tmp_path}@32", warn=ignore)
    assert [label for _, label in data.train] == [0, 1]


# ------------------------------------------------------------------------------------- random crops


def train_part(pets):
    return load(f"folder:{pets}@32", warn=ignore).train


def test_crops_are_a_function_of_seed_epoch_and_index(pets):
    part = train_part(pets)
    set_epoch(part, seed=3, epoch=1)
    wanted = pixels(part)
    fresh = train_part(pets)
    set_epoch(fresh, seed=3, epoch=0)
    pixels(fresh)
    set_epoch(fresh, seed=3, epoch=1)
    order = [4, 0, 5, 1, 3, 2]
    assert all(same(pixels(fresh, order), [wanted[index] for index in order]))
    assert all(same(pixels(fresh, [np.int64(2), -1]), [wanted[2], wanted[5]]))


@pytest.mark.parametrize("seed, epoch", [(3, 2), (4, 1), (1, 3), (0, 0)])
def test_other_seeds_and_epochs_crop_otherwise(pets, seed, epoch):
    part = train_part(pets)
    set_epoch(part, seed=3, epoch=1)
    wanted = pixels(part)
    set_epoch(part, seed, epoch)
    assert not any(same(pixels(part), wanted))


def test_images_of_one_epoch_are_cropped_differently(tmp_path):
    write_pictures(tmp_path, ("cat", "dog"), {"train": 1, "val": 1, "test": 1})
    source = tmp_path / "train" / "cat" / "cat_0.JPEG"
    for name in ("a", "b", "c"):
        (source.parent / f"{name}.JPEG").write_bytes(source.read_bytes())
    part = load(f"folder:{tmp_path}@32", warn=ignore).train
    assert len({image.numpy().tobytes() for image in pixels(part, range(4))}) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_every_number_of_workers_and_epochs_in_living_ones(pets, workers):
    part = train_part(pets)
    wanted = []
    for epoch in range(3):
        set_epoch(part, seed=8, epoch=epoch)
        wanted += pixels(part)
    fresh = train_part(pets)
    loader = DataLoader(fresh, 2, num_workers=workers, persistent_workers=workers > 0)
    found = []
    for epoch in range(3):
        set_epoch(fresh, seed=8, epoch=epoch)
        found += [image for images, _ in loader for image in images]
    assert all(same(found, wanted))


def test_global_random_numbers_are_left_alone(pets):
    part = train_part(pets)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    wanted = pixels(part)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert all(same(pixels(part), wanted))


def test_epochs_reach_into_subsets(pets):
    part = train_part(pets)
    both = ConcatDataset([Subset(part, [1, 2]), load(f"folder:{pets}@32", ignore).validation])
    first = both[0][0]
    set_epoch(both, seed=0, epoch=5)
    wanted = train_part(pets)
    set_epoch(wanted, seed=0, epoch=5)
    assert torch.equal(both[0][0], wanted[1][0])
    assert not torch.equal(both[0][0], first)


@pytest.mark.parametrize("seed, epoch", [(-1, 0), (0, -1)])
def test_negative_epochs(pets, seed, epoch):
    text = f"^seed and epoch must be 0 or more, not {seed} and {epoch}$"
    with pytest.raises(ValueError, match=text):
        set_epoch(train_part(pets), seed, epoch)


def test_a_few_batches_to_training(imagenet):
    data = load(f"imagenet:{imagenet}", warn=ignore)
    loader = DataLoader(data.train, 4, shuffle=True, generator=torch.Generator().manual_seed(1))
    change = augmentation(data.name, stage=1)
    generator = torch.Generator().manual_seed(2)
    shapes = [change(images / 255, generator).shape for images, _ in loader]
    assert shapes == [(4, 3, 224, 224), (4, 3, 224, 224), (1, 3, 224, 224)]


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_whoever_read_it(tmp_path, workers):
    write_pictures(tmp_path, ("cat", "dog"), {"train": 1, "val": 1, "test": 1})
    path = tmp_path / "train" / "dog" / "dog_0.JPEG"
    path.write_bytes(path.read_bytes()[:-200])
    loader = DataLoader(load(f"folder:{tmp_path}@32", ignore).train, 1, num_workers=workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    # or the loader's process is ended by the garbage collector, which may wait for it for 5 s
    traceback.clear_frames(caught.tb)
    assert str(caught.value) == (
        f"{path}: the image is truncated or damaged; copy the file again or take it away"
    )


@pytest.mark.parametrize(
    ("name", "layout"), [("imagenet", IMAGENET_LAYOUT), ("folder", FOLDER_LAYOUT)]
)
class TestLayouts:
    def test_no_folder(self, tmp_path, name, layout):
        place = tmp_path / "nowhere"
        assert failure(f"{name}:{place}") == f"{place} is no folder; {layout}"

    def test_no_train(self, tmp_path, name, layout):
        assert failure(f"{name}:{tmp_path}") == f"{tmp_path} has no folder train; {layout}"

    def test_no_val(self, tmp_path, name, layout):
        write_pictures(tmp_path, WORDNET, {"train": 2})
        assert failure(f"{name}:{tmp_path}") == f"{tmp_path} has no folder val; {layout}"

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("n01440764.tar", "tar archives that are still to be unpacked"),
            ("ILSVRC2012_val_00000001.JPEG", "images that are still to be sorted"),
            ("notes.txt", "other files"),
            (None, "nothing"),
        ],
    )
    def test_val_without_classes(self, tmp_path, name, layout, file, text):
        write_pictures(tmp_path, WORDNET, {"train": 2})
        (tmp_path / "val").mkdir()
        if file:
            (tmp_path / "val" / file).write_bytes(b"a")
        assert failure(f"{name}:{tmp_path}") == (
            f"{tmp_path / 'val'} holds {text}, no folder per class; {layout}"
        )

    def test_one_class(self, tmp_path, name, layout):
        write_pictures(tmp_path, WORDNET[:1], {"train": 2, "val": 1})
        assert failure(f"{name}:{tmp_path}") == (
            f"{tmp_path / 'train'} holds one class, n01440764; two are needed; {layout}"
        )

    def test_a_class_missing_in_val(self, tmp_path, name, layout):
        write_pictures(tmp_path, WORDNET, {"train": 2})
        write_pictures(tmp_path, WORDNET[:2], {"val": 1})
        assert failure(f"{name}:{tmp_path}") == (
            f"{tmp_path / 'val'}: there is no folder for n02102040, as in train; {layout}"
        )

    def test_a_class_more_in_val(self, tmp_path, name, layout):
        write_pictures(tmp_path, WORDNET[:2], {"train": 2})
        write_pictures(tmp_path, WORDNET, {"val": 1})
        assert failure(f"{name}:{tmp_path}") == (
            f"{tmp_path / 'val'}: folders that train does not have (n02102040); {layout}"
        )

    def test_an_empty_class(self, tmp_path, name, layout):
        write_pictures(tmp_path, WORDNET, {"train": 2, "val": 1})
        place = tmp_path / "val" / WORDNET[1]
        (place / f"{WORDNET[1]}_0.JPEG").unlink()
        assert failure(f"{name}:{tmp_path}") == (
            f"{place} holds 0 images, 1 at least are needed (.jpeg, .jpg, .png, .bmp, .gif, .webp, "
            f".ppm, .pgm, .pbm); {layout}"
        )


def test_imagenet_needs_two_images_of_a_class(tmp_path):
    write_pictures(tmp_path, WORDNET, {"train": 1, "val": 1})
    assert failure(f"imagenet:{tmp_path}") == (
        f"{tmp_path / 'train' / WORDNET[0]} holds 1 images, 2 at least are needed (.jpeg, .jpg, "
        f".png, .bmp, .gif, .webp, .ppm, .pgm, .pbm); {IMAGENET_LAYOUT}"
    )


def test_imagenet_with_other_classes(tmp_path):
    write_pictures(tmp_path, ("cat", "dog", "n01440764"), {"train": 2, "val": 1})
    assert failure(f"imagenet:{tmp_path}") == (
        f"{tmp_path / 'train'}: folders that are no class of ImageNet (cat, dog); images of other "
        f"classes are read with folder:DIR; {IMAGENET_LAYOUT}"
    )


@pytest.mark.parametrize("size", [0, 7, 1025])
def test_wrong_size(pets, size):
    assert failure(f"folder:{pets}@{size}") == (
        f"folder:DIR@SIZE: SIZE must be 8 to 1024, not {size}; it is the height and width of the "
        "network's input in pixels"
    )
