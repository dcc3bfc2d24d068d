"""Continue a scene beyond the edges of an image."""

from PIL import Image

from framehouse.domain.expansion import Box
from framehouse.domain.sizes import Size
from framehouse.engines.expansion_canvas import continue_edges
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.previz.sprites import Pixels, enlarged, grain

_WORK_PX = 1_500_000
"""The scene is continued at a size of at most this many pixels, and the result is then enlarged. The worker later
copies the original image into the result, so the original image loses no details."""


def expand_image(content: bytes, size: Size, box: Box, seed: int) -> Pixels:
    """Expand an image to `size` and return an RGB array of shape (height, width, 3).

    `content` is the file of the image, and `box` is the area that the image occupies in the expanded image. The edges
    of the image are mirrored outwards. The seed changes only the grain. Raises Broken if the file is damaged.
    """
    scale = min(1.0, (_WORK_PX / (size.width * size.height)) ** 0.5)
    work = Size(*(max(2, round(side * scale)) for side in size))
    width, height = (max(1, round(side * scale)) for side in (box.width, box.height))
    left = min(round(box.left * scale), work.width - width)
    top = min(round(box.top * scale), work.height - height)
    image = decode_reference_rgb(content, max_px=max(width, height)).resize((width, height), Image.Resampling.LANCZOS)
    canvas = continue_edges(image, left, top, work)
    grain(canvas, seed, vignette=0)  # without darker corners, which would make the edge of the original image visible
    return canvas if work == size else enlarged(canvas, size, Image.Resampling.BICUBIC)
