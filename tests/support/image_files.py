"""Small image files for requests."""

import io
import struct
import zlib
from base64 import b64encode
from typing import Any

from PIL import Image


def image_file(width: int = 400, height: int = 300, format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file of one colour."""
    return encoded(Image.new("RGB", (width, height), (200, 80, 40)), format, **options)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, body: bytes = b"", crc: int | None = None) -> bytes:
    """A chunk of a PNG file. Its checksum is right, unless `crc` is given."""
    checksum = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def image_base64(width: int = 400, height: int = 300, format: str = "PNG") -> str:
    return b64encode(image_file(width, height, format)).decode()


def compressed_zeros(megabytes: int) -> bytes:
    """This number of million zeros, compressed as by zlib.

    The time does not depend on the number, because after a full flush the same input gives the same output.
    """
    compressor = zlib.compressobj()
    first, later = (compressor.compress(b"\0" * 1_000_000) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    last_block, adler = b"\x03\0", struct.pack(">I", (megabytes * 1_000_000 % 65_521) << 16 | 1)
    return first + later * (megabytes - 1) + last_block + adler
