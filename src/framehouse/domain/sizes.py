"""The aspect ratios, resolutions and sizes of the Kling API."""

import math
from typing import NamedTuple

AUTO = "auto"
_BASE = {
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "1:1": (1024, 1024),
    "4:3": (1152, 864),
    "3:4": (864, 1152),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "21:9": (1568, 672),
}
RATIOS: tuple[str, ...] = tuple(_BASE)
_MIN_UPSCALED = 1.1
SCALES = {"1k": 1, "2k": 2, "4k": 4}
RESOLUTIONS: tuple[str, ...] = tuple(SCALES)
_NAMES = {
    (width * scale, height * scale): (ratio, resolution)
    for ratio, (width, height) in _BASE.items()
    for resolution, scale in SCALES.items()
}


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


def size_of(ratio: str, resolution: str) -> Size:
    """Return the size for an aspect ratio and a resolution of the Kling API. Both sides are multiples of 16."""
    width, height = _BASE[ratio]
    scale = SCALES[resolution]
    return Size(width * scale, height * scale)


def ratio_and_resolution(size: Size) -> tuple[str, str]:
    """Return the aspect ratio and the resolution for a size. Raises KeyError if the Kling API has no such size."""
    return _NAMES[size]


def largest_within(size: Size, max_pixels: int) -> Size:
    """Return the largest size with the same aspect ratio as `size` and at most `max_pixels` pixels.

    The result is not larger than `size`. The widths and heights of `size` and of the result are multiples of 16. If
    even the smallest size with this aspect ratio has more than `max_pixels` pixels, that size is returned.
    """
    columns, rows = size.width // 16, size.height // 16
    unit = math.gcd(columns, rows)
    width, height = columns // unit * 16, rows // unit * 16
    scale = max(1, min(unit, math.isqrt(max_pixels // (width * height))))
    return Size(width * scale, height * scale)


def upscaling_factor(generated: Size, size: Size) -> int:
    """Return the factor by which a neural network enlarges a generated image before it is resized to `size`: 2 or 4.

    Returns 1 if no network is needed, because the image is only slightly smaller than `size`, or because its width or
    height is not smaller.
    """
    if generated.width >= size.width or generated.height >= size.height:
        return 1
    factor = max(size.width / generated.width, size.height / generated.height)
    if factor < _MIN_UPSCALED:
        return 1
    return 2 if factor <= 2 else 4


def nearest_ratio(width: int, height: int) -> str:
    """Return the aspect ratio of the Kling API that is nearest to the aspect ratio of an image.

    The distance is measured on a logarithmic scale, so that portrait and landscape images are treated equally.
    """
    log_ratio = math.log(width / height)
    return min(RATIOS, key=lambda ratio: abs(math.log(_BASE[ratio][0] / _BASE[ratio][1]) - log_ratio))


def resolution_for(size: Size, max_resolution: str = "4k") -> str:
    """Return the smallest resolution of the Kling API that is large enough for `size`, at most `max_resolution`."""
    allowed = RESOLUTIONS[: RESOLUTIONS.index(max_resolution) + 1]
    scale = size.width / _BASE[nearest_ratio(*size)][0]
    return next((name for name in allowed if SCALES[name] >= scale), allowed[-1])
