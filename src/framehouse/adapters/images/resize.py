"""Exactly the size that was asked for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.sizes import Size


def fit(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """(height, width, 3) pixels at exactly `size`: Lanczos, centre-cropped where the shape differs, untouched where
    it is right already."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    scale = max(size.width / width, size.height / height)
    crop_width, crop_height = min(width, size.width / scale), min(height, size.height / scale)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    image = Image.fromarray(pixels).resize(
        size, Image.Resampling.LANCZOS, box=(left, top, min(width, left + crop_width), min(height, top + crop_height))
    )
    return np.asarray(image)
