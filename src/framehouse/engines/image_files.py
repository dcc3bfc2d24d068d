"""Decode references for engines, and verify or decode the image files that upstreams return."""

import io
import itertools
import struct
import warnings
from dataclasses import dataclass, field

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image, ImageOps

from framehouse.adapters.reference_files.clean_file import PNG_END
from framehouse.adapters.reference_files.file_types import has_manifest
from framehouse.adapters.reference_files.header import BadImage
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.domain.errors import Broken

MAX_ANSWER_BYTES = 150_000_000
MAX_ANSWER_PIXELS = 80_000_000
"""The maximum number of pixels of an image from an upstream. An expanded image has at most 67 million pixels
(8,192 x 8,192). The largest image of any other kind (21:9 at 4k) has 17 million pixels."""
_TRUE_COLOUR = b"\x08\x02\x00\x00\x00"  # bit depth 8, RGB, deflate compression, filter method 0, not interlaced
_NO_FILTER, _UP_FILTER, _LAST_FILTER = 0, 2, 4
_MAX_UNFILTERED_ROWS = 10_000
_HEADER_END = 33


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The file of a generated image, which an upstream has returned. `width` and `height` are in pixels."""

    file: bytes
    width: int
    height: int

    def decoded(self) -> NDArray[np.uint8]:
        """Return the RGB pixels as an array of shape (height, width, 3)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SignedFile(ImageFile):
    """A file that contains a C2PA manifest, and its pixels. The file is kept, because it can become an ingredient."""

    pixels: NDArray[np.uint8] = field(repr=False)

    def decoded(self) -> NDArray[np.uint8]:
        return self.pixels


@dataclass(frozen=True, slots=True)
class Png(ImageFile):
    """A verified PNG file with 8-bit RGB pixels.

    `data` contains its IDAT chunks, unchanged and in order. `rows` contains its decompressed rows, each of which starts
    with the number of its filter.
    """

    data: bytes
    rows: bytes = field(repr=False)

    def decoded(self) -> NDArray[np.uint8]:
        """Return the RGB pixels as an array of shape (height, width, 3).

        Framehouse's own encoder uses only the filters none (0) and up (2). For such files, numpy needs a tenth of the
        time of Pillow.
        """
        rows = np.frombuffer(self.rows, np.uint8).reshape(self.height, -1)
        filters = rows[:, 0]
        unfiltered = np.flatnonzero(filters == _NO_FILTER)
        if not np.isin(filters, (_NO_FILTER, _UP_FILTER)).all() or len(unfiltered) > _MAX_UNFILTERED_ROWS:
            # only the verified chunks, because other chunks may be damaged
            return decode_answer(b"".join((self.file[:_HEADER_END], self.data, PNG_END)))
        pixels = np.empty((self.height, self.width * 3), np.uint8)
        starts = [*sorted({0, *unfiltered.tolist()}), self.height]
        for start, end in itertools.pairwise(starts):
            np.add.accumulate(rows[start:end, 1:], axis=0, dtype=np.uint8, out=pixels[start:end])
        return pixels.reshape(self.height, self.width, 3)


def decode_reference_rgb(content: bytes, *, max_px: int = 0) -> Image.Image:
    """Decode a reference as an upright sRGB image. Transparent areas become white.

    If `max_px` is not 0, the image is scaled down so that its longer side has at most `max_px` pixels. Raises Broken if
    the file is damaged.
    """
    image = decode_reference(content, max_px=max_px)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if max_px:
        image.thumbnail((max_px, max_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def decode_reference(content: bytes, *, max_px: int) -> Image.Image:
    """Decode a reference as an upright sRGB image in the mode RGB, or RGBA if it has transparency.

    If `max_px` is not 0, a JPEG file may be decoded at a reduced size. The longer side of the reduced image has at
    least `max_px` pixels. Raises Broken if the file is damaged.
    """
    try:
        return open_image(content, max_px=max_px)
    except BadImage as error:
        raise Broken(f"a reference {error}") from error


def png_file(image: Image.Image) -> bytes:
    """Encode the image as a PNG file with fast compression."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def answer_file(image: NDArray[np.uint8] | ImageFile) -> bytes:
    """Return the file of a generated image, which can be sent as a reference. Blocks the calling thread."""
    return image.file if isinstance(image, ImageFile) else png_file(Image.fromarray(image))


def read_answer(content: bytes) -> NDArray[np.uint8] | ImageFile:
    """Verify or decode an image file from an upstream.

    An intact PNG file with 8-bit RGB pixels is only verified, and is returned as a Png. An upstream that is a
    Framehouse server returns such files. They are not decoded, because decoding takes four times as long as verifying.
    Other images are decoded to RGB arrays of shape (height, width, 3), and are returned as a SignedFile if the file
    contains a C2PA manifest. Raises Broken in the same cases as `decode_answer`.
    """
    if png := _verified_png(content):
        return png
    pixels = decode_answer(content)
    if has_manifest(content):
        return SignedFile(content, pixels.shape[1], pixels.shape[0], pixels)
    return pixels


def _verified_png(content: bytes) -> Png | None:
    """Return the file as a Png, or None if the file must be decoded.

    A file must be decoded if it is not a PNG file with 8-bit RGB pixels, if it is an animation, or if it has too many
    pixels. A file with EXIF data must be decoded because the EXIF data may specify a rotation. A file with missing
    chunks, a wrong checksum, an invalid filter type or a wrong amount of pixel data must also be decoded.
    """
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
    expected_bytes = height * (width * 3 + 1)
    if not expected_bytes or width * height > MAX_ANSWER_PIXELS:
        return None
    try:
        inflater = isal_zlib.decompressobj()
        rows = inflater.decompress(b"".join(packed), expected_bytes)
        at_end = inflater.eof or (not inflater.decompress(inflater.unconsumed_tail, 1) and inflater.eof)
    except isal_zlib.IsalError:  # type: ignore[misc]  # the type stub declares IsalError as an object
        return None
    if len(rows) != expected_bytes or not at_end:
        return None
    if np.frombuffer(rows, np.uint8)[:: width * 3 + 1].max() > _LAST_FILTER:
        return None
    return Png(content, width, height, b"".join(data), rows)


def decode_answer(content: bytes) -> NDArray[np.uint8]:
    """Decode an image file from an upstream to an RGB array of shape (height, width, 3).

    Raises Broken if the content is not a valid PNG, JPEG or WebP image, or if the image has more than
    `MAX_ANSWER_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as file:
                if file.width * file.height > MAX_ANSWER_PIXELS:
                    raise Broken(f"the upstream returned an image of {file.width}x{file.height} px, which is too large")
                image = ImageOps.exif_transpose(file)
                return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:  # the image exceeds Pillow's own limit on pixels
        raise Broken("the upstream returned an image that is too large") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise Broken(f"the upstream did not return an image: {error}") from error
