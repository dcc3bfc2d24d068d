"""Decode a reference as a browser shows it: upright, with the right colours, and in spite of damaged metadata.

The check of references and all engines use this module, so that they agree on the pixels.
"""

import io
import struct
import warnings
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from framehouse.adapters.reference_files.clean_file import without_metadata
from framehouse.adapters.reference_files.colour_profile import find_profile
from framehouse.adapters.reference_files.colours import alpha_channel, to_srgb
from framehouse.adapters.reference_files.header import ANIMATION, BadImage, read_header
from framehouse.domain.reference import MAX_PIXELS

_Converted = TypeVar("_Converted", Image.Image, Image.Image | None)
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image upright, by its EXIF orientation."""
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "heic": "HEIF"}


def open_image(content: bytes, *, max_px: int = 0) -> Image.Image:
    """Decode an image file as an upright image in sRGB, in the mode RGB, or RGBA if the image has transparency.

    If `max_px` is not 0, a JPEG file may be decoded at a reduced size. The longer side of the reduced image has at
    least `max_px` pixels. Raises BadImage if the file is not an image or if its pixels cannot be decoded.
    """
    return _open(content, lambda image: to_srgb(image, find_profile(content)), max_px)


def open_alpha(content: bytes) -> Image.Image | None:
    """Decode the upright alpha channel of an image file, in the mode L. Returns None if the image has none.

    The value 0 means fully transparent, and 255 means opaque. Raises BadImage in the same cases as `open_image`.
    """
    return _open(content, alpha_channel)


def _open(content: bytes, convert: Callable[[Image.Image], _Converted], max_px: int = 0) -> _Converted:
    """Decode an image file, convert the image, and rotate the result."""
    header = read_header(io.BytesIO(content))
    orientation = header.orientation
    if header.type == "heic":
        orientation = 1  # libheif rotates the image
        from pi_heif import register_heif_opener  # type: ignore[import-untyped]  # imported here: it is optional

        register_heif_opener(thumbnails=False)
    pixels = without_metadata(content) if header.type in ("jpg", "png") else content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(pixels), formats=(_FORMATS[header.type],)) as image:
                if getattr(image, "is_animated", False) and header.type != "heic":
                    raise BadImage(ANIMATION)
                if header.type == "png":
                    _scale_transparency(image, depth=content[24])
                if max_px:
                    image.draft("RGB", (max_px, max_px))
                image.load()
                if image.mode == "P" and image.palette is None:
                    raise ValueError("the palette is missing")
                converted = convert(image)
                transposition = _TRANSPOSITIONS.get(orientation)
                if converted is None or transposition is None:
                    return converted
                return converted.transpose(transposition)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has too many pixels; at most {MAX_PIXELS // 1_000_000} megapixels are allowed") from error
    except MemoryError as error:
        raise BadImage("is damaged or malicious: it needs too much memory to decode") from error
    except (OSError, ValueError, SyntaxError, RuntimeError, struct.error, KeyError, IndexError, TypeError) as error:
        reason = "it ends before the end of its pixels" if "truncated" in str(error) else "its pixels cannot be decoded"
        raise BadImage(f"is damaged: {reason}") from error


def _scale_transparency(image: Image.Image, *, depth: int) -> None:
    """Correct the transparent grey value of a PNG file with 2 or 4 bits per pixel.

    Pillow scales the pixels to 8 bits, but not this value.
    """
    transparent = image.info.get("transparency")
    if image.mode == "L" and depth in (2, 4) and isinstance(transparent, int):
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
