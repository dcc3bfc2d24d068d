"""The bundled fonts, at any size: Latin, and Chinese, Japanese and Korean."""

import io
from functools import lru_cache
from importlib.resources import files

from PIL import ImageFont

_LATIN, _CJK = "Roboto-Bold.ttf", "DroidSansFallback.ttf"


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of this size in pixels that has the text's letters."""
    return _font(_CJK if any(ord(c) > 0x2E7F for c in text) else _LATIN, size)


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO((files("framehouse") / "assets" / "fonts" / name).read_bytes()), size)
