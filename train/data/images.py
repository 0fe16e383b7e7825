"""Image files as uint8 tensors of one size, by Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from kornia.augmentation.random_generator import ResizedCropGenerator
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from r2b.train.data.errors import DataError
from r2b.train.data.randomness import draws_from

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM")
"""What is read. Pillow reads more; for one of them it starts another program."""
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK")
"""Pillow's names of the kinds of pixels that become RGB without loss of more than the alpha."""

EVALUATION_SHARE = 224 / 256
"""Of the shorter side: a resize to 256 and the centre crop of 224, for any size."""
CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Of a random crop: its share of the area, and its width over its height (GoogLeNet's values)."""

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge in pixels."""


def read_image(path: Path) -> Image.Image:
    """Decode an image file to RGB.

    Greyscale and palette images are converted; transparency is dropped; the first frame of an
    animation is taken; the orientation that a camera noted is not applied.

    Raises
    ------
    DataError
        The file cannot be read, is truncated or damaged, is none of :data:`FORMATS`, has more than
        8 bits per channel, or more pixels than Pillow's limit.
    """
    try:
        return _decode(path)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: this is no image in one of the formats {', '.join(FORMATS)}; convert it or "
            "take it away"
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: the image has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels; make it "
            "smaller or take it away"
        ) from error
    # damaged or hostile bytes make Pillow raise nearly anything; all of it means: damaged
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else None
        text = f"cannot be read: {reason}" if reason else "the image is truncated or damaged"
        raise DataError(f"{path}: {text}; copy the file again or take it away") from error


def _decode(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            if image.mode not in MODES:
                raise DataError(
                    f"{path}: the pixels are of Pillow's mode {image.mode}; supported are 8 bits "
                    "per channel, greyscale, palette, RGB and CMYK; convert the image"
                )
            if image.mode in ("P", "PA"):
                # by way of RGBA: a palette with transparency has no other way without a warning
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")


def central_box(width: int, height: int) -> Box:
    """Give the central square that :data:`EVALUATION_SHARE` of the shorter side spans."""
    side = EVALUATION_SHARE * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_box(width: int, height: int, seed: int) -> Box:
    """Draw a random crop: a function of the image's size and ``seed`` alone."""
    generator = ResizedCropGenerator((1, 1), CROP_SCALE, CROP_RATIO)
    with draws_from(seed):
        corners = generator((1, 3, height, width))["src"][0]
    left, top, right, bottom = (*corners[0].tolist(), *corners[2].tolist())
    return left, top, right + 1, bottom + 1  # kornia's corners are the outermost pixels


def resized(image: Image.Image, box: Box, size: int) -> Tensor:
    """Scale the box to ``size x size``, bilinear with antialiasing; uint8 ``3 x size x size``."""
    scaled = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1).contiguous()
