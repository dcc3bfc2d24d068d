"""Small image files to send."""

import io
from base64 import b64encode
from typing import Any

from PIL import Image


def image_file(width: int = 400, height: int = 300, format: str = "PNG", **options: Any) -> bytes:
    """A small picture as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 40)).save(buffer, format, **options)
    return buffer.getvalue()


def image_base64(width: int = 400, height: int = 300, format: str = "PNG") -> str:
    return b64encode(image_file(width, height, format)).decode()
