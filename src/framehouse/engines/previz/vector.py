"""Vector drawings. Shapes are added from back to front, and a drawing can be rasterized at any size."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pyvips
from numpy.typing import NDArray

from framehouse.engines.previz.color import Color, hex_of

pyvips.cache_set_max(0)  # the cache would keep a hundred drawings in memory, but no drawing is rasterized twice

Point = tuple[float, float]
Stop = tuple[float, Color] | tuple[float, Color, float]
Fill = Color | str


class Drawing:
    """A vector drawing. Coordinates are in the units of `width` and `height`. (0, 0) is the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._definitions: list[str] = []
        self._shapes: list[str] = []

    def linear(self, *stops: Stop, across: bool = False, slant: bool = False) -> str:
        """Return a gradient over the bounding box of a shape: vertical, horizontal (`across`) or diagonal (`slant`)."""
        x2, y2 = (1, 0) if across else (1, 1) if slant else (0, 1)
        return self._define(f'linearGradient x1="0" y1="0" x2="{x2}" y2="{y2}"', stops)

    def radial(self, *stops: Stop) -> str:
        """Return a gradient from the centre of the bounding box to its edge."""
        return self._define("radialGradient", stops)

    def _define(self, head: str, stops: Iterable[Stop]) -> str:
        name = f"g{len(self._definitions)}"
        kind, _, rest = head.partition(" ")
        listed = "".join(
            f'<stop offset="{stop[0]:.3f}" stop-color="{hex_of(stop[1])}"'
            + (f' stop-opacity="{stop[2]:.3f}"' if len(stop) > 2 else "")
            + "/>"
            for stop in stops
        )
        self._definitions.append(f'<{kind} id="{name}" {rest}>{listed}</{kind}>')
        return f"url(#{name})"

    def add(self, shape: str) -> None:
        """Add a shape in raw SVG."""
        self._shapes.append(shape)

    def path(self, d: str, fill: Fill, opacity: float = 1.0) -> None:
        if d:
            self._shapes.append(f'<path d="{d}" {_fill_attributes(fill, opacity)}/>')

    def line(self, d: str, color: Color, width: float, opacity: float = 1.0) -> None:
        """Add a stroke with round ends along the path `d`."""
        self._shapes.append(
            f'<path d="{d}" fill="none" stroke="{hex_of(color)}" stroke-width="{width:.1f}" stroke-linecap="round" '
            f'stroke-opacity="{opacity:.2f}"/>'
        )

    def polygon(self, points: Sequence[Point], fill: Fill, opacity: float = 1.0) -> None:
        self.path(outline(points), fill, opacity)

    def rect(
        self, x: float, y: float, width: float, height: float, fill: Fill, opacity: float = 1.0, radius: float = 0
    ) -> None:
        round_ = f' rx="{radius:.1f}"' if radius else ""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.1, width):.1f}" height="{max(0.1, height):.1f}"{round_} '
            f"{_fill_attributes(fill, opacity)}/>"
        )

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Fill, opacity: float = 1.0) -> None:
        self._shapes.append(
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{max(0.1, rx):.1f}" ry="{max(0.1, ry):.1f}" '
            f"{_fill_attributes(fill, opacity)}/>"
        )

    def circle(self, x: float, y: float, radius: float, fill: Fill, opacity: float = 1.0) -> None:
        self.ellipse(x, y, radius, radius, fill, opacity)

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Add a circle of light that fades from its centre to its edge."""
        fill = self.radial((0, color, strength), (0.35, color, strength * 0.45), (1, color, 0.0))
        self.circle(x, y, radius, fill)

    def pixels(self, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Return the drawing as RGBA pixels of shape (height, width, 4), not premultiplied."""
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width_px}" height="{height_px}" '
            f'preserveAspectRatio="none" viewBox="0 0 {self.width:.2f} {self.height:.2f}">'
            f"<defs>{''.join(self._definitions)}</defs>"
            f"{''.join(self._shapes)}</svg>"
        )
        return rasterized(svg)


def rasterized(svg: str) -> NDArray[np.uint8]:
    """Render a trusted SVG to RGBA pixels of shape (height, width, 4), not premultiplied. Releases the GIL."""
    pixels: NDArray[np.uint8] = pyvips.Image.svgload_buffer(svg.encode(), unlimited=True).numpy()
    return pixels


def outline(points: Sequence[Point]) -> str:
    """Return the SVG path of a closed polygon."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "z"


def boxes(rects: Iterable[tuple[float, float, float, float]]) -> str:
    """Return one SVG path that contains many rectangles (x, y, width, height).

    A single path is used, because the rendering time increases with the number of shapes.
    """
    return "".join(f"M{x:.1f} {y:.1f}h{w:.1f}v{h:.1f}h{-w:.1f}z" for x, y, w, h in rects)


def dots(circles: Iterable[tuple[float, float, float]]) -> str:
    """Return one SVG path that contains many circles (x, y, radius)."""
    return "".join(
        f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0z"
        for x, y, r in circles
    )


def smooth(points: Sequence[Point], bottom: float) -> str:
    """Return the SVG path of the area between a smooth line through the points and the horizontal line at `bottom`."""
    d = [f"M{points[0][0]:.1f} {bottom:.1f}L{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        d.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    return "".join(d) + f"L{points[-1][0]:.1f} {bottom:.1f}z"


def _fill_attributes(fill: Fill, opacity: float) -> str:
    color = fill if isinstance(fill, str) else hex_of(fill)
    return f'fill="{color}"' + (f' fill-opacity="{opacity:.2f}"' if opacity < 1 else "")
