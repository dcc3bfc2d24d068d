"""Masks, and images with recognizable pixels, for edits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.image_files import encoded

Area = tuple[int, int, int, int]
"""The left, top, right and bottom edge of a rectangle, in pixels."""


def photo(width: int, height: int) -> Image.Image:
    """An image in which no two distant pixels have the same colour."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8))


def mask_image(width: int, height: int, area: Area) -> Image.Image:
    """An RGBA mask whose transparent pixels are those of `area`."""
    alpha = Image.new("L", (width, height), 255)
    alpha.paste(0, area)
    image = Image.new("RGBA", (width, height), (10, 200, 30, 255))
    image.putalpha(alpha)
    return image


def mask_file(width: int, height: int, area: Area) -> bytes:
    return encoded(mask_image(width, height, area), "PNG")


def inside(width: int, height: int, area: Area) -> NDArray[np.bool_]:
    """Whether each pixel of an image of this size is inside `area`."""
    pixels = np.zeros((height, width), bool)
    pixels[area[1] : area[3], area[0] : area[2]] = True
    return pixels
