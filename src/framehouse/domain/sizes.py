"""The shapes and sizes of the contract, in pixels."""

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
    """Pixels of a listed ratio at a listed resolution; both sides are multiples of 16."""
    width, height = _BASE[ratio]
    scale = SCALES[resolution]
    return Size(width * scale, height * scale)


def named(size: Size) -> tuple[str, str]:
    """The listed ratio and resolution of which these are the pixels. Raises KeyError for a size that has none."""
    return _NAMES[size]


def largest_within(size: Size, most_pixels: int) -> Size:
    """The largest size of exactly this shape, both sides multiples of 16, at most so many pixels and no larger than
    `size` itself; where there is none so small, the smallest."""
    across, down = size.width // 16, size.height // 16
    unit = math.gcd(across, down)
    across, down = across // unit * 16, down // unit * 16
    scale = max(1, min(unit, math.isqrt(most_pixels // (across * down))))
    return Size(across * scale, down * scale)


def nearest_ratio(width: int, height: int) -> str:
    """The listed ratio nearest to an image's, compared on a logarithmic scale so that tall and wide count alike."""
    wanted = math.log(width / height)
    return min(RATIOS, key=lambda ratio: abs(math.log(_BASE[ratio][0] / _BASE[ratio][1]) - wanted))
