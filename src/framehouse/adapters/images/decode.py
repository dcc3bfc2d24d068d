"""References in: is it what it says, and its pixels."""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from framehouse.domain.reference import MAX_PIXELS, MAX_REFERENCE_BYTES, reference_problem

_MAX_JPEG_SCANS = 100
"""Ordinary files have 1 or about 10; a small file with hundreds of thousands keeps a decoder busy for minutes."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class BadImage(Exception):
    """The bytes are not a usable reference; the message continues "image_list[0].image …"."""


def inspect(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, as shown (EXIF rotation applied), of an image that meets the contract's rules.

    Reads only headers. Raises BadImage.
    """
    if not content:
        raise BadImage("is empty")
    if len(content) > MAX_REFERENCE_BYTES:
        raise BadImage(f"has {len(content):,} bytes; at most {MAX_REFERENCE_BYTES:,} are allowed")
    with _open(content) as image:
        width, height = image.size
        is_jpeg = image.format in ("JPEG", "MPO")  # a JPEG with further pictures in it, as phones write
        if problem := reference_problem(width, height):
            raise BadImage(problem)
        if not is_jpeg and getattr(image, "n_frames", 1) > 1:
            raise BadImage("is an animation; a still jpg or png is needed")
        # a PNG's orientation may stand behind its pixels, and looking for it there would decode them
        if is_jpeg or "exif" in image.info:
            try:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            except (OSError, ValueError, SyntaxError, struct.error):
                turned = False
            if turned:
                width, height = height, width
    if is_jpeg and content.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise BadImage(f"is a JPEG of more than {_MAX_JPEG_SCANS} scans, which is not accepted")
    return width, height


def decode(content: bytes) -> NDArray[np.uint8]:
    """The pixels as (height, width, 4) RGBA, upright. Raises BadImage where the file is damaged."""
    with _open(content) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                upright = upright.point(lambda v: v / 256).convert("L")
            return np.asarray(upright.convert("RGBA"))
        except (OSError, ValueError, SyntaxError, MemoryError) as error:
            raise BadImage(f"is damaged: {error}") from error


def _open(content: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has too many pixels; at most {MAX_PIXELS // 1_000_000} megapixels are allowed") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadImage("cannot be read as a jpg or png image") from error
