"""The bundled fonts: one for Latin, Greek and Cyrillic, one for Chinese, Japanese and Korean. Neither has the other's
letters, so text is measured and drawn in runs."""

import io
from functools import lru_cache
from importlib.resources import files
from itertools import groupby

from PIL import ImageDraw, ImageFont

_LATIN, _CJK = "Roboto-Bold.ttf", "DroidSansFallback.ttf"
_FIRST_CJK = 0x2E7F

Ink = tuple[int, ...]


def text_width(text: str, size: int) -> float:
    """Pixels from the first letter to after the last, at a font size in pixels."""
    return sum(font.getlength(run) for run, font in _runs(text, size))


def draw_text(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, fill: Ink, *, center: bool = False
) -> None:
    """One line whose middle height is at `y`; it begins at `x`, or has its middle there."""
    x -= text_width(text, size) / 2 if center else 0
    base = y + size * 0.36  # half the height of capitals below the middle
    for run, font in _runs(text, size):
        draw.text((x, base), run, font=font, fill=fill, anchor="ls")
        x += font.getlength(run)


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    return [
        ("".join(letters), _font(_CJK if is_cjk else _LATIN, size))
        for is_cjk, letters in groupby(text, lambda c: ord(c) > _FIRST_CJK)
    ]


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO((files("framehouse") / "assets" / "fonts" / name).read_bytes()), size)
