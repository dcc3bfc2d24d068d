"""Decode a reference in the same way as a browser: upright, and in spite of damaged metadata.

The check of references and all engines use this module, so that they agree on the pixels.
"""

import io
import struct
import warnings

from PIL import Image

from framehouse.adapters.reference_files.clean_file import without_metadata
from framehouse.adapters.reference_files.header import BadImage, read_header
from framehouse.domain.reference import MAX_PIXELS

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


def open_image(content: bytes, *, max_px: int = 0, rgb: bool = False) -> Image.Image:
    """Decode a JPEG or PNG file as an upright image in the colour mode of the file, or in RGB if `rgb` is true.

    A WebP file is also decoded, because the first frame of a series may be a WebP file that Framehouse has generated.
    If `max_px` is not 0, a JPEG file may be decoded at a reduced size. The longer side of the reduced image has at
    least `max_px` pixels. Raises BadImage if the pixels cannot be decoded.
    """
    orientation = 1
    if not _is_webp(content):
        orientation = read_header(io.BytesIO(content)).orientation
        content = without_metadata(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
                if max_px:
                    image.draft("RGB", (max_px, max_px))
                image.load()
                transposition = _TRANSPOSITIONS.get(orientation)
                upright = image.copy() if transposition is None else image.transpose(transposition)
                return upright.convert("RGB") if rgb else upright
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"has too many pixels; at most {MAX_PIXELS // 1_000_000} megapixels are allowed") from error
    except MemoryError as error:
        raise BadImage("is damaged or malicious: it needs too much memory to decode") from error
    except (OSError, ValueError, SyntaxError, struct.error, KeyError, IndexError, TypeError) as error:
        reason = "it ends before the end of its pixels" if "truncated" in str(error) else "its pixels cannot be decoded"
        raise BadImage(f"is damaged: {reason}") from error


def _is_webp(content: bytes) -> bool:
    return content.startswith(b"RIFF") and content[8:12] == b"WEBP"
