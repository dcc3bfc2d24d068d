"""Draw text or a logo as a watermark in the lower right corner.

The watermark is legible on light and dark backgrounds.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from framehouse.adapters.fonts import draw_text, text_width

_HEIGHT_SHARE = 0.045
_MARGIN_SHARE = 0.025
_OPACITY = 0.82


def add_watermark(pixels: NDArray[np.uint8], text: str, logo: bytes = b"") -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return a watermarked copy of `pixels`, and the range of changed rows. `pixels` has the shape (height, width, 3).

    The range consists of the index of the first changed row and the index of the row after the last changed row. `logo`
    is the content of an image file with transparency. If `logo` is empty, `text` is drawn instead.
    """
    height, width = pixels.shape[:2]
    size = max(12, round(min(width, height) * _HEIGHT_SHARE))
    stamp = _stamp(text, logo, size, width // 2)
    stamp_height, stamp_width = stamp.shape[:2]
    margin = round(min(width, height) * _MARGIN_SHARE)
    top, left = max(0, height - margin - stamp_height), max(0, width - margin - stamp_width)
    marked = pixels.copy()
    area = marked[top : top + stamp_height, left : left + stamp_width]
    stamp = stamp[: area.shape[0], : area.shape[1]]
    alpha = stamp[..., 3:].astype(np.float32) * (_OPACITY / 255)
    area[:] = np.rint(area * (1 - alpha) + stamp[..., :3] * alpha).astype(np.uint8)
    return marked, (top, top + stamp_height)


@lru_cache(maxsize=32)
def _stamp(text: str, logo: bytes, size: int, max_width: int) -> NDArray[np.uint8]:
    """Return the watermark as RGBA pixels of shape (height, width, 4).

    A soft dark rim makes the watermark legible on light backgrounds. `size` is the font size in pixels. The height of a
    logo is at most 1.6 times `size`. Without its rim, the watermark is at most `max_width` pixels wide.
    """
    if logo:
        with Image.open(io.BytesIO(logo)) as image:
            face = image.convert("RGBA")
        scale = min(size * 1.6 / face.height, max_width / face.width)
        face = face.resize((max(1, round(face.width * scale)), max(1, round(face.height * scale))))
    else:
        face = Image.new("RGBA", (max(1, round(text_width(text, size))), round(size * 1.3)), (255, 255, 255, 0))
        draw_text(ImageDraw.Draw(face), 0, face.height / 2, text, size, (255, 255, 255, 255))
        if face.width > max_width:
            face = face.resize((max_width, max(1, round(face.height * max_width / face.width))))
    rim = max(2, size // 8)
    shadow = Image.new("L", (face.width + 4 * rim, face.height + 4 * rim), 0)
    shadow.paste(face.getchannel("A"), (2 * rim, 2 * rim))
    shadow = shadow.filter(ImageFilter.MaxFilter(rim // 2 * 2 + 1)).filter(ImageFilter.GaussianBlur(rim * 0.6))
    stamp = Image.new("RGBA", shadow.size, (12, 12, 16, 0))
    stamp.putalpha(shadow.point(lambda a: min(255, round(a * 1.15))))
    stamp.alpha_composite(face, (2 * rim, 2 * rim))
    return np.asarray(stamp)
