"""Compute a ThumbHash: about 25 bytes from which a client draws a blurred placeholder of an image.

Format: https://evanw.github.io/thumbhash. The hash contains the lowest frequencies of a discrete cosine transform of
the luminance L = (r + g + b) / 3 and of the colour differences P = (r + g) / 2 - b and Q = r - g.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PX = 100
"""The maximum length of the sides of an image in pixels. More pixels would not visibly improve the placeholder."""
_MAX_LUMINANCE_TERMS = 7
_COLOUR_TERMS = 3
_ROUNDING_ERROR = 1e-9


@dataclass(frozen=True, slots=True)
class _Channel:
    """The coefficients of a channel.

    `mean` is the coefficient of the frequency 0. The other coefficients are divided by `scale`, and mapped to 0…1.
    """

    mean: float
    coefficients: list[float]
    scale: float


def thumb_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Return the ThumbHash of an opaque image. `pixels` has the shape (height, width, 3), with at most MAX_PX pixels
    per side."""
    height, width = map(int, pixels.shape[:2])
    red, green, blue = np.moveaxis(pixels.astype(np.float64) / 255, -1, 0)
    longer = max(width, height)
    columns = max(1, _rounded(_MAX_LUMINANCE_TERMS * width / longer))
    rows = max(1, _rounded(_MAX_LUMINANCE_TERMS * height / longer))
    luminance = _transformed((red + green + blue) / 3, max(_COLOUR_TERMS, columns), max(_COLOUR_TERMS, rows))
    p, q = (_transformed(channel, _COLOUR_TERMS, _COLOUR_TERMS) for channel in ((red + green) / 2 - blue, red - green))
    header = (
        _rounded(63 * luminance.mean)
        | _rounded(31.5 + 31.5 * p.mean) << 6
        | _rounded(31.5 + 31.5 * q.mean) << 12
        | _rounded(31 * luminance.scale) << 18
    )
    landscape = width > height
    subheader = (rows if landscape else columns) | _rounded(63 * p.scale) << 3 | _rounded(63 * q.scale) << 9
    subheader |= landscape << 15
    digits = [_rounded(15 * value) for channel in (luminance, p, q) for value in channel.coefficients]
    packed = bytes(low | high << 4 for low, high in zip(digits[::2], [*digits[1::2], 0], strict=False))
    return header.to_bytes(3, "little") + subheader.to_bytes(2, "little") + packed


def _transformed(channel: NDArray[np.float64], columns: int, rows: int) -> _Channel:
    """Return the coefficients of the lowest frequencies of a channel, at most `columns` horizontally and `rows`
    vertically."""
    height, width = channel.shape
    terms = (_cosines(rows, height) @ channel @ _cosines(columns, width).T) / (width * height)
    kept = [terms[y, x] for y in range(rows) for x in range(columns) if (x or y) and x * rows < columns * (rows - y)]
    scale = max((abs(float(term)) for term in kept), default=0.0)
    if scale < _ROUNDING_ERROR:
        scale = 0.0
    return _Channel(float(terms[0, 0]), [0.5 + 0.5 * float(term) / scale if scale else 0.0 for term in kept], scale)


def _cosines(count: int, size: int) -> NDArray[np.float64]:
    return np.cos(np.pi / size * np.outer(np.arange(count), np.arange(size) + 0.5))


def _rounded(value: float) -> int:
    """Return the nearest integer. As in JavaScript, halves are rounded up."""
    return math.floor(value + 0.5)
