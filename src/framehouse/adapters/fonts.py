"""Measure, wrap and draw text with the two bundled fonts.

Roboto contains Latin, Greek and Cyrillic letters. Droid Sans Fallback contains Chinese, Japanese and Korean characters.
Text is split into runs of characters, and each run is drawn with one font.
"""

import io
import re
from functools import lru_cache
from importlib.resources import files
from itertools import groupby

from PIL import ImageDraw, ImageFont

_LATIN, _CJK = "Roboto-Bold.ttf", "DroidSansFallback.ttf"
_FIRST_CJK = 0x2E7F
_PIECE = re.compile(r"[^\s\u0021-\u2e7f]|[\u0021-\u2e7f]*\s*")
_NEVER_FIRST = "，。！？、；：,.!?;:)”’」』）"

Ink = tuple[int, ...]


def text_width(text: str, size: int) -> float:
    """Return the width of a line of text, in pixels. `size` is the font size in pixels."""
    return sum(font.getlength(run) for run, font in _runs(text, size))


def wrap_text(text: str, size: int, width: float) -> list[str]:
    """Wrap the text into lines of at most `width` pixels.

    Lines break between Latin words, and between Chinese characters. No line starts with a comma, a full stop, a closing
    bracket or a similar character, so a line can be longer than `width` by such characters.
    """
    lines: list[str] = []
    line = ""
    for piece in _pieces(text, size, width):
        if line and text_width((line + piece).rstrip(), size) > width and piece.strip() not in _NEVER_FIRST:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()] if line.strip() else lines


def draw_text(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    size: int,
    fill: Ink,
    *,
    center: bool = False,
    bold: bool = False,
) -> None:
    """Draw a line of text. `y` is the vertical centre of the text.

    `x` is the left edge of the text, or its horizontal centre if `center` is true. If `bold` is true, the strokes of
    Chinese, Japanese and Korean characters are widened, so that they look as bold as Latin letters.
    """
    x -= text_width(text, size) / 2 if center else 0
    baseline = y + size * 0.36  # the baseline is below the centre, by half the height of a capital letter
    for run, font in _runs(text, size):
        stroke = size // 40 if bold and ord(run[0]) > _FIRST_CJK else 0
        draw.text((x, baseline), run, font=font, fill=fill, anchor="ls", stroke_width=stroke)
        x += font.getlength(run)


def _pieces(text: str, size: int, width: float) -> list[str]:
    """Split a text into pieces between which a line may break.

    A piece is a single Chinese character, or a word with the space after it. A word that is longer than a line is
    split.
    """
    pieces: list[str] = []
    for piece in _PIECE.findall(text):
        if text_width(piece.rstrip(), size) > width:
            length = max(4, int(width / size))
            pieces += [piece[at : at + length] for at in range(0, len(piece), length)]
        else:
            pieces.append(piece)
    return pieces


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    return [
        ("".join(letters), _font(_CJK if is_cjk else _LATIN, size))
        for is_cjk, letters in groupby(text, lambda c: ord(c) > _FIRST_CJK)
    ]


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO((files("framehouse") / "assets" / "fonts" / name).read_bytes()), size)
