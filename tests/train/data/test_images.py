"""Image files: every kind of pixel, every kind of damage, and the crops."""

import numpy as np
import pytest
import torch
from PIL import Image

from r2b.train.data.errors import DataError
from r2b.train.data.images import central_box, random_box, read_image, resized
from tests.train.data.writers import picture

COLOURS = np.array(picture(24, 16, seed=1))


def failure(path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- pixels


def greys():
    return Image.fromarray(COLOURS).convert("L")


def rgb_of(grey):
    return np.repeat(np.array(grey)[:, :, None], 3, axis=2)


def palette():
    image = Image.fromarray((np.arange(384) % 3).astype(np.uint8).reshape(16, 24), mode=None)
    image.putpalette([10, 20, 30, 40, 50, 60, 255, 0, 128])
    return image


PALETTE = np.array([[10, 20, 30], [40, 50, 60], [255, 0, 128]], np.uint8)
BITS = np.arange(384).reshape(16, 24) % 5 == 0
KINDS = {
    "rgb.png": (lambda: Image.fromarray(COLOURS), COLOURS),
    "grey.png": (greys, rgb_of(greys())),
    "grey-alpha.png": (lambda: greys().convert("LA"), rgb_of(greys())),
    "palette.png": (palette, PALETTE[np.arange(384).reshape(16, 24) % 3]),
    "bits.png": (lambda: Image.fromarray(BITS), rgb_of(255 * BITS.astype(np.uint8))),
    "rgb.bmp": (lambda: Image.fromarray(COLOURS), COLOURS),
    "rgb.ppm": (lambda: Image.fromarray(COLOURS), COLOURS),
    "grey.pgm": (greys, rgb_of(greys())),
    "palette.gif": (palette, PALETTE[np.arange(384).reshape(16, 24) % 3]),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_pixel_exactly(tmp_path, name):
    make, wanted = KINDS[name]
    make().save(tmp_path / name)
    np.testing.assert_array_equal(np.array(read_image(tmp_path / name)), wanted)


def test_transparent_palette(tmp_path):
    path = tmp_path / "image.png"
    palette().save(path, transparency=bytes([0, 128, 255]))
    wanted = PALETTE[np.arange(384).reshape(16, 24) % 3]
    np.testing.assert_array_equal(np.array(read_image(path)), wanted)


def test_alpha_is_dropped(tmp_path):
    alpha = np.arange(384, dtype=np.uint8).reshape(16, 24, 1)
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(tmp_path / "image.png")
    np.testing.assert_array_equal(np.array(read_image(tmp_path / "image.png")), COLOURS)


def test_cmyk_as_in_imagenet(tmp_path):
    Image.new("CMYK", (24, 16), (0, 255, 255, 0)).save(tmp_path / "image.JPEG")
    red = np.array(read_image(tmp_path / "image.JPEG"))
    assert red.shape == (16, 24, 3)
    assert red[..., 0].min() >= 250
    assert red[..., 1:].max() <= 5


def test_png_named_jpeg_as_in_imagenet(tmp_path):
    path = tmp_path / "image.JPEG"
    Image.fromarray(COLOURS).save(path, format="PNG")
    np.testing.assert_array_equal(np.array(read_image(path)), COLOURS)


# ------------------------------------------------------------------------------------------- errors


def test_sixteen_bits(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(384, dtype=np.uint16).reshape(16, 24)).save(path)
    assert failure(path) == (
        f"{path}: the pixels are of Pillow's mode I;16; supported are 8 bits per channel, "
        "greyscale, palette, RGB and CMYK; convert the image"
    )


@pytest.mark.parametrize("suffix", ["JPEG", "png", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated(tmp_path, suffix, share):
    path = tmp_path / f"image.{suffix}"
    picture(80, 60, seed=2).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert failure(path) == (
        f"{path}: the image is truncated or damaged; copy the file again or take it away"
    )


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("content", [b"", b"a text", b"\xff\xd8", EPS], ids=repr)
def test_no_image(tmp_path, content):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    assert failure(path) == (
        f"{path}: this is no image in one of the formats JPEG, PNG, BMP, GIF, WEBP, PPM; convert "
        "it or take it away"
    )


def test_pillow_would_read_postscript(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"


def test_no_file(tmp_path):
    path = tmp_path / "image.jpg"
    assert failure(path) == (
        f"{path}: cannot be read: No such file or directory; copy the file again or take it away"
    )


@pytest.mark.parametrize("pixels", [1000, 100])  # Pillow warns, Pillow refuses
def test_too_many_pixels(tmp_path, monkeypatch, pixels):
    path = tmp_path / "image.png"
    picture(40, 30, seed=3).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    assert failure(path) == (
        f"{path}: the image has more than {pixels:,} pixels; make it smaller or take it away"
    )


def test_a_tiny_file_of_huge_extent(tmp_path):
    path = tmp_path / "image.ppm"
    path.write_bytes(b"P6 100000 100000 255\n")
    assert failure(path) == (
        f"{path}: the image has more than 89,478,485 pixels; make it smaller or take it away"
    )


# -------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize(("width", "height"), [(256, 256), (512, 512), (320, 256), (256, 288)])
def test_evaluation_is_resize_256_and_centre_crop_224(width, height):
    """Exact where the literal recipe needs no rounding."""
    image = picture(width, height, seed=4)
    scale = 256 / min(width, height)
    scaled = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - 224) // 2, (scaled.height - 224) // 2
    wanted = np.array(scaled.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1)
    found = resized(image, central_box(width, height), 224)
    assert (found.dtype, found.is_contiguous()) == (torch.uint8, True)
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_odd_extents(width, height):
    image = Image.new("RGB", (width, height), (7, 8, 9))
    for box in (central_box(width, height), random_box(width, height, seed=1)):
        found = resized(image, box, 32)
        assert found.shape == (3, 32, 32)
        assert found.flatten(1).unique(dim=1).flatten().tolist() == [7, 8, 9]


def test_random_boxes():
    width, height = 200, 180
    boxes = np.array([random_box(width, height, seed) for seed in range(300)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= width
    assert bottom.max() <= height
    areas = (right - left) * (bottom - top) / (width * height)
    ratios = (right - left) / (bottom - top)
    # rounding to whole pixels moves both by less than 5 %
    assert 0.076 <= areas.min() < 0.12
    assert 0.85 < areas.max() <= 1
    assert 0.71 <= ratios.min() < 0.8
    assert 1.25 < ratios.max() <= 1.4
    assert len(np.unique(boxes, axis=0)) > 290
    assert [left.min(), top.min(), right.max(), bottom.max()] == [0, 0, width, height]


def test_the_random_box_of_one_pixel():
    assert random_box(1, 1, seed=1) == (0, 0, 1, 1)


def test_a_random_box_depends_on_its_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = random_box(200, 120, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert random_box(200, 120, seed=5) == first
    assert random_box(200, 120, seed=6) != first
