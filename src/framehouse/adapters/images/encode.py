"""Encode pixels as PNG, JPEG or WebP.

The PNG encoder filters rows with numpy and compresses bands of rows with ISA-L. For a photo, this encoder is forty
times as fast as Pillow's encoder, and the file is 10 % larger (`make bench NAME=finishing`). Bands are compressed
independently. For a watermarked copy, only the bands with changed rows are compressed again.
"""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.image_metadata import Metadata
from framehouse.domain.task import OutputFormat

MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_BAND_ROWS = 256
_LEVEL = 1
_SAMPLE_EVERY_ROWS = 16
"""The interval between the rows that are sampled from a band of an enlarged image. The encoder compresses the sample
with and without string matching (the search for repeated bytes). The encoder then compresses the entire band with the
method whose result was smaller."""
_band_threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="bands")
"""One thread per core. Compression releases the GIL and does no I/O, so a single image can use all cores."""
_NO_FILTER, _UP_FILTER = 0, 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded file.

    `bands` contains one entry per band of a PNG: the compressed data, and the Adler-32 checksum and the length of the
    uncompressed data. If another image differs from this image in only a few rows, the file of that image can reuse
    the bands that contain none of these rows. For other formats, `bands` is empty.
    """

    content: bytes
    bands: tuple[tuple[bytes, int, int], ...] = ()


def encode(
    pixels: NDArray[np.uint8],
    format: OutputFormat,
    metadata: Metadata,
    *,
    quality: int = 92,
    enlarged: bool = False,
    like: Encoded | None = None,
    changed_rows: tuple[int, int] | None = None,
) -> Encoded:
    """Encode pixels of shape (height, width, 3) as a file.

    `enlarged` is true if the image was enlarged. The filtered rows of an enlarged image contain few repetitions, so its
    PNG file may be smaller without string matching (the search for repeated bytes). `like` is the encoded file of an
    image that differs from `pixels` only in `changed_rows`. `changed_rows` contains the index of the first changed row
    and the index of the row after the last changed row. The PNG encoder reuses the bands of `like` that contain no
    changed rows.
    """
    if format == "png":
        return _encode_png(pixels, metadata, enlarged, like, changed_rows)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if format == "jpeg":
        image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", xmp=metadata.xmp)
    else:
        image.save(buffer, "WEBP", quality=quality, method=2, xmp=metadata.xmp)
    return Encoded(buffer.getvalue())


def _encode_png(
    pixels: NDArray[np.uint8],
    metadata: Metadata,
    enlarged: bool,
    like: Encoded | None,
    changed_rows: tuple[int, int] | None,
) -> Encoded:
    height, width = pixels.shape[:2]

    def band(top: int) -> tuple[bytes, int, int]:
        bottom = min(top + _BAND_ROWS, height)
        if like and like.bands and changed_rows and (bottom <= changed_rows[0] or top >= changed_rows[1]):
            return like.bands[top // _BAND_ROWS]
        return _deflate_band(pixels[top:bottom], enlarged)

    bands = list(_band_threads.map(band, range(0, height, _BAND_ROWS)))
    checksum = 1
    for _, adler, length in bands:
        checksum = _adler32_combine(checksum, adler, length)
    compressed = b"\x78\x01" + b"".join(data for data, _, _ in bands) + b"\x03\x00" + checksum.to_bytes(4, "big")
    return Encoded(build_png(_chunk(b"IDAT", compressed), width, height, metadata), tuple(bands))


def build_png(idat_chunks: bytes, width: int, height: int, metadata: Metadata) -> bytes:
    """Return an 8-bit RGB PNG file with these IDAT chunks and this metadata."""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"Software\0" + metadata.software.encode("latin-1", "replace")),
            _chunk(b"iTXt", b"Comment\0\0\0\0\0" + metadata.facts.encode()),
            _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp),
            idat_chunks,
            _chunk(b"IEND", b""),
        )
    )


def _deflate_band(rows: NDArray[np.uint8], enlarged: bool) -> tuple[bytes, int, int]:
    """Filter and compress rows.

    Returns three values: raw deflate data that ends at a byte boundary, the Adler-32 checksum of the filtered rows, and
    the length of the filtered rows in bytes. The first row is not filtered, so a band does not depend on the band
    above.
    """
    height, width = rows.shape[:2]
    flat = rows.reshape(height, width * 3)
    filtered = np.empty((height, width * 3 + 1), np.uint8)
    filtered[0, 0], filtered[1:, 0] = _NO_FILTER, _UP_FILTER
    filtered[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=filtered[1:, 1:])
    raw = filtered.data.cast("B")
    huffman_only = False
    if enlarged:
        sample = np.ascontiguousarray(filtered[::_SAMPLE_EVERY_ROWS]).data.cast("B")
        huffman_only = len(_deflate(sample, huffman_only=True)) < len(_deflate(sample, huffman_only=False))
    return _deflate(raw, huffman_only=huffman_only), isal_zlib.adler32(raw), len(raw)


def _deflate(raw: memoryview, *, huffman_only: bool) -> bytes:
    """Compress `raw` to raw deflate data.

    If `huffman_only` is true, string matching is skipped. The filtered rows of an enlarged photo contain small values,
    but few repeated sequences. For such rows, `huffman_only` reduces the size by up to a quarter. Compression takes
    three times as long, because this mode uses zlib and not ISA-L.
    """
    if huffman_only:
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
        return deflater.compress(raw) + deflater.flush(zlib.Z_FULL_FLUSH)
    fast = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
    return bytes(fast.compress(raw) + fast.flush(isal_zlib.Z_FULL_FLUSH))


def _adler32_combine(first: int, second: int, second_length: int) -> int:
    """Compute the Adler-32 checksum (RFC 1950) of two concatenated parts from the checksums of the parts."""
    base = 65521
    low1, high1, low2, high2 = first & 0xFFFF, first >> 16, second & 0xFFFF, second >> 16
    low = (low1 + low2 - 1) % base
    high = (high1 + high2 + second_length * (low1 - 1)) % base
    return high << 16 | low


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", isal_zlib.crc32(content, isal_zlib.crc32(name)))
    )
