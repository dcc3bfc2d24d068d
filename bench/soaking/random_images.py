"""Pictures to send."""

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


def image(megabytes: int) -> bytes:
    """A new picture of about this size, 0 being a small one."""
    return _noise(max(300, int((megabytes * 1e6 / 3) ** 0.5))) + secrets.token_bytes(16)


def sent(megabytes: int) -> str:
    """A new picture as it is sent."""
    return b64encode(image(megabytes)).decode()
