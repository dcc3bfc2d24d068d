"""Picture files that engines are given, and those that they are answered with."""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image, ImageOps

from framehouse.domain.errors import Broken

MAX_ANSWER_BYTES = 150_000_000
MAX_ANSWER_PIXELS = 80_000_000
"""A picture of 21:9 at 4k has 17 million."""
_TRUE_COLOUR = b"\x08\x02\x00\x00\x00"  # 8 bits, RGB, deflate, the five filters, not interlaced
_LAST_FILTER = 4


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG of 8-bit RGB that was found whole. `data` are its IDAT chunks, one after the other, as they stand in it."""

    file: bytes
    width: int
    height: int
    data: bytes

    def decoded(self) -> NDArray[np.uint8]:
        """(height, width, 3) RGB."""
        return decode_answer(self.file)


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


def read_answer(content: bytes) -> NDArray[np.uint8] | Png:
    """The picture that an upstream answered with: as its file where that is of the kind that we write ourselves, and
    whole, which takes a quarter of decoding it; else as (height, width, 3) RGB. Raises Broken like `decode_answer`."""
    return _whole_png(content) or decode_answer(content)


def _whole_png(content: bytes) -> Png | None:
    """The file, if all of it is in order: chunks, checksums, as many pixels as it says, and nothing that turns or moves
    them."""
    if content[:16] != b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" or content[24:29] != _TRUE_COLOUR:
        return None
    width, height = struct.unpack_from(">II", content, 16)
    packed, data, at, name = [], [], 8, b""
    while name != b"IEND":
        if at + 12 > len(content):
            return None
        (length,) = struct.unpack_from(">I", content, at)
        chunk = content[at : at + 12 + length]
        name, body = chunk[4:8], chunk[8:-4]
        if len(body) != length or isal_zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            return None
        if name in (b"eXIf", b"acTL"):
            return None
        if name == b"IDAT":
            packed.append(body)
            data.append(chunk)
        at += len(chunk)
    wanted = height * (width * 3 + 1)
    if not wanted or width * height > MAX_ANSWER_PIXELS:
        return None
    try:
        inflater = isal_zlib.decompressobj()
        rows = inflater.decompress(b"".join(packed), wanted)
        ended = inflater.eof or (not inflater.decompress(inflater.unconsumed_tail, 1) and inflater.eof)
    except isal_zlib.IsalError:  # type: ignore[misc]  # its stub has it as an object
        return None
    if len(rows) != wanted or not ended or np.frombuffer(rows, np.uint8)[:: width * 3 + 1].max() > _LAST_FILTER:
        return None
    return Png(content, width, height, b"".join(data))


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
