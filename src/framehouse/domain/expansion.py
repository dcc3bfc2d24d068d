"""The size of an image that is expanded at its edges, and the place of the original image in it."""

from dataclasses import dataclass
from typing import NamedTuple

from framehouse.domain.sizes import Size

MAX_RATIO = 2.0
MAX_AREA = 3.0
"""The largest area of an expanded image, as a multiple of the area of the original image."""
_MAX_SIDE_PX = 8192


class Box(NamedTuple):
    """A rectangle in an image, in pixels. `left` and `top` are the coordinates of its upper left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Expansion:
    """The sizes of the areas that are added to an image.

    `up` and `down` are multiples of the height of the image. `left` and `right` are multiples of its width.
    """

    up: float = 0.0
    down: float = 0.0
    left: float = 0.0
    right: float = 0.0

    @property
    def area(self) -> float:
        """The area of the expanded image, as a multiple of the area of the original image."""
        return (1 + self.up + self.down) * (1 + self.left + self.right)


def layout(expansion: Expansion, width: int, height: int) -> tuple[Size, Box]:
    """Return the size of the expanded image, and the place of the original image in it.

    `width` and `height` are the size of the original image in pixels. The width and the height of the expanded image
    are even numbers. If one of them would exceed 8,192 pixels, the expanded image is scaled down, including the
    original image.
    """
    full_width = width * (1 + expansion.left + expansion.right)
    full_height = height * (1 + expansion.up + expansion.down)
    scale = min(1.0, _MAX_SIDE_PX / full_width, _MAX_SIDE_PX / full_height)
    left, inner_width, outer_width = _side(width * scale, expansion.left, expansion.right)
    top, inner_height, outer_height = _side(height * scale, expansion.up, expansion.down)
    return Size(outer_width, outer_height), Box(left, top, inner_width, inner_height)


def _side(length: float, before: float, after: float) -> tuple[int, int, int]:
    """Return the offset and length of the original image in one dimension, and the length of the expanded image."""
    offset, inner = round(length * before), round(length)
    outer = offset + inner + round(length * after)
    outer = min(outer + outer % 2, _MAX_SIDE_PX)
    return offset, min(inner, outer - offset), outer
