"""Prepare the input of a model that generates a part of an image: a canvas that shows the image, and a mask."""

import io

from PIL import Image, ImageOps

from framehouse.domain.sizes import Size
from framehouse.engines.expansion_canvas import continue_edges, draw_canvas
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.interface import Batch


def draw_edit_canvas(batch: Batch, canvas: Size) -> tuple[Image.Image, Image.Image]:
    """Draw the canvas (RGB) and the mask (greyscale) of a batch that expands an image or has a mask.

    Both have the size `canvas`. Blocks the calling thread. Raises Broken if the file of the reference is damaged.
    """
    if batch.box:
        return draw_canvas(batch.references[0].content, batch.size, batch.box, canvas)
    return draw_masked_canvas(batch, canvas)


def draw_masked_canvas(batch: Batch, canvas: Size) -> tuple[Image.Image, Image.Image]:
    """Draw the canvas (RGB) and the mask (greyscale), both with the size `canvas`. Blocks the calling thread.

    `batch` has a mask. The canvas shows the first reference, cropped at its centre to the aspect ratio of the batch's
    size, as the worker crops it. The cropped image touches two opposite edges of the canvas, or all four edges. If the
    canvas has another aspect ratio, the edges of the cropped image are mirrored outwards, and the worker later removes
    this part of the generated image. The mask is white where the model must generate the image, and black where the
    image must be kept.

    Raises Broken if the file of the reference is damaged.
    """
    assert batch.mask is not None
    scale = min(canvas.width / batch.size.width, canvas.height / batch.size.height)
    width = min(canvas.width, max(1, round(batch.size.width * scale)))
    height = min(canvas.height, max(1, round(batch.size.height * scale)))
    left, top = (canvas.width - width) // 2, (canvas.height - height) // 2
    with Image.open(io.BytesIO(batch.mask.content), formats=("PNG",)) as file:
        mask = ImageOps.fit(file.convert("L"), (width, height), Image.Resampling.BILINEAR)
    image = ImageOps.fit(decode_reference_rgb(batch.references[0].content), (width, height), Image.Resampling.LANCZOS)
    drawn, drawn_mask = (continue_edges(part, left, top, canvas) for part in (image, mask))
    return Image.fromarray(drawn), Image.fromarray(drawn_mask).point([0] * 128 + [255] * 128)
