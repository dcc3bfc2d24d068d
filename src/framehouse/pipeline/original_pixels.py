"""Insert the pixels of the original image into a generated image: into an expanded image, or outside a mask."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from framehouse.adapters.images.resize import resize_and_crop
from framehouse.domain.expansion import Box
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.interface import Batch

EDITED = 128
"""The smallest value of a scaled mask that marks a pixel to generate."""
_EDGE_PX = 2
"""Half the width of the soft edge inside the masked area."""


@dataclass(frozen=True, slots=True)
class Original:
    """The file of an original image, and the area of the generated image that its pixels replace.

    The area is `box`, or all pixels outside `mask`. `mask` is the file of `Batch.mask`, or empty if there is a box.
    """

    content: bytes
    box: Box | None = None
    mask: bytes = b""


def original_of(batch: Batch) -> Original | None:
    """Return the original image of a batch, or None if the batch neither expands an image nor has a mask."""
    if batch.box:
        return Original(batch.references[0].content, box=batch.box)
    if batch.mask:
        return Original(batch.references[0].content, mask=batch.mask.content)
    return None


def insert_original(pixels: NDArray[np.uint8], original: Original) -> NDArray[np.uint8]:
    """Return a copy of a generated image that contains the pixels of the original image.

    `pixels` has the shape (height, width, 3), and the final size. Transparent areas of the original image become white.
    """
    image = decode_reference_rgb(original.content)
    if original.box:
        return _with_box(pixels, image, original.box)
    with Image.open(io.BytesIO(original.mask), formats=("PNG",)) as mask:
        return _outside_mask(pixels, np.asarray(image), np.asarray(mask))


def _with_box(pixels: NDArray[np.uint8], image: Image.Image, box: Box) -> NDArray[np.uint8]:
    if image.size != (box.width, box.height):
        image = image.resize((box.width, box.height), Image.Resampling.LANCZOS)
    expanded = pixels.copy()
    expanded[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(image)
    return expanded


def _outside_mask(pixels: NDArray[np.uint8], image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the generated image, whose pixels outside the mask are replaced by those of the original image.

    The original image and the mask are scaled and cropped at the centre in the same way as the generated image.
    """
    size = Size(pixels.shape[1], pixels.shape[0])
    share = Image.fromarray(generated_share(resize_and_crop(mask, size, Image.Resampling.BILINEAR)))
    return np.asarray(Image.composite(Image.fromarray(pixels), Image.fromarray(resize_and_crop(image, size)), share))


def generated_share(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the share of the generated image in each pixel, from 0 to 255. `mask` has the shape (height, width).

    The share is 0 if the value of the mask is below EDITED. Inside the masked area, the share increases within four
    pixels from the edge. Structures that are narrower than five pixels have no soft edge, because they would be almost
    invisible.
    """
    inside = mask >= EDITED
    blur = ImageFilter.BoxBlur(_EDGE_PX)
    core = np.asarray(Image.fromarray(inside.astype(np.uint8) * 255).filter(blur)) == 255
    share = np.asarray(Image.fromarray(core.astype(np.uint8) * 255).filter(blur)).copy()
    share[inside & (share == 0)] = 255
    return share
