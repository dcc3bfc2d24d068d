"""Create a small preview of an image, an even smaller placeholder for it, and its perceptual hash."""

import io

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.perceptual_hash import perceptual_hash
from framehouse.adapters.images.thumb_hash import MAX_PX, thumb_hash

PREVIEW_PX = 512
"""The maximum length of the longer side of a preview in pixels."""
PREVIEW_TYPE = "image/webp"
_QUALITY = 80
pyvips.cache_set_max(0)  # the cache would keep large images in memory


def create_preview(pixels: NDArray[np.uint8], xmp: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a preview of the image as a WebP file, its ThumbHash, and its perceptual hash.

    `pixels` has the shape (height, width, 3). `xmp` is the metadata of the file. The preview has the same aspect ratio
    as the image. An image is never enlarged.
    """
    preview = _scaled_down(pixels)
    buffer = io.BytesIO()
    preview.save(buffer, "WEBP", quality=_QUALITY, method=0, xmp=xmp)
    perceptual = perceptual_hash(preview)
    preview.thumbnail((MAX_PX, MAX_PX), Image.Resampling.BOX)
    return buffer.getvalue(), thumb_hash(np.asarray(preview)), perceptual


def _scaled_down(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the image with at most PREVIEW_PX pixels per side.

    libvips first shrinks the image by an integer factor. libvips reads the array directly. Pillow would copy the array,
    which takes longer than shrinking it. For each row of the result, only two or three rows of the array are read,
    because reading the memory takes most of the time.
    """
    height, width = pixels.shape[:2]
    scale = min(1, PREVIEW_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if (factor := max(width, height) // PREVIEW_PX) > 1:
        step = max(1, min(factor // 2, height))
        rows = height // step
        # each row of this image consists of `step` rows of the array; the crop keeps the first of them
        joined = pyvips.Image.new_from_memory(
            np.ascontiguousarray(pixels[: rows * step]).data, width * step, rows, 3, "uchar"
        )
        pixels = joined.crop(0, 0, width, rows).shrink(factor, factor / step).numpy()
    image = Image.fromarray(pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
