"""Text on the panel: the caption, chips (labels for nouns that have no drawing), and the tag in the corner."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageDraw

from framehouse.adapters.fonts import Ink, draw_text, text_width, wrap_text
from framehouse.engines.previz.color import Color
from framehouse.engines.previz.sprites import Pixels

_MARGIN = 0.046
_MAX_LINES = 3
_WHITE: Ink = (255, 255, 255, 255)
_CARD: Ink = (250, 246, 238, 235)


@contextmanager
def _rows_of(canvas: Pixels, top: float, bottom: float) -> Iterator[tuple[Image.Image, ImageDraw.ImageDraw, int]]:
    """Yield an image of the canvas rows from `top` to `bottom`, its drawing context, and the index of the first row.

    After the `with` block, the image is copied back to the canvas. Only these rows are copied, because a complete frame
    at 4k is large.
    """
    first, last = max(0, round(top)), min(canvas.shape[0], round(bottom))
    strip = Image.fromarray(canvas[first:last])
    yield strip, ImageDraw.Draw(strip, "RGBA"), first
    canvas[first:last] = np.asarray(strip)


def draw_texts(
    canvas: Pixels,
    caption: str,
    chips: Sequence[str],
    tag: str,
    ink: Color,
    *,
    boxed: bool,
    inset: float = 0.0,
) -> None:
    """Draw the caption, the chips and the tag on the canvas.

    If `boxed` is true, the caption is drawn in a light box, which suits styles that imitate paper. Otherwise, the lower
    part of the canvas is darkened, and the caption is drawn on this part. `ink` is a dark colour for the tag's box, the
    darkened part, and the text in light boxes. `inset` is the width of the style's border, as a fraction of the shorter
    side.
    """
    height, width = canvas.shape[:2]
    unit = min(height, width)
    margin = round(unit * (_MARGIN + inset))
    with _rows_of(canvas, 0, margin + unit * 0.06) as (_, draw, _first):
        size, pad = round(unit * 0.0235), unit * 0.014
        right, bottom = margin + text_width(tag, size) + pad * 1.8, margin + unit * 0.037
        _box(draw, (margin - pad * 0.4, margin - pad * 0.6, right, bottom), pad * 0.6, fill=(*ink, 205))
        draw_text(draw, margin + pad * 0.7, margin + unit * 0.0145, tag, size, _WHITE)
    size = round(unit * 0.031)
    lines = wrap(caption, size, width - 2 * margin - (unit * 0.03 if boxed else 0))
    step = round(size * 1.32)
    top = height - margin - step * len(lines)
    with _rows_of(canvas, top - unit * 0.24, height) as (strip, draw, first):
        if lines and not boxed:
            _darken(strip, top - round(unit * 0.05) - first, ink)
        elif lines:
            wide = max(text_width(line, size) for line in lines)
            pad = unit * 0.016
            left, low = margin - pad * 0.6, top - first + step * len(lines) + pad * 0.6
            _box(draw, (left, top - first - pad, left + wide + 2 * pad, low), pad, fill=(248, 244, 236, 218))
        for n, line in enumerate(lines):
            x, y = margin + (unit * 0.006 if boxed else 0), top - first + (n + 0.5) * step
            if not boxed:
                draw_text(draw, x, y + max(1, unit // 500), line, size, (0, 0, 0, 150))
            draw_text(draw, x, y, line, size, (*ink, 255) if boxed else _WHITE)
        _chips(draw, chips, margin, width - margin, top - first - unit * 0.075, unit, ink)


def draw_missing_cards(canvas: Pixels, chips: Sequence[str], ink: Color) -> None:
    """Draw one card for each chip, with the text of the chip. Used if a panel has no subjects that can be drawn."""
    height, width = canvas.shape[:2]
    unit = min(height, width)
    wide = min(width * 0.8 / len(chips), unit * 0.52)
    tall, inset, drop, size = wide * 0.72, unit * 0.018, unit * 0.014, round(unit * 0.05)
    with _rows_of(canvas, (height - tall) / 2, (height + tall) / 2 + 2 * drop) as (_, draw, _first):
        for n, chip in enumerate(chips):
            x = width / 2 + (n - (len(chips) - 1) / 2) * wide * 1.06 - wide / 2
            _box(draw, (x + drop, drop, x + wide, tall + drop), unit * 0.03, fill=(0, 0, 0, 60))
            _box(draw, (x, 0, x + wide, tall), unit * 0.03, fill=_CARD)
            frame = (x + inset, inset, x + wide - inset, tall - inset)
            _box(draw, frame, unit * 0.02, outline=(*ink, 120), width=max(1, unit // 300))
            lines = wrap(chip, size, wide - 4 * inset)
            for row, line in enumerate(lines):
                middle = tall / 2 + (row - (len(lines) - 1) / 2) * size * 1.3
                draw_text(draw, x + wide / 2, middle, line, size, (*ink, 255), center=True)


def _box(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    radius: float,
    *,
    fill: Ink | None = None,
    outline: Ink | None = None,
    width: int = 1,
) -> None:
    """Draw a rounded rectangle at integer coordinates. At fractional coordinates, the rounded corners would visibly
    overlap the rest of the rectangle."""
    left, top, right, bottom = map(round, box)
    draw.rounded_rectangle((left, top, right, bottom), round(radius), fill=fill, outline=outline, width=width)


def _chips(
    draw: ImageDraw.ImageDraw, chips: Sequence[str], left: float, right: float, y: float, unit: int, ink: Color
) -> None:
    """Draw the chips side by side from the left, above the caption. If a row is full, the next row is above it."""
    x, size, pad = left, round(unit * 0.027), unit * 0.014
    for chip in chips:
        wide = text_width(chip, size) + 2 * pad
        if x + wide > right and x > left:
            x, y = left, y - unit * 0.06
        box = (x, y, x + wide, y + unit * 0.048)
        _box(draw, box, unit * 0.024, fill=_CARD, outline=(*ink, 160), width=max(1, unit // 480))
        draw_text(draw, x + pad, y + unit * 0.024, chip, size, (*ink, 255))
        x += wide + pad


def _darken(image: Image.Image, top: int, ink: Color) -> None:
    """Darken the image towards the lower edge, so that white letters are readable on any background."""
    top = max(0, top)
    size = (image.width, image.height - top)
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    ramp = ramp.point(lambda v: round(min(1.0, v / 255 * 1.25) * 178))
    strip = Image.composite(Image.new("RGB", size, ink), image.crop((0, top, image.width, image.height)), ramp)
    image.paste(strip, (0, top))


def wrap(text: str, size: int, width: float) -> list[str]:
    """Wrap the text into at most three lines. Text that does not fit is replaced with an ellipsis."""
    lines = wrap_text(text, size, width)
    if len(lines) <= _MAX_LINES:
        return lines
    return [*lines[: _MAX_LINES - 1], _shortened(lines[_MAX_LINES - 1], size, width)]


def _shortened(line: str, size: int, width: float) -> str:
    while line and text_width(line + "…", size) > width:
        line = line[:-1]
    return line.rstrip() + "…"
