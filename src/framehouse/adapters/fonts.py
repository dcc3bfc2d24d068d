"""Measure and draw text with the two bundled fonts.

Roboto contains Latin, Greek and Cyrillic letters. Droid Sans Fallback contains Chinese, Japanese and Korean characters.
Text is split into runs of characters, and each run is drawn with one font.
"""

import io
from functools import lru_cache
from importlib.resources import files
from itertools import groupby

from PIL import ImageDraw, ImageFont

_LATIN, _CJK = "Roboto-Bold.ttf", "DroidSansFallback.ttf"
_FIRST_CJK = 0x2E7F

Ink = tuple[int, ...]


def text_width(text: str, size: int) -> float:
    """Return the width of a line of text, in pixels. `size` is the font size in pixels."""
    return sum(font.getlength(run) for run, font in _runs(text, size))


def draw_text(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, fill: Ink, *, center: bool = False
) -> None:
    """Draw a line of text. `y` is the vertical centre of the text.

    `x` is the left edge of the text, or its horizontal centre if `center` is true.
    """
    x -= text_width(text, size) / 2 if center else 0
    baseline = y + size * 0.36  # the baseline is below the centre, by half the height of a capital letter
    for run, font in _runs(text, size):
        draw.text((x, baseline), run, font=font, fill=fill, anchor="ls")
        x += font.getlength(run)


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    return [
        ("".join(letters), _font(_CJK if is_cjk else _LATIN, size))
        for is_cjk, letters in groupby(text, lambda c: ord(c) > _FIRST_CJK)
    ]


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO((files("framehouse") / "assets" / "fonts" / name).read_bytes()), size)
