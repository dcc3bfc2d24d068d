"""Random image files for requests."""

import io
import secrets
from base64 import b64encode
from functools import cache

import numpy as np
from PIL import Image


@cache
def _noise(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def random_image(megabytes: int) -> bytes:
    """Return a PNG file of about this size, or a small one for 0. No two files are equal."""
    return _noise(max(300, int((megabytes * 1e6 / 3) ** 0.5))) + secrets.token_bytes(16)


def random_image_base64(megabytes: int) -> str:
    return b64encode(random_image(megabytes)).decode()
