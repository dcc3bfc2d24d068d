"""Prepare the input of a model that expands an image: a canvas that contains the image, and a mask."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from framehouse.domain.expansion import Box
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import decode_reference_rgb

_USUAL_PIXELS = 1024 * 1024
"""The usual number of pixels of the images on which models are trained. Models generate worse images at smaller
sizes."""
MAX_INPAINT_PIXELS = 1024 * 1024
"""The maximum number of pixels for the inpainting pipelines of diffusers, which scale larger images down."""
_MULTIPLE, _MIN_SIDE_PX = 16, 64
_BAND = 0.22
"""The width of the band that `continue_edges` mirrors at each edge, as a fraction of the image's width or height. Such
a band rarely contains the main subject."""
_OVERLAP_PX = 8
"""The model regenerates a strip of this width inside the edges of the original image, so that the transition is
smooth."""


def canvas_size(size: Size, *, max_pixels: int, max_edge: int = 0, max_ratio: float = 8.0) -> Size:
    """Return the size of the canvas for an expanded image of `size`.

    The width and the height of the canvas are multiples of 16, and at least 64 pixels. The canvas has at most
    `max_pixels` pixels. `max_edge` is the maximum length of a side in pixels, or 0 for no maximum. The canvas has
    nearly the same aspect ratio as `size`, but its longer side is at most `max_ratio` times as long as its shorter
    side. If `size` has fewer than about a million pixels, the canvas has about a million pixels, or fewer if the other
    limits require it.
    """
    width, height = max(size.width, size.height / max_ratio), max(size.height, size.width / max_ratio)
    pixels = min(max_pixels, max(_USUAL_PIXELS, size.width * size.height))
    scale = (pixels / (width * height)) ** 0.5
    if max_edge:
        scale = min(scale, max_edge / max(width, height))
    sides = (max(_MIN_SIDE_PX, int(side * scale + 1e-6) // _MULTIPLE * _MULTIPLE) for side in (width, height))
    return Size(*sides)


def draw_canvas(content: bytes, size: Size, box: Box, canvas: Size) -> tuple[Image.Image, Image.Image]:
    """Draw the canvas (RGB) and the mask (greyscale), both with the size `canvas`. Blocks the calling thread.

    `content` is the file of the original image, and `box` is the place of the original image in the expanded image.
    `size` is the size of the expanded image. The expanded image is scaled and centred, so that it touches two opposite
    edges of the canvas, or all four edges. If the canvas and the expanded image have different aspect ratios, the
    worker later removes the part of the canvas outside the expanded image. Around the original image, the canvas shows
    a blurred continuation of the edges. The mask is white where the model must generate the image, and black where the
    original image must be kept.

    Raises Broken if the file is damaged.
    """
    scale = min(canvas.width / size.width, canvas.height / size.height)
    left, width = _place(box.left, box.width, size.width, canvas.width, scale)
    top, height = _place(box.top, box.height, size.height, canvas.height, scale)
    original = decode_reference_rgb(content, max_px=max(width, height)).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    image = Image.fromarray(continue_edges(original, left, top, canvas))
    image = image.filter(ImageFilter.GaussianBlur(max(canvas) / 64))
    image.paste(original, (left, top))
    right, bottom = canvas.width - left - width, canvas.height - top - height
    overlap = min(_OVERLAP_PX, width // 8, height // 8)
    kept = (
        left + (overlap if left else 0),
        top + (overlap if top else 0),
        left + width - (overlap if right else 0),
        top + height - (overlap if bottom else 0),
    )
    mask = Image.new("L", canvas, 255)
    mask.paste(0, kept)
    return image, mask


def continue_edges(image: Image.Image, left: int, top: int, size: Size) -> NDArray[np.uint8]:
    """Place the image at (`left`, `top`) on a canvas of `size`, and continue the image to all edges of the canvas.

    Returns pixels of shape (height, width, 3) for an RGB image, and (height, width) for a greyscale image. A band along
    each edge of the image is mirrored outwards repeatedly. Shapes and colours therefore continue without a seam, the
    sky stays sky, and the ground stays ground.
    """
    rows, columns = _mirrored(top, image.height, size.height), _mirrored(left, image.width, size.width)
    return np.ascontiguousarray(np.asarray(image)[rows][:, columns])


def _place(offset: int, inner: int, outer: int, canvas: int, scale: float) -> tuple[int, int]:
    """Return the offset and the length of the original image on the canvas in one dimension."""
    start = (canvas - outer * scale) / 2 + offset * scale
    length = min(canvas, max(1, round(inner * scale)))
    return min(max(0, round(start)), canvas - length), length


def _mirrored(offset: int, inner: int, outer: int) -> NDArray[np.intp]:
    """For each pixel of an expanded row or column, return the index of the image pixel to copy.

    `offset` and `inner` are the offset and the length of the image. `outer` is the length of the expanded row or
    column.
    """
    place = np.arange(outer) - offset
    band = max(1, round(inner * _BAND))
    # for pixels outside the image: the distance from the edge of the image
    beyond = np.maximum(-1 - place, place - inner) % (2 * band)
    beyond = np.minimum(beyond, 2 * band - 1 - beyond)
    outside = np.where(place < 0, beyond, inner - 1 - beyond)
    return np.where((place >= 0) & (place < inner), place, outside)
