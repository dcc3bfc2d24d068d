"""Compare the images of a series without a model: the area of the subject, and the similarity of two images.

Both functions use only colours and edges. They are cheap (about 10 ms), but do not recognize persons or things.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from framehouse.domain.expansion import Box

_SMALL_PX, _MIN_PX = 128, 8
_BLUR_PX = 3
_EDGE_SHARE = 0.1
"""The share of the width and of the height that counts as the edge of an image on each side."""
_EDGE_COLOURS = 16
_CENTRE = 1.5
"""How much less a contrast counts near the edges of the image than in its centre."""
_STRONG = 0.25
"""A contrast below this share of the largest contrast does not count."""
_LEFT_OUT = 0.06
"""The share of the total contrast that may lie outside the box on each side."""
_MARGIN = 0.3
_MIN_AREA, _MAX_AREA = 0.03, 0.6
_COLOUR_BINS, _DIRECTION_BINS = 6, 12
_COLOUR_WEIGHT = 0.75


def subject_box(image: Image.Image) -> Box | None:
    """Return the area that differs most from the edges of an image, which is usually the subject.

    The area has a margin. Returns None if the image has no such area, or if the area is almost the whole image.
    """
    small = _small(image).filter(ImageFilter.GaussianBlur(_BLUR_PX))
    values = np.asarray(small, np.float32)
    height, width = values.shape[:2]
    rows, columns = max(1, round(height * _EDGE_SHARE)), max(1, round(width * _EDGE_SHARE))
    edge = np.ones((height, width), bool)
    edge[rows:-rows, columns:-columns] = False
    palette = Image.fromarray(values[edge][None].astype(np.uint8)).quantize(_EDGE_COLOURS).getpalette()
    edge_colours = np.array(palette, np.float32).reshape(-1, 3)
    contrast = np.min(((values[:, :, None] - edge_colours) ** 2).sum(axis=3), axis=2)
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
    contrast *= np.exp(-_CENTRE * (across[None] ** 2 + down[:, None] ** 2))
    contrast[contrast < contrast.max() * _STRONG] = 0
    contrast[edge] = 0
    if not contrast.any():
        return None
    left, right = _span(contrast.sum(axis=0))
    top, bottom = _span(contrast.sum(axis=1))
    scale_x, scale_y = image.width / width, image.height / height
    margin_x, margin_y = (right - left) * _MARGIN, (bottom - top) * _MARGIN
    left_px, top_px = max(0, int((left - margin_x) * scale_x)), max(0, int((top - margin_y) * scale_y))
    right_px = min(image.width, round((right + margin_x) * scale_x))
    bottom_px = min(image.height, round((bottom + margin_y) * scale_y))
    area = (right_px - left_px) * (bottom_px - top_px) / (image.width * image.height)
    if not _MIN_AREA <= area <= _MAX_AREA:
        return None
    return Box(left_px, top_px, right_px - left_px, bottom_px - top_px)


def similarity(first: Image.Image, second: Image.Image) -> float:
    """Return how similar the colours and the directions of the edges of two images are, from 0 to 1.

    The position of things in the images has no influence. Two images of one scene in different framings have a high
    similarity.
    """
    colours = np.minimum(_colours(first), _colours(second)).sum()
    one, other = _directions(first), _directions(second)
    directions = np.minimum(one, other).sum()
    return round(float(_COLOUR_WEIGHT * colours + (1 - _COLOUR_WEIGHT) * directions), 3)


def _small(image: Image.Image) -> Image.Image:
    scale = min(1.0, _SMALL_PX / max(image.size))
    width, height = (max(_MIN_PX, round(side * scale)) for side in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)


def _span(sums: NDArray[np.float32]) -> tuple[int, int]:
    """Return the first and the last index between which all but a small share of the sum lies."""
    cumulative = np.cumsum(sums) / sums.sum()
    return int(np.searchsorted(cumulative, _LEFT_OUT)), int(np.searchsorted(cumulative, 1 - _LEFT_OUT)) + 1


def _colours(image: Image.Image) -> NDArray[np.float32]:
    """Return the shares of the colours of an image. The sum is 1."""
    blurred = _small(image).filter(ImageFilter.GaussianBlur(1)).convert("YCbCr")
    values = np.asarray(blurred, np.float32) / 256
    values[..., 0] = values[..., 0] / 2 + 0.25  # brightness counts half, because the light changes with the framing
    values[..., 1:] = np.clip((values[..., 1:] - 0.5) * 2 + 0.5, 0, 0.999)
    bins = (values * _COLOUR_BINS).astype(int).reshape(-1, 3)
    index = (bins[:, 0] * _COLOUR_BINS + bins[:, 1]) * _COLOUR_BINS + bins[:, 2]
    shares: NDArray[np.float32] = (np.bincount(index, minlength=_COLOUR_BINS**3) / index.size).astype(np.float32)
    return shares


def _directions(image: Image.Image) -> NDArray[np.float32]:
    """Return the shares of the directions of the edges of an image, weighted by their strength. The sum is 1 or 0."""
    grey = np.asarray(_small(image).convert("L"), np.float32)
    vertical, horizontal = np.gradient(grey)
    angle = (np.arctan2(vertical, horizontal) % np.pi) / np.pi
    bins = np.minimum((angle * _DIRECTION_BINS).astype(int), _DIRECTION_BINS - 1)
    sums = np.bincount(bins.ravel(), np.hypot(vertical, horizontal).ravel(), _DIRECTION_BINS).astype(np.float32)
    total = sums.sum()
    return sums / total if total else sums
