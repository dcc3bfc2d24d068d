"""Draw text or a logo as a watermark in the lower right corner.

The watermark is legible on light and dark backgrounds. The Chinese standard GB 45438-2025 requires characters with a
height of at least 5 % of the shorter side of the image.
"""

import io
import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from framehouse.adapters.fonts import draw_text, text_width, wrap_text

_WORD = re.compile("[\u0021-\u2e7f]+")
_LETTER_SHARE = 0.05
_LETTER_SHARE_OF_LONGER_SIDE = 0.015
_LETTER_EM = 0.71
"""The height of a capital letter as a fraction of the font size. A Chinese character is higher."""
_MAX_FILTER_RIM_PX = 6
_MIN_FONT_PX = 12
_LINE_EM = 1.22
_LOGO_SHARE = 0.072
_MARGIN_SHARE = 0.025
_OPACITY = 0.86


def add_watermark(pixels: NDArray[np.uint8], text: str, logo: bytes = b"") -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return a watermarked copy of `pixels`, and the range of changed rows. `pixels` has the shape (height, width, 3).

    The range consists of the index of the first changed row and the index of the row after the last changed row. `logo`
    is the content of an image file with transparency. If `logo` is empty, `text` is drawn instead.
    """
    height, width = pixels.shape[:2]
    shorter = min(width, height)
    margin = round(shorter * _MARGIN_SHARE)
    size = _font_size(width, height)
    if logo:
        stamp = _logo_stamp(logo, max(19, round(shorter * _LOGO_SHARE)), width // 2)
    else:
        stamp = _text_stamp(text, size, max(1, width - 2 * margin - 4 * _rim(size)))
    stamp_height, stamp_width = stamp.shape[:2]
    top, left = max(0, height - margin - stamp_height), max(0, width - margin - stamp_width)
    marked = pixels.copy()
    area = marked[top : top + stamp_height, left : left + stamp_width]
    stamp = stamp[: area.shape[0], : area.shape[1]]
    alpha = stamp[..., 3:].astype(np.float32) * (_OPACITY / 255)
    area[:] = np.rint(area * (1 - alpha) + stamp[..., :3] * alpha).astype(np.uint8)
    return marked, (top, top + stamp_height)


def _font_size(width: int, height: int) -> int:
    """Return the font size in pixels with which capital letters have the required height.

    Two pixels are added, because the rasterizer rounds both edges of a letter. The share of the longer side matters if
    this side is more than three times as long as the other side. Without this share, the text would be illegible in the
    preview.
    """
    letter = max(min(width, height) * _LETTER_SHARE, max(width, height) * _LETTER_SHARE_OF_LONGER_SIDE)
    return max(_MIN_FONT_PX, math.ceil((letter + 2) / _LETTER_EM))


def _rim(size: int) -> int:
    return max(2, size // 10)


@lru_cache(maxsize=16)
def _logo_stamp(logo: bytes, height: int, max_width: int) -> NDArray[np.uint8]:
    """Return the logo as RGBA pixels. Without its rim, it has at most this height and width in pixels."""
    with Image.open(io.BytesIO(logo)) as image:
        face = image.convert("RGBA")
    scale = min(height / face.height, max_width / face.width)
    face = face.resize((max(1, round(face.width * scale)), max(1, round(face.height * scale))))
    return _with_rim(face, max(2, height // 13))


@lru_cache(maxsize=32)
def _text_stamp(text: str, size: int, max_width: int) -> NDArray[np.uint8]:
    """Return the text as RGBA pixels. `size` is the font size in pixels.

    A text that is wider than `max_width` pixels is wrapped into lines of similar lengths.
    """
    lines = _balanced(text, size, max_width)
    widths = [text_width(line, size) for line in lines]
    step = size * _LINE_EM
    face = Image.new(
        "RGBA", (max(1, math.ceil(max(widths, default=0))), math.ceil(step * len(lines))), (255,) * 3 + (0,)
    )
    draw = ImageDraw.Draw(face)
    for n, (line, width) in enumerate(zip(lines, widths, strict=True)):
        draw_text(draw, face.width - width, (n + 0.5) * step, line, size, (255, 255, 255, 255), bold=True)
    return _with_rim(face, _rim(size))


def _balanced(text: str, size: int, max_width: int) -> list[str]:
    """Wrap the text into as few lines as possible. The longest line is about as short as possible.

    Only words that are longer than `max_width` pixels are split.
    """
    lines = wrap_text(text, size, max_width)
    widest_word = max((text_width(word, size) for word in _WORD.findall(text)), default=0)
    narrow, wide = min(widest_word, max_width), float(max_width)
    while len(lines) > 1 and wide - narrow > size:
        middle = (narrow + wide) / 2
        narrower = wrap_text(text, size, middle)
        if len(narrower) > len(lines):
            narrow = middle
        else:
            wide, lines = middle, narrower
    return lines


def _with_rim(face: Image.Image, rim: int) -> NDArray[np.uint8]:
    """Return the pixels with a soft dark rim, as an array of shape (height, width, 4).

    The rim makes the watermark legible on light backgrounds. Each side grows by 2 * `rim` pixels.
    """
    shadow = Image.new("L", (face.width + 4 * rim, face.height + 4 * rim), 0)
    shadow.paste(face.getchannel("A"), (2 * rim, 2 * rim))
    # the time of the filters grows with the fourth power of the size, so large rims are computed at a smaller scale
    factor = max(1, rim // _MAX_FILTER_RIM_PX)
    size, small_rim = shadow.size, rim // factor
    shadow = shadow.reduce(factor).filter(ImageFilter.MaxFilter(small_rim // 2 * 2 + 1))
    shadow = shadow.filter(ImageFilter.GaussianBlur(small_rim * 0.6)).resize(size, Image.Resampling.BILINEAR)
    stamp = Image.new("RGBA", size, (12, 12, 16, 0))
    stamp.putalpha(shadow.point(lambda a: min(255, round(a * 1.15))))
    stamp.alpha_composite(face, (2 * rim, 2 * rim))
    return np.asarray(stamp)
