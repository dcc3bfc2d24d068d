"""Picture files that engines are given, and those that they are answered with."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from framehouse.domain.errors import Broken

MAX_ANSWER_BYTES = 150_000_000
MAX_ANSWER_PIXELS = 80_000_000
"""A picture of 21:9 at 4k has 17 million."""


def upright(content: bytes, *, most_px: int = 0) -> Image.Image:
    """A reference's file as an RGB image: turned as its EXIF data say, on white where it is transparent, its
    longer side at most `most_px` (0: as it is). Raises Broken for a damaged file."""
    image = turned(content, most_px=most_px)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if most_px:
        image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def turned(content: bytes, *, most_px: int, formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP")) -> Image.Image:
    """A reference's file as an image in its own mode, 16 bits brought to 8, turned as its EXIF data say; a JPEG may
    come smaller, its longer side still at least `most_px` (0: as it is). Raises Broken for a damaged file."""
    try:
        with Image.open(io.BytesIO(content), formats=formats) as file:
            if most_px:
                file.draft("RGB", (most_px, most_px))
            image = ImageOps.exif_transpose(file)
            return image.point(lambda value: value / 256).convert("L") if image.mode.startswith("I") else image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Broken(f"a reference cannot be decoded: {error}") from error


def png_file(image: Image.Image) -> bytes:
    """The image as a PNG file, made quickly rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_answer(content: bytes) -> NDArray[np.uint8]:
    """The picture that an upstream answered with, as (height, width, 3) RGB. Raises Broken for what is none, or is too
    large to be one of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as file:
                if file.width * file.height > MAX_ANSWER_PIXELS:
                    raise Broken(f"a picture of {file.width}x{file.height} px came back, which is too large")
                image = ImageOps.exif_transpose(file)
                return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Broken(f"what came back is no picture: {error}") from error
