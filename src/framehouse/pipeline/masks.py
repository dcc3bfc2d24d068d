"""Prepare the mask of a batch for the engines."""

import asyncio
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from framehouse.adapters.images.resize import resize_and_crop
from framehouse.adapters.reference_files.header import BadImage, inspect_mask
from framehouse.adapters.reference_files.open_image import open_alpha
from framehouse.domain.errors import Declined
from framehouse.domain.mask import NO_ALPHA, NOTHING_TO_EDIT, mask_size_problem, nothing_visible, split_mask
from framehouse.domain.reference import Reference
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import ReferenceImage
from framehouse.pipeline.original_pixels import EDITED


async def load_mask(stored: Sequence[Reference], loaded: Sequence[ReferenceImage], size: Size) -> ReferenceImage | None:
    """Return the mask of a batch for its engines, as `Batch.mask` describes it.

    `stored` and `loaded` contain the references and the mask of the batch, in the same order. `size` is the size of the
    finished images. The result is None if the batch has no mask, or if its mask permits to edit the whole image. Raises
    Declined if the mask cannot be used. The message contains the request field of the mask.
    """
    references, mask = split_mask(loaded)
    if mask is None:
        return None
    field = next(reference.field for reference in stored if reference.role == "mask")
    if not references:
        raise Declined(f"{field} needs an image to edit")
    first = references[0]
    try:
        return await asyncio.to_thread(prepare_mask, mask.content, (first.width, first.height), size)
    except BadImage as error:
        raise Declined(f"{field} {error}") from error


def prepare_mask(content: bytes, first: tuple[int, int], size: Size) -> ReferenceImage | None:
    """Convert the file of a client to a mask for engines. Blocks the calling thread.

    `first` is the size of the first reference in pixels, and `size` is the size of the finished images. Returns None if
    all visible pixels may be edited. Raises BadImage if the file is not a mask, if it does not fit the first reference,
    or if it permits to edit none of the visible pixels.
    """
    inspect_mask(io.BytesIO(content), len(content))
    alpha = open_alpha(content)
    if alpha is None:
        raise BadImage(NO_ALPHA)
    if problem := mask_size_problem(alpha.size, first):
        raise BadImage(problem)
    edited = alpha.point([255] + [0] * 255)
    if edited.size != first:
        edited = edited.resize(first, Image.Resampling.BILINEAR).point([0] * 128 + [255] * 128)
    if not edited.getbbox():
        raise BadImage(NOTHING_TO_EDIT)
    visible = resize_and_crop(np.asarray(edited), size, Image.Resampling.BILINEAR) >= EDITED
    if not visible.any():
        raise BadImage(nothing_visible(size))
    return None if visible.all() else ReferenceImage(png_file(edited), *edited.size, "mask")
