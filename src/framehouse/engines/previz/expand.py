"""Continue a scene beyond the edges of an image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.expansion import Box
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.previz.sprites import Pixels, enlarged, grain

_WORK_PX = 1_500_000
"""The scene is continued with at most this number of pixels and then enlarged. The worker restores the original."""
_BAND = 0.22
"""The width of the band that is continued, as a fraction of the image. The band rarely contains the main subject."""


def expand_image(content: bytes, size: Size, box: Box, seed: int) -> Pixels:
    """Expand an image and return an RGB array of shape (height, width, 3). `box` is the place of the image in `size`.

    A band along each edge is mirrored outwards repeatedly. Shapes and colours therefore continue without a seam, the
    sky stays sky, and the ground stays ground. The seed changes only the grain. Raises Broken if the file is damaged.
    """
    scale = min(1.0, (_WORK_PX / (size.width * size.height)) ** 0.5)
    columns, width = _mirrored(box.left, box.width, size.width, scale)
    rows, height = _mirrored(box.top, box.height, size.height, scale)
    image = decode_reference_rgb(content, max_px=max(width, height)).resize((width, height), Image.Resampling.LANCZOS)
    canvas = np.ascontiguousarray(np.asarray(image)[rows][:, columns])
    grain(canvas, seed)
    return canvas if canvas.shape[:2] == (size.height, size.width) else enlarged(canvas, size, Image.Resampling.BICUBIC)


def _mirrored(offset: int, inner: int, outer: int, scale: float) -> tuple[NDArray[np.intp], int]:
    """Return the pixel of the image that each pixel of the expanded side shows, and the length of the image.

    `offset`, `inner` and `outer` are the place and the length of the image and the length of the side before scaling.
    """
    outer, inner = max(2, round(outer * scale)), max(1, round(inner * scale))
    place = np.arange(outer) - min(round(offset * scale), outer - inner)
    band = max(1, round(inner * _BAND))
    beyond = np.maximum(-1 - place, place - inner) % (2 * band)  # the distance from the edge, for pixels outside
    beyond = np.minimum(beyond, 2 * band - 1 - beyond)
    outside = np.where(place < 0, beyond, inner - 1 - beyond)
    return np.where((place >= 0) & (place < inner), place, outside), inner
