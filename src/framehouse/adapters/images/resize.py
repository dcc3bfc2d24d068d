"""Resize an image to exactly the requested size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.sizes import Size


def resize_and_crop(
    pixels: NDArray[np.uint8], size: Size, resampling: Image.Resampling = Image.Resampling.LANCZOS
) -> NDArray[np.uint8]:
    """Resize pixels of shape (height, width, 3) or (height, width) to exactly `size`.

    If the aspect ratio of `size` differs from that of the pixels, the edges are cropped and the centre is kept. If the
    pixels already have this size, the function returns the same array.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    scale = max(size.width / width, size.height / height)
    crop_width, crop_height = min(width, size.width / scale), min(height, size.height / scale)
    left, top = (width - crop_width) / 2, (height - crop_height) / 2
    image = Image.fromarray(pixels).resize(
        size, resampling, box=(left, top, min(width, left + crop_width), min(height, top + crop_height))
    )
    return np.asarray(image)
